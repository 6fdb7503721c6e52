"""Carries out the faults, and writes down exactly whom each one struck and when."""

from __future__ import annotations

import heapq
import itertools
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import psycopg
import redis
import sqlalchemy as sa

from jobs.database import steady_seconds
from tests.chaos.fleet import Fleet, WorkerProcess, send
from tests.chaos.plan import Fault
from tests.support.servers import PostgresServer, ValkeyServer

T = TypeVar("T")

# Work has to go on: no more than this share of the workers stands still at once.
_STOPPED_SHARE = 0.4
_A_WHILE_SECONDS = 0.15


@dataclass(frozen=True)
class Strike:
    """A fault that was carried out.

    Attributes:
        at: when, and ``until`` when it ended for its victims.
        pids: the processes that it struck and that may have held an item.
        workers: the names of the workers that it struck.
    """

    kind: str
    at: datetime
    until: datetime
    pids: frozenset[int] = frozenset()
    workers: frozenset[str] = frozenset()


@dataclass(order=True)
class _Later:
    due: float
    number: int
    action: Callable[[], object] = field(compare=False)


class Monkey:
    """Does harm; all calls from the thread that owns the fleet.

    Args:
        fleet: the processes.
        valkey: the Redis-compatible server.
        postgres: the database server, ``None`` for SQLite.
        database: the database's name there.
    """

    def __init__(
        self, fleet: Fleet, valkey: ValkeyServer, postgres: PostgresServer | None, database: str
    ) -> None:
        self.strikes: list[Strike] = []
        self._fleet = fleet
        self._valkey = valkey
        self._postgres = postgres
        self._database = database
        self._later: list[_Later] = []
        self._numbers = itertools.count()
        self._stopped: dict[int, str] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to be undone: no process stands still, every server runs."""
        return not self._later

    def tick(self) -> None:
        """Undo what is due to be undone."""
        while self._later and self._later[0].due <= time.monotonic():
            heapq.heappop(self._later).action()

    def strike(self, fault: Fault) -> bool:
        """Carry out a fault; ``False`` when there was nobody to strike just now."""
        at = datetime.now(UTC)
        struck = self._actions()[fault.kind](fault)
        if struck is None:
            return False
        pids = frozenset(pid for worker in struck for pid in (worker.pid, worker.horse) if pid is not None)
        until = at + timedelta(seconds=fault.seconds) if fault.kind.startswith("stop ") else datetime.now(UTC)
        names = frozenset(worker.name for worker in struck)
        if fault.kind in {"kill horse", "stop horse"}:
            # The worker lives on, and its next horse has nothing to do with this.
            pids, names = (
                frozenset(worker.horse for worker in struck if worker.horse is not None),
                frozenset(),
            )
        self.strikes.append(Strike(fault.kind, at, until, pids, names))
        return True

    def note(self, kind: str, at: datetime) -> None:
        """Write down a fault that somebody else carried out."""
        self.strikes.append(Strike(kind, at, datetime.now(UTC)))

    def take_redis_away(self, seconds: float) -> None:
        """Stop Redis now and start it again later."""
        at = datetime.now(UTC)
        self._valkey.stop()
        self._do_later(seconds, self._valkey.start)
        self.strikes.append(Strike("outage of redis", at, at + timedelta(seconds=seconds)))

    def _actions(self) -> dict[str, Callable[[Fault], Sequence[WorkerProcess] | None]]:
        return {
            "kill worker": self._kill_worker,
            "kill horse": self._kill_horse,
            "kill machine": self._kill_machine,
            "kill pool": self._kill_pool,
            "kill scheduler": self._kill_scheduler,
            "kill web": self._kill_web,
            "kill web worker": self._kill_web_worker,
            "kill redis": self._kill_redis,
            "kill back end": self._kill_back_end,
            "kill database": self._kill_database,
            "stop horse": self._stop_horse,
            "stop worker and horse": self._stop_worker,
            "flush redis": self._flush_redis,
            "restart redis": self._restart_redis,
        }

    # Workers and their horses.

    def _kill_worker(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        # A busy one, if there is one: the others have nothing to lose.
        workers = self._awake(self._fleet.workers())
        victim = _pick([one for one in workers if one.horse] or workers, fault.pick)
        if victim is None or not send(victim.pid, signal.SIGKILL):
            return None
        return [victim]

    def _kill_horse(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        victim = _pick(self._busy(), fault.pick)
        if victim is None or victim.horse is None or not send(victim.horse, signal.SIGKILL):
            return None
        return [victim]

    def _kill_machine(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        """Kill a pool, its workers and their horses at once: nobody is left to report anything."""
        machine = _pick([one for one in self._fleet.machines if one.pid], fault.pick)
        if machine is None or machine.pid is None:
            return None
        struck = self._fleet.workers(machine)
        send(machine.pid, signal.SIGSTOP)
        for worker in struck:
            send(worker.pid, signal.SIGKILL)
            if worker.horse is not None:
                send(worker.horse, signal.SIGKILL)
        send(machine.pid, signal.SIGKILL)
        return struck

    def _kill_pool(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        machine = _pick([one for one in self._fleet.machines if one.pid], fault.pick)
        # Its workers end as on SIGTERM: what runs is finished, nothing may be lost.
        return [] if machine is not None and machine.pid and send(machine.pid, signal.SIGKILL) else None

    def _stop_horse(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        victim = _pick(self._long_busy(fault), fault.pick) if self._may_stop() else None
        if victim is None or victim.horse is None or not self._stop(victim.horse, fault.seconds):
            return None
        return [victim]

    def _stop_worker(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        victim = _pick(self._long_busy(fault), fault.pick) if self._may_stop() else None
        if victim is None or victim.horse is None or not self._stop(victim.horse, fault.seconds):
            return None
        self._stop(victim.pid, fault.seconds)
        return [victim]

    def _stop(self, pid: int, seconds: float) -> bool:
        if not send(pid, signal.SIGSTOP):
            return False
        self._stopped[pid] = "stopped"
        self._do_later(seconds, lambda: (self._stopped.pop(pid, None), send(pid, signal.SIGCONT)))
        return True

    def _may_stop(self) -> bool:
        workers = self._fleet.workers()
        standing = sum(one.pid in self._stopped or one.horse in self._stopped for one in workers)
        return standing < max(1, round(len(workers) * _STOPPED_SHARE))

    def _busy(self) -> list[WorkerProcess]:
        """Return the workers with a horse, waiting a moment for one if there is none."""
        deadline = time.monotonic() + 0.5
        while True:
            busy = [one for one in self._awake(self._fleet.workers()) if one.horse]
            if busy or time.monotonic() > deadline:
                return busy
            time.sleep(0.01)

    def _long_busy(self, fault: Fault) -> list[WorkerProcess]:
        """Return the workers whose horse has been at it for a while, for seven stops out of eight.

        Those wake up in the middle of their work. The eighth may be struck in the middle of a transaction:
        on SQLite it then keeps everybody waiting for the write lock, which costs a run its time.
        """
        before = {one.horse for one in self._busy()}
        if fault.seconds * 1000 % 8 < 1:
            return self._busy()
        time.sleep(_A_WHILE_SECONDS)
        return [one for one in self._busy() if one.horse in before] or self._busy()

    def _awake(self, workers: Sequence[WorkerProcess]) -> list[WorkerProcess]:
        return [one for one in workers if one.pid not in self._stopped and one.horse not in self._stopped]

    # Web and schedulers; the fleet starts them again.

    def _kill_scheduler(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        victim = _pick([one for one in self._fleet.schedulers if one.pid], fault.pick)
        return [] if victim is not None and victim.pid and send(victim.pid, signal.SIGKILL) else None

    def _kill_web(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        victim = _pick([one for one in self._fleet.webs if one.pid], fault.pick)
        return [] if victim is not None and victim.pid and send(victim.pid, signal.SIGKILL) else None

    def _kill_web_worker(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        pids = [pid for web in self._fleet.webs for pid in self._fleet.web_processes(web)]
        victim = _pick(pids, fault.pick)
        return [] if victim is not None and send(victim, signal.SIGKILL) else None

    # Redis and the database.

    def _flush_redis(self, _fault: Fault) -> Sequence[WorkerProcess] | None:
        try:
            self._valkey.flush()
        except (redis.RedisError, OSError):
            return None
        return []

    def _kill_redis(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        if self._valkey.process is None:
            return None
        self._valkey.kill()
        self._do_later(fault.seconds, self._valkey.start)
        return []

    def _restart_redis(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        if self._valkey.process is None:
            return None
        self._valkey.stop()
        self._do_later(fault.seconds, self._valkey.start)
        return []

    def _kill_back_end(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        """End one of the database's sessions: politely, or with the crash recovery that SIGKILL brings."""
        assert self._postgres is not None
        try:
            with self._postgres.connect(self._database) as connection:
                pids = [
                    row[0]
                    for row in connection.execute(
                        "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() "
                        "ORDER BY backend_start",
                        [self._database],
                    )
                ]
                victim = _pick(pids, fault.pick)
                if victim is not None and fault.seconds < 0.5:
                    connection.execute("SELECT pg_terminate_backend(%s)", [victim])
        except psycopg.OperationalError:
            return None
        if victim is not None and fault.seconds >= 0.5:
            send(victim, signal.SIGKILL)
        return None if victim is None else []

    def _kill_database(self, fault: Fault) -> Sequence[WorkerProcess] | None:
        assert self._postgres is not None
        if self._postgres.process is None:
            return None
        self._postgres.kill()
        self._do_later(fault.seconds, self._postgres.start)
        return []

    def _do_later(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._later, _Later(time.monotonic() + seconds, next(self._numbers), action))


class Stalls:
    """Watches from outside whether the database takes a write, and when it did not for a while.

    A lease may run out without anybody's fault while nobody can renew it: the database was down, a
    process was stopped with SQLite's write lock in its hand, or the whole machine stood still.

    Args:
        engine: to the database; it may be killed.
    """

    LONGEST_NORMAL_SECONDS = 1.0
    _EVERY_SECONDS = 0.2

    def __init__(self, engine: sa.Engine) -> None:
        self.windows: list[tuple[datetime, datetime]] = []
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End; waits for a write that is under way."""
        self._stop.set()
        self._thread.join(60)

    def _watch(self) -> None:
        last, last_steady = datetime.now(UTC), steady_seconds()
        while not self._stop.wait(self._EVERY_SECONDS):
            try:
                # On SQLite this takes and gives back the write lock; nothing is written.
                with self._engine.begin() as connection:
                    connection.execute(sa.text("SELECT 1"))
            except sa.exc.SQLAlchemyError:
                continue
            now, steady = datetime.now(UTC), steady_seconds()
            if steady - last_steady > self.LONGEST_NORMAL_SECONDS:
                self.windows.append((last, now))
            last, last_steady = now, steady


def _pick(candidates: Sequence[T], fraction: float) -> T | None:
    return candidates[int(fraction * len(candidates))] if candidates else None
