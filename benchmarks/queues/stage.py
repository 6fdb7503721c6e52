"""What a measurement stands on: fresh rows, a fresh Redis, a file of stamps, and a peer's programs."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.cpu_time import busy_seconds, cpu_seconds
from benchmarks.queues import environments
from benchmarks.queues.peers import Peer
from jobs.parent_death import start_tied
from tests.support.servers import PostgresServer, ValkeyServer

PROGRAMS = Path(__file__).with_name("programs")
_TABLE = "CREATE TABLE bench_jobs (id bigint PRIMARY KEY, state text NOT NULL)"
_INDEX = "CREATE INDEX bench_jobs_pending ON bench_jobs (id) WHERE state = 'pending'"
_TAIL_CHARACTERS = 2_000


class Stamps:
    """When each job was sent and when it began, in nanoseconds; written by the programs."""

    EACH = 3

    def __init__(self, path: Path, count: int) -> None:
        self.count = count
        path.write_bytes(bytes(8 * self.EACH * (count + 1)))
        with path.open("r+b") as file:
            self._slots = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._known = 0

    def all_started(self) -> bool:
        """Tell whether every job has begun."""
        # Jobs are numbered from one, and most begin in that order.
        while self._known < self.count and self._slots[self.EACH * (self._known + 1) + 2]:
            self._known += 1
        return self._known == self.count

    def started(self) -> list[int]:
        """Return when each job began that has."""
        return [at for at in self._slots[self.EACH + 2 :: self.EACH].tolist() if at]

    def of(self, number: int) -> tuple[int, int, int]:
        """Return when a job was sent, committed and begun; 0: not noted."""
        called, committed, started = self._slots[self.EACH * number : self.EACH * (number + 1)].tolist()
        return called, committed, started


@dataclass
class Surroundings:
    """What all measurements share.

    Attributes:
        postgres: a running server.
        others: for each measurement with workers, the share of the processors that processes took which have
            nothing to do with it.
    """

    postgres: PostgresServer
    others: list[float] = field(default_factory=list)

    @contextmanager
    def noting_others(self) -> Iterator[None]:
        """Note what others do meanwhile."""
        if not Path("/proc/stat").exists():
            yield
            return
        before = (time.monotonic(), busy_seconds() - cpu_seconds([os.getpid()]))
        yield
        after = (time.monotonic(), busy_seconds() - cpu_seconds([os.getpid()]))
        share = (after[1] - before[1]) / (after[0] - before[0]) / (os.cpu_count() or 1)
        self.others.append(max(0.0, share))


@dataclass
class Stage:
    """One peer, ready for one measurement."""

    peer: Peer
    stamps: Stamps
    folder: Path
    environ: dict[str, str]
    redis_url: str
    surroundings: Surroundings
    database: str
    _asking: psycopg.Connection | sqlite3.Connection | None = None

    def count_left(self) -> int:
        """Return how many jobs are not durably settled."""
        if self._asking is None:
            self._asking = self._connect()
        row = self._asking.execute(self.peer.left).fetchone()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """End the connection that counts."""
        if self._asking is not None:
            self._asking.close()

    def _connect(self) -> psycopg.Connection | sqlite3.Connection:
        if self.database:
            return self.surroundings.postgres.connect(self.database)
        path = self.folder / "docqueue.db" if self.peer.own_rows else Path(self.environ["BENCH_SQLITE"])
        return sqlite3.connect(path, timeout=30, isolation_level=None)

    def call(self, *words: str) -> str:
        """Run a command of the peer's program and return what it printed.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(
            [environments.program(self.peer, "python"), self.peer.program, *words],
            env=self.environ, cwd=PROGRAMS, check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            said = done.stderr[-_TAIL_CHARACTERS:]
            raise RuntimeError(f"{self.peer.name}: {' '.join(words)}: exit {done.returncode}: {said}")
        return done.stdout

    def rest(self) -> None:
        """Let the database do now what it would otherwise do in the middle."""
        if self.database:
            with self.surroundings.postgres.connect(self.database) as connection:
                connection.execute("VACUUM ANALYZE")
                connection.execute("CHECKPOINT")

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the peer's workers running."""
        with (self.folder / "workers.log").open("ab") as log:
            processes = [
                start_tied(
                    self._command(words), signal.SIGKILL, env=self.environ, cwd=PROGRAMS,
                    start_new_session=True, stdout=log, stderr=log,
                )
                for words in self.peer.workers
            ]  # fmt: skip
        try:
            with self.surroundings.noting_others():
                yield
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def said(self) -> str:
        """Return the end of what the workers said."""
        return (self.folder / "workers.log").read_text(errors="replace")[-_TAIL_CHARACTERS:]

    def _command(self, words: tuple[str, ...]) -> list[str]:
        given = (self.redis_url if word == "REDIS" else word for word in words[1:])
        return [environments.program(self.peer, words[0]), *given]


@contextmanager
def prepared(peer: Peer, workload: str, count: int, surroundings: Surroundings) -> Iterator[Stage]:
    """Prepare everything for one measurement, and take it away afterwards.

    Args:
        peer: who is measured.
        workload: ``"noop"``, ``"row"`` or ``"latency"``.
        count: how many jobs there will be at most.
        surroundings: where.
    """
    postgres = surroundings.postgres
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    memory = Path("/dev/shm")  # pages of a file on a disk would be written back amid the measurement
    stamps = Path(tempfile.mkstemp(prefix="dq-b-", dir=memory if memory.is_dir() else None)[1])
    name = postgres.create_database() if peer.database == "postgresql" else ""
    try:
        with ValkeyServer() as valkey:
            environ = {
                **os.environ,
                **peer.environ,
                "BENCH_WORKLOAD": workload,
                "BENCH_STAMPS": str(stamps),
                "BENCH_DSN": f"host={postgres.folder} user=postgres dbname={name}",
                "BENCH_URL": f"postgresql://postgres@/{name}?host={postgres.folder}",
                "BENCH_REDIS": valkey.url,
                "DATABASE_URL": postgres.url(name) if name else f"sqlite:///{folder / 'docqueue.db'}",
                "REDIS_URL": valkey.url,
                "DATA_DIR": str(folder),
                "SECRET_KEY": "only-for-benchmarks",
                "LOG_LEVEL": "ERROR",
                "PYTHONPATH": str(PROGRAMS)
                if peer.environment
                else f"{PROGRAMS}{os.pathsep}{environments.ROOT}",
            }
            if not name:
                environ["BENCH_SQLITE"] = str(folder / "bench.db")
            stage = Stage(peer, Stamps(stamps, count), folder, environ, valkey.url, surroundings, name)
            _make_tables(stage)
            try:
                yield stage
            finally:
                stage.close()
    finally:
        stamps.unlink()
        if name:
            postgres.drop_database(name)
        shutil.rmtree(folder, ignore_errors=True)


def _make_tables(stage: Stage) -> None:
    if stage.peer.own_rows:
        if stage.peer.environment:
            stage.call("install")
    elif stage.database:
        with stage.surroundings.postgres.connect(stage.database) as connection:
            connection.execute(_TABLE)
            connection.execute(_INDEX)
    else:
        with closing(sqlite3.connect(stage.environ["BENCH_SQLITE"])) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_TABLE)
            connection.execute(_INDEX)
