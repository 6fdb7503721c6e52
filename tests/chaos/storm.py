"""One chaos run on one database: real processes, uploads, faults, and the verdict.

The phases: a storm of faults at random moments; Redis away; the disk full; rolling restarts with no other
fault; quiet. Documents come in all the time and in step with the faults, so that there is always work to
disturb, however fast the machine is.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
import sqlalchemy as sa

from jobs import accounts, database
from jobs.settings import Settings, load_settings
from jobs.tables import attempts, queue_items
from tests.chaos import verdict
from tests.chaos.documents import Task, make_tasks
from tests.chaos.fleet import Fleet, Part, is_healthy
from tests.chaos.monkey import Monkey, Stalls
from tests.chaos.plan import Size, make_storm
from tests.chaos.servers import BOUND_FACTOR, BOUND_SECONDS, Servers
from tests.chaos.uploads import Uploads, make_batches

# Parts of the documents that come in during each phase.
_STORM, _OUTAGE, _FULL_DISK = 0.75, 0.05, 0.03
_LARGEST_BATCH = 50
_NEVER_FREE_BYTES = str(2**62)
_TICK_SECONDS = 0.05
_SHORTEST_GAP_SECONDS = 0.2
_LONGEST_GAP_SECONDS = 3.0
_LONGEST_WITHOUT_VICTIM_SECONDS = 60.0
_QUIET_SECONDS = 120.0


@dataclass
class Report:
    """What a run came to."""

    database: str
    seed: int
    size: Size
    documents: int = 0
    seconds: float = 0.0
    working_seconds: float = 0.0
    strikes: Counter[str] = field(default_factory=Counter)
    findings: verdict.Findings = field(default_factory=verdict.Findings)
    recoveries: list[verdict.Recovery] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """How many faults were carried out."""
        return sum(self.strikes.values())


class Storm:
    """A run.

    Args:
        servers: running.
        size: how much of everything.
        seed: decides documents, requests, faults and victims.
        budget_seconds: after this long no new fault is begun, and the verdict says so.
        guard: ``"off"`` takes the fence out of the workers.
        say: gets a line now and then.
    """

    def __init__(
        self,
        servers: Servers,
        size: Size,
        *,
        seed: int,
        budget_seconds: float,
        guard: str,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._size = size
        self._seed = seed
        self._say = say
        self._began = time.monotonic()
        self._deadline = self._began + budget_seconds
        rng = random.Random(seed)
        environ = {**servers.environ(size), "CHAOS_GUARD": guard}
        self._settings: Settings = load_settings(environ)
        database.upgrade(self._settings)
        self._engine = database.make_engine(self._settings)
        self._tasks: list[Task] = make_tasks(size.documents, size.longest_seconds, rng)
        self._plan = make_storm(
            size, self._settings.lease_seconds, database_server=servers.postgres is not None, rng=rng
        )
        self._fleet = Fleet(
            environ, servers.folder, machines=size.machines, webs=size.webs, schedulers=size.schedulers
        )
        self._monkey = Monkey(self._fleet, servers.valkey, servers.postgres, servers.name)
        self._stalls = Stalls(self._engine)
        key = accounts.create_api_key(self._engine, accounts.ensure_admin(self._engine).id, "chaos")
        self._headers = {"Authorization": f"Bearer {key}"}
        largest = min(_LARGEST_BATCH, max(1, size.documents // 40))
        batches = make_batches(self._tasks, largest, rng)
        self._uploads = Uploads(self._fleet.urls, key, batches, threads=3, seed=seed)
        self._backlog = max(30, 3 * largest)
        self._ended = 0
        self._looked_at = 0.0
        self.report = Report(self._engine.dialect.name, seed, size)

    def run(self) -> Report:
        """Go through the phases and judge."""
        try:
            self._fleet.start()
            self._stalls.start()
            self._uploads.start()
            working = time.monotonic()
            self._storm()
            self._redis_outage()
            self._full_disk()
            since = self._rolling_restarts()
            self._quiet()
            self.report.working_seconds = time.monotonic() - working
            self._retry_the_killed()
        finally:
            self._uploads.stop()
            self._stalls.stop()
            self._fleet.close()
        self._judge(since)
        self.report.seconds = time.monotonic() - self._began
        return self.report

    def close(self) -> None:
        """Give the connections to the database back."""
        self._engine.dispose()

    def evidence(self) -> str:
        """Return what logs and attempts say of the items that broke a rule, and the ends of the logs."""
        text = self.report.findings.describe()
        items = sorted(set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text)))
        with database.reading(self._engine) as connection:
            tries = connection.execute(
                sa.select(attempts).where(attempts.c.item_id.in_(items)).order_by(attempts.c.started_at)
            ).all()
        words = {*items, *(row.worker for row in tries)}
        strikes = [f"{one.kind} {one.at.time()} to {one.until.time()}" for one in self._monkey.strikes[-20:]]
        return "\n".join(
            [text, *map(str, tries), *self._fleet.lines_about(words), *strikes, self._fleet.tails()]
        )

    # The phases.

    def _storm(self) -> None:
        share = self._size.documents * _STORM
        last = time.monotonic()
        faults, struck = deque(self._plan), last
        while faults:
            done = len(self._plan) - len(faults)
            goal = share * (done + 1) / len(self._plan)
            self._uploads.allow(round(goal) + self._backlog)
            while not self._is_time(goal, last):
                self._tick()
            last = time.monotonic()
            if self._is_over() or last - struck > _LONGEST_WITHOUT_VICTIM_SECONDS:
                self.report.findings.add("faults not done in time", [fault.kind for fault in faults])
                break
            if not self._monkey.strike(faults[0]):
                # Nobody to strike just now: another one first.
                faults.rotate(-1)
                continue
            faults.popleft()
            struck = last
            if done % 50 == 49:
                self._say(f"{done + 1} faults, {self._ended} documents ended")
        self._until(lambda: self._monkey.is_quiet, 60.0)

    def _is_time(self, goal: float, last: float) -> bool:
        gap = time.monotonic() - last
        # The documents lead, and a fault that holds them up must not hold up the next one.
        return (self._ended >= goal and gap >= _SHORTEST_GAP_SECONDS) or gap >= _LONGEST_GAP_SECONDS

    def _redis_outage(self) -> None:
        if not self._size.outage_seconds or self._is_over():
            return
        self._say("Redis goes away")
        before = self._uploads.tally.slowest_accept_seconds
        self._uploads.tally.slowest_accept_seconds = 0.0
        self._monkey.take_redis_away(self._size.outage_seconds)
        self._uploads.allow(round(self._size.documents * (_STORM + _OUTAGE)) + self._backlog)
        self._until(lambda: self._monkey.is_quiet, self._size.outage_seconds + 30)
        self.report.notes["slowest answer 202 without Redis, s"] = round(
            self._uploads.tally.slowest_accept_seconds, 2
        )
        self._uploads.tally.slowest_accept_seconds = max(before, self._uploads.tally.slowest_accept_seconds)

    def _full_disk(self) -> None:
        """Let every web process find less than MIN_FREE_BYTES free; what is uploaded then is refused."""
        for number in range(self._size.full_disks):
            if self._is_over():
                return
            at = datetime.now(UTC)
            for web in self._fleet.webs:
                self._fleet.stop(web)
                self._fleet.launch(web, MIN_FREE_BYTES=_NEVER_FREE_BYTES)
            self._wait_for_webs()
            refused = self._uploads.tally.statuses.get(507, 0)
            share = _STORM + _OUTAGE + _FULL_DISK * (number + 1) / self._size.full_disks
            self._uploads.allow(round(self._size.documents * share) + self._backlog)
            full = self._until(lambda r=refused: self._uploads.tally.statuses.get(507, 0) > r, 15.0)
            if not full:
                self.report.findings.add("full disk not answered by 507", [str(number)])
            for web in self._fleet.webs:
                self._fleet.stop(web)
                self._fleet.launch(web)
            self._wait_for_webs()
            self._monkey.note("full disk", at)

    def _rolling_restarts(self) -> datetime:
        """Restart everything in good order, again and again, with no other fault around."""
        self._until(self._nothing_is_expired, 60.0)
        since = datetime.now(UTC)
        begun = self._ended
        left = self._size.documents - self._backlog - begun
        for number in range(self._size.rolling):
            if self._is_over():
                self.report.findings.add("faults not done in time", ["rolling restart"])
                break
            at = datetime.now(UTC)
            goal = begun + left * (number + 1) / self._size.rolling
            self._uploads.allow(round(goal) + self._backlog)
            for part in (*self._fleet.machines, *self._fleet.webs, *self._fleet.schedulers):
                self._restart(part)
            self._monkey.note("rolling restart", at)
            self._until(lambda goal=goal: self._ended >= goal, 20.0)
        return since

    def _restart(self, part: Part) -> None:
        self._fleet.stop(part)
        self._fleet.launch(part)
        if part in self._fleet.webs:
            self._wait_for_webs()
        self._tick()

    def _quiet(self) -> None:
        self._say("quiet")
        self._uploads.allow(self._size.documents)
        self._until(self._uploads.is_done, _QUIET_SECONDS)
        self._until_all_ended()

    def _retry_the_killed(self) -> None:
        """Press "retry" for the healthy documents that the monkey killed three times over."""
        with database.reading(self._engine) as connection:
            poison = verdict.poison_items(connection, self._tasks)
            failed = connection.execute(
                sa.select(queue_items.c.id, queue_items.c.error_code).where(queue_items.c.status == "failed")
            ).all()
        killed = [row.id for row in failed if row.id not in poison and row.error_code == "quarantined"]
        for item_id in killed:
            answer = requests.post(
                f"{self._fleet.urls[0]}/api/v1/jobs/{item_id}/retry", headers=self._headers, timeout=20
            )
            if answer.status_code not in {200, 202}:
                self.report.findings.add("retry refused", [f"{item_id}: {answer.status_code}"])
        self.report.notes["healthy documents killed three times, then retried"] = len(killed)
        self._until_all_ended()

    # Waiting.

    def _tick(self, seconds: float = _TICK_SECONDS) -> None:
        self._fleet.tend()
        self._monkey.tick()
        now = time.monotonic()
        if now - self._looked_at > 0.2:
            self._looked_at = now
            self._ended = self._count_ended()
        time.sleep(seconds)

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Keep the fleet going until a condition holds; ``False`` when it did not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._tick()
        return True

    def _until_all_ended(self) -> None:
        self._until(lambda: self._count_open() == 0, _QUIET_SECONDS)

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline

    def _wait_for_webs(self) -> None:
        assert self._until(lambda: all(is_healthy(url) for url in self._fleet.urls), 60.0), "web not healthy"

    def _count_ended(self) -> int:
        try:
            return self._count(queue_items.c.finished_at.is_not(None))
        except sa.exc.OperationalError:
            # The database is what is being killed.
            return self._ended

    def _count_open(self) -> int:
        return self._count(queue_items.c.finished_at.is_(None))

    def _count(self, *which: sa.ColumnElement[bool]) -> int:
        with database.reading(self._engine) as connection:
            return connection.execute(
                sa.select(sa.func.count()).select_from(queue_items).where(*which)
            ).scalar_one()

    def _nothing_is_expired(self) -> bool:
        """Tell whether every attempt that the storm may have struck is over."""
        if not self._monkey.is_quiet or not self._monkey.strikes:
            return self._monkey.is_quiet
        last = max(strike.until for strike in self._monkey.strikes)
        with database.reading(self._engine) as connection:
            return not connection.execute(
                sa.select(sa.func.count())
                .select_from(attempts)
                .where(attempts.c.ended_at.is_(None), attempts.c.started_at < last)
            ).scalar_one()

    # The verdict.

    def _judge(self, rolling_since: datetime) -> None:
        report, tally = self.report, self._uploads.tally
        rows = verdict.read_rows(self._engine)
        strikes, stalls = self._monkey.strikes, self._stalls.windows
        with database.reading(self._engine) as connection:
            poison = verdict.poison_items(connection, self._tasks)
        for findings in (
            verdict.judge_documents(rows, self._settings, self._tasks, tally.accepted),
            verdict.judge_fence(rows),
            verdict.judge_causes(rows, poison, strikes, stalls),
            verdict.judge_balance(self._engine, self._settings),
        ):
            for rule, offenders in findings.offenders.items():
                report.findings.add(rule, offenders)
        report.findings.add("wrong answers", tally.other_answers)
        report.findings.add(
            "attempts burnt by rolling restarts", verdict.count_burnt(rows, poison, rolling_since)
        )
        report.recoveries = verdict.measure_recoveries(rows, strikes, stalls)
        limit = BOUND_SECONDS * BOUND_FACTOR
        report.findings.add(
            "recovered too late",
            [
                f"{one.kind}: {one.returned:.1f} s, {one.stalled:.1f} s of it stalled"
                for one in report.recoveries
                if one.returned - one.stalled > limit
            ],
        )
        report.documents = len(tally.accepted)
        report.strikes = Counter(strike.kind for strike in strikes)
        outcomes = Counter(row.outcome for row in rows.attempts.values())
        report.notes.update({
            "poison documents": len(poison),
            "attempts": sum(outcomes.values()),
            "attempts crashed, released, failed": (
                outcomes["crashed"], outcomes["released"], outcomes["failed"],
            ),
            "late writers that the fence refused": self._fleet.count_logged("lease_lost"),
            "requests sent again": tally.sent_again,
            "answers that asked to come back": dict(sorted(tally.statuses.items())),
            "slowest answer 202, s": round(tally.slowest_accept_seconds, 2),
            "times the database took no writes for a second or more": len(stalls),
        })  # fmt: skip


def run_storm(
    kind: str,
    size: Size,
    *,
    seed: int,
    budget_seconds: float,
    guard: str = "on",
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[Report, str]:
    """Run on one database.

    Args:
        kind: ``"sqlite"`` or ``"postgresql"``.
        size: how much of everything.
        seed: decides everything that is drawn.
        budget_seconds: when to stop doing harm.
        guard: ``"off"`` takes the fence out of the workers, to see what happens then.
        say: gets a line now and then.

    Returns:
        The report, and evidence for whoever looks for the cause of a violation; empty when there is none.
    """
    with Servers(kind) as servers:
        storm = Storm(servers, size, seed=seed, budget_seconds=budget_seconds, guard=guard, say=say)
        try:
            report = storm.run()
            return report, storm.evidence() if report.findings.violations else ""
        finally:
            storm.close()
