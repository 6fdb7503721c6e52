"""Start children by forking a process that has the engines imported: the fork server's client.

A process has at most one fork server at work (``zygote``), whatever its number of threads: it is
started by ``prepare``, or at the second document, since for a single one it would not pay. It is
replaced when it dies, when it cannot be spoken to, after ``_MOST_FORKS`` forks and when it grows.
A process that was forked from its owner forgets it and starts its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.extraction.children import Exit, environment, program_of
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.result import MIB

_log = logging.getLogger(__name__)

PROGRAM = program_of("zygote")
# What the server answers when it is asked only whether it is there.
ARE_YOU_THERE = b"?"
MESSAGE_BYTES = 8192

_MOST_FORKS = 1_000
_MOST_GROWTH_BYTES = 64 * MIB
# So many servers in a row that never answered show that this machine cannot have one.
_MOST_FAILED_STARTS = 3
_HAND_OVER_SECONDS = 5.0
_START_SECONDS = 30.0
_END_SECONDS = 5.0
_ORPHAN_SECONDS = 2.0


class NotStarted(Exception):
    """The fork server did not start the child; nothing of the document was read."""


class _Server:
    """One fork server as its owner sees it; all but ``ask`` is called under the owner's lock.

    Raises:
        OSError: the machine cannot start it.
    """

    def __init__(self, program: Sequence[str]) -> None:
        self._requests, theirs = _line()
        try:
            self._process = subprocess.Popen(
                [*program, str(theirs.fileno()), str(os.getpid())],
                # It has no scratch folder, and must not find another folder to write to.
                env=environment(Path("/nonexistent")),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            self._requests.close()
            raise
        finally:
            theirs.close()
        self._requests.settimeout(_HAND_OVER_SECONDS)
        self.pid = self._process.pid
        self.reading_count = 0
        self.fork_count = 0
        self.first_bytes = 0
        self.has_answered = False
        self.is_retired = False
        self.is_lost = False

    def ask(self, message: bytes, descriptors: Sequence[int] = ()) -> socket.socket:
        """Send a request; return the line on which its answers come and whose end ends it.

        Raises:
            NotStarted: the server does not take it.
            OSError: this process is short of descriptors.
        """
        ours, theirs = _line()
        try:
            with theirs:
                socket.send_fds(self._requests, [message], [theirs.fileno(), *descriptors])
        except (ConnectionError, TimeoutError) as error:
            ours.close()
            raise NotStarted from error
        except BaseException:
            ours.close()
            raise
        return ours

    def close(self, *, is_broken: bool = False) -> None:
        """End the server and with it all its children; it goes by itself unless it is broken."""
        with contextlib.suppress(OSError):
            # Closing alone would not reach it while a forked process holds a copy.
            self._requests.shutdown(socket.SHUT_RDWR)
        self._requests.close()
        self.is_lost = is_broken
        if not is_broken:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Let go of a server that belongs to the process that this one was forked from."""
        self._requests.close()
        # It is no child of this process, and must not be waited for.
        self._process.returncode = 0


def _line() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection that keeps messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class _Owner:
    """The fork servers of this process: the one at work, and retired ones that still have children."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._current: _Server | None = None
        self._servers: set[_Server] = set()
        self._failed_starts = 0
        self._is_first_document = True

    def is_able(self) -> bool:
        """Say whether this machine can have a server, as far as is known."""
        is_possible = sys.platform == "linux" and hasattr(os, "pidfd_open")
        return is_possible and self._failed_starts < _MOST_FAILED_STARTS

    def is_wanted(self) -> bool:
        """Say whether the next document shall go to a server; to be asked once for each."""
        is_first, self._is_first_document = self._is_first_document, False
        return not is_first and self.is_able()

    def take(self) -> _Server:
        """Return the server at work, started if need be; it must be given back by ``release``.

        Raises:
            NotStarted: this machine cannot have one, now or as far as is known.
        """
        if not self.is_able():
            raise NotStarted
        with self._lock:
            self._is_first_document = False
            if self._current is None:
                self._current = self._begun()
                self._servers.add(self._current)
            server = self._current
            server.reading_count += 1
            server.fork_count += 1
            if server.fork_count >= _MOST_FORKS:
                self._retire(server)
            return server

    def _begun(self) -> _Server:
        try:
            return _Server(PROGRAM)
        except OSError as error:
            self._failed_starts += 1
            _log.warning("fork_server_not_started error=%s", type(error).__name__)
            raise NotStarted from error

    def answered(self, server: _Server, resident_bytes: int | None = None) -> None:
        """Note that a server works, and how large it is."""
        with self._lock:
            server.has_answered = True
            self._failed_starts = 0
            if resident_bytes is not None:
                server.first_bytes = server.first_bytes or resident_bytes
                if resident_bytes - server.first_bytes > _MOST_GROWTH_BYTES:
                    self._retire(server)

    def release(self, server: _Server) -> None:
        """Give a server back; a retired one ends with the last of its children."""
        with self._lock:
            server.reading_count -= 1
            is_done = server.is_retired and server.reading_count == 0 and server in self._servers
            if is_done:
                self._servers.discard(server)
        if is_done:
            server.close()

    def discard(self, server: _Server) -> None:
        """Kill a server that is dead or does not answer, with all its children."""
        with self._lock:
            if server not in self._servers:
                return
            self._retire(server)
            self._servers.discard(server)
            self._failed_starts += not server.has_answered
        event = "fork_server_lost" if server.has_answered else "fork_server_never_answered"
        _log.warning("%s pid=%d forks=%d", event, server.pid, server.fork_count)
        server.close(is_broken=True)

    def stop(self) -> None:
        """End all servers."""
        with self._lock:
            servers, self._servers = self._servers, set()
            self._current = None
        for server in servers:
            server.close()

    def forget(self) -> None:
        """Begin anew in a process that was forked from the owner."""
        for server in self._servers:
            server.forget()
        # With a lock of its own too: whoever held the old one is not in this process.
        self._begin()

    def _retire(self, server: _Server) -> None:
        server.is_retired = True
        if self._current is server:
            self._current = None


_owner = _Owner()
os.register_at_fork(after_in_child=_owner.forget)
atexit.register(_owner.stop)


class WarmChild:
    """A child that the fork server made. It dies with the server, and that with this process."""

    def __init__(self, server: _Server, line: socket.socket) -> None:
        self._server = server
        self._line = line
        self._line.setblocking(False)
        self._given_up_at = time.monotonic() + _START_SECONDS
        self._pid: int | None = None
        self._exit: Exit | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, ``None`` until the server has told it."""
        return self._pid

    def fileno(self) -> int:
        """Return the descriptor of the line to the server, -1 once it is closed."""
        return self._line.fileno()

    def collect(self) -> Exit | None:
        """Take what the server tells; ``None`` while the child runs.

        Raises:
            NotStarted: the server ended, or never answered, before there was a child.
            Fault: the server ended while the child ran, or the machine could not fork.
        """
        while self._exit is None:
            try:
                message = self._line.recv(MESSAGE_BYTES)
            except BlockingIOError:
                if self._pid is None and time.monotonic() > self._given_up_at:
                    raise self._lost() from None
                return None
            except OSError:
                message = b""
            if not message:
                raise self._lost()
            self._take(json.loads(message))
        return self._exit

    def end(self) -> None:
        """Have it killed with its group, and wait until it is gone."""
        if self._line.fileno() < 0:
            return
        try:
            if self._exit is None:
                self._kill()
        finally:
            self._line.close()
            _owner.release(self._server)

    def _take(self, told: dict[str, int | float]) -> None:
        if "errno" in told:
            raise Fault(FaultCode.ENVIRONMENT, note=f"fork failed with error {told['errno']}")
        if "pid" in told:
            self._pid = int(told["pid"])
            _owner.answered(self._server)
            return
        self._exit = Exit(int(told["returncode"]), float(told["cpu_seconds"]), int(told["peak_bytes"]))
        _owner.answered(self._server, int(told["server_bytes"]))

    def _lost(self) -> Fault | NotStarted:
        _owner.discard(self._server)
        if self._pid is None:
            return NotStarted()
        return Fault(FaultCode.ENVIRONMENT, note="the fork server died")

    def _kill(self) -> None:
        """Hang up, which the server takes for the order to kill, and wait for its last word."""
        with contextlib.suppress(OSError):
            # Closing alone would not reach it while a forked process holds a copy.
            self._line.shutdown(socket.SHUT_WR)
        self._line.settimeout(_END_SECONDS)
        try:
            while self._line.recv(MESSAGE_BYTES):
                pass
        except OSError:
            _owner.discard(self._server)
        if self._pid is not None and self._server.is_lost:
            _kill_orphans(self._pid)


def _kill_orphans(pid: int) -> None:
    """Kill the group of a child whose server is gone: the kernel kills only the child itself."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    try:
        death = os.pidfd_open(pid)
    except OSError:
        return
    try:
        select.select([death], [], [], _ORPHAN_SECONDS)
    finally:
        os.close(death)


def is_wanted() -> bool:
    """Say whether this process's next document shall go to its fork server; ask once for each."""
    return _owner.is_wanted()


def start(scratch: Path, progress: int) -> WarmChild:
    """Have a child forked; it may still be about to start when this returns.

    Args:
        scratch: its folder, with the request in it.
        progress: the end of a pipe that it writes to.

    Raises:
        NotStarted: no server can be started or spoken to.
        OSError: this process is short of descriptors.
    """
    server = _owner.take()
    try:
        return WarmChild(server, server.ask(os.fsencode(scratch), (progress,)))
    except NotStarted:
        _owner.discard(server)
        raise
    except BaseException:
        _owner.release(server)
        raise


def prepare(wait_seconds: float = 0.0) -> bool:
    """Start this process's fork server ahead of its first document.

    Args:
        wait_seconds: how long to wait until it is ready; without waiting a first document waits.

    Returns:
        Whether a server is there, as far as that is known without waiting. ``False`` is no
        failure: documents are then read by children that are started as programs.
    """
    try:
        server = _owner.take()
    except NotStarted:
        return False
    try:
        with server.ask(ARE_YOU_THERE) as line:
            if wait_seconds <= 0:
                return True
            line.settimeout(wait_seconds)
            is_there = bool(line.recv(MESSAGE_BYTES))
    except NotStarted:
        is_there = False
    except OSError:
        # It is still at its imports, or this process is short of descriptors.
        return False
    finally:
        _owner.release(server)
    if is_there:
        _owner.answered(server)
    else:
        _owner.discard(server)
    return is_there


def stop() -> None:
    """End this process's fork servers; the next reading but one starts another."""
    _owner.stop()
