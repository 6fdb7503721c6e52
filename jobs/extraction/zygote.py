"""The fork server: a process that imports every engine, uses none, and forks children that do.

It is started by ``warm`` with an environment without secrets and one descriptor, a socket for
requests. It never opens a document, a request or a scratch folder, and stays with one thread:
engines that were used before a fork hang after it. Each request brings a *line*, a socket of its
own, on which the child's process id and later its end are told. When the other side of a line
closes, its child is killed; when the socket for requests closes or the owner dies, all are.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from encodings.aliases import aliases
from pathlib import Path
from typing import NoReturn

from jobs import languages
from jobs.extraction import child, readers
from jobs.extraction.children import environment
from jobs.extraction.confine import hide_from_others, ignore_polite_signals, prepare
from jobs.extraction.warm import ARE_YOU_THERE, MESSAGE_BYTES

# What the readers' modules, or the engines themselves, import only when a document needs it; the
# picture formats in Pillow's own order.
_PICTURE_FORMATS = ("Bmp", "Gif", "Jpeg", "Ppm", "Png", "Tiff", "WebP")
_IMPORTED_LATE = (
    "jobs.extraction.drawing",
    "charset_normalizer",
    "fasttext",
    "liteparse.parser",
    "fractions",
    "PIL.ImageChops",
    *(f"PIL.{name}ImagePlugin" for name in _PICTURE_FORMATS),
    *(f"encodings.{name}" for name in sorted(set(aliases.values()))),
)


def main() -> None:
    """Import the engines and serve until the owner is gone."""
    requests, owner_pid = socket.socket(fileno=int(sys.argv[-2])), int(sys.argv[-1])
    try:
        requests.set_inheritable(False)
        ignore_polite_signals()
        hide_from_others(True)
        _import_engines(owner_pid)
        prepare()
        gc.collect()
        # Collections in the children then leave the pages of what is imported shared.
        gc.freeze()
        if len(list(Path("/proc/self/task").iterdir())) == 1:
            _ForkServer(requests, owner_pid).serve()
    finally:
        os._exit(0)


def _import_engines(owner_pid: int) -> None:
    """Import what is installed; a child whose reader needs what is not says so itself."""
    modules = [f"{readers.__name__}.{found.name}" for found in pkgutil.iter_modules(readers.__path__)]
    for module in (*modules, *_IMPORTED_LATE):
        # Engines written in Rust may panic, which is no Exception.
        with contextlib.suppress(BaseException):
            importlib.import_module(module)
        if os.getppid() != owner_pid:
            os._exit(0)
    # The model of languages is data of ours and has no threads; loading it takes longer than many
    # a document.
    with contextlib.suppress(Exception):
        languages.identify("")


@dataclass(frozen=True, slots=True)
class _Running:
    pid: int
    line: socket.socket
    # A descriptor that becomes readable at its death.
    news: int


class _ForkServer:
    def __init__(self, requests: socket.socket, owner_pid: int) -> None:
        self._requests = requests
        self._owner = os.pidfd_open(owner_pid)
        self._running: dict[int, _Running] = {}
        self._poll = select.poll()
        for descriptor in (self._owner, requests.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        # The id may have passed to another process before it was opened.
        self._is_serving = os.getppid() == owner_pid

    def serve(self) -> None:
        """Take requests and tell ends until the owner is gone; then kill what is left."""
        try:
            while self._is_serving:
                # One event at a time: handling it may close the descriptor of another.
                descriptor, _events = self._poll.poll()[0]
                self._handle(descriptor)
        finally:
            for running in self._running.values():
                _kill(running.pid)

    def _handle(self, descriptor: int) -> None:
        running = self._running.get(descriptor)
        if descriptor == self._owner:
            self._is_serving = False
        elif descriptor == self._requests.fileno():
            self._take()
        elif running is not None and descriptor == running.news:
            self._bury(running)
        elif running is not None:
            # The line is closed on the other side. Its end is told all the same, by ``_bury``.
            self._poll.unregister(descriptor)
            _kill(running.pid)

    def _take(self) -> None:
        message, descriptors, _flags, _sender = socket.recv_fds(self._requests, MESSAGE_BYTES, 2)
        lines = [socket.socket(fileno=descriptor) for descriptor in descriptors[:1]]
        try:
            if not message:
                self._is_serving = False
            elif message == ARE_YOU_THERE:
                for line in lines:
                    _tell(line, pid=os.getpid())
            elif len(descriptors) == 2:
                # With fewer, this process has reached its limit of them; the line closes unanswered.
                self._fork(os.fsdecode(message), lines.pop(), descriptors[1])
        finally:
            for line in lines:
                line.close()
            for descriptor in descriptors[1:]:
                os.close(descriptor)

    def _fork(self, scratch: str, line: socket.socket, progress: int) -> None:
        server_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _tell(line, errno=error.errno or 0)
            line.close()
            return
        if pid == 0:
            # The server's own objects stay referenced from the frames above, so that none of them
            # is collected and closes a descriptor that has become something else.
            _become_child(scratch, progress, server_pid)
        try:
            running = _Running(pid, line, os.pidfd_open(pid))
        except OSError as error:
            _kill(pid)
            os.waitpid(pid, 0)
            _tell(line, errno=error.errno or 0)
            line.close()
            return
        for descriptor in (line.fileno(), running.news):
            self._running[descriptor] = running
            self._poll.register(descriptor, select.POLLIN)
        _tell(line, pid=pid)

    def _bury(self, running: _Running) -> None:
        """Collect a dead child, and tell how it ended and what it used."""
        # Before it is collected, its id cannot be another process's.
        _kill(running.pid)
        _pid, status, used = os.wait4(running.pid, 0)
        _tell(
            running.line,
            returncode=os.waitstatus_to_exitcode(status),
            cpu_seconds=used.ru_utime + used.ru_stime,
            peak_bytes=used.ru_maxrss * 1024,
            server_bytes=_resident_bytes(),
        )
        for descriptor in (running.line.fileno(), running.news):
            del self._running[descriptor]
            with contextlib.suppress(KeyError):
                self._poll.unregister(descriptor)
        os.close(running.news)
        running.line.close()


def _kill(pid: int) -> None:
    """Kill a child that is not collected yet, and its group, in which it may not be yet."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _tell(line: socket.socket, **news: float) -> None:
    # Whoever hung up does not want to know.
    with contextlib.suppress(OSError):
        line.send(json.dumps(news).encode("ascii"), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _become_child(scratch: str, progress: int, server_pid: int) -> NoReturn:
    """Turn this fork into what a child is that was started as a program, and read the document."""
    try:
        os.setsid()
        hide_from_others(False)
        _close_all_but(progress)
        os.chdir(scratch)
        os.environ.update(environment(Path(scratch)))
        # Python remembers the first folder that it was asked for.
        tempfile.tempdir = None
        child.read_one(Path(scratch), progress, server_pid)
    finally:
        os._exit(1)


def _close_all_but(kept: int) -> None:
    """Close every descriptor but the three of ``/dev/null`` and one more."""
    for descriptor in [int(link.name) for link in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor != kept:
            # The listing's own descriptor is closed already.
            with contextlib.suppress(OSError):
                os.close(descriptor)
    os.set_inheritable(kept, False)
