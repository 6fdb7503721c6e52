"""What must hold after any faults, read from the database alone and from what the monkey wrote down."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from jobs.blobs import BlobStore
from jobs.database import reading
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings
from jobs.tables import artifacts, attempts, documents, events, queue_items, results
from tests.chaos.documents import POISON, Task
from tests.chaos.ledger import History, Tenure, replay
from tests.chaos.monkey import Strike

STAGES = {"process": {"extract", "analyze"}, "extract": {"extract"}}
OPEN = ("pending", "in_progress")
# The monkey notes the time on this machine's clock a moment before or after it strikes.
_ABOUT = timedelta(seconds=0.5)
_OFFENDERS_SHOWN = 5
DATABASE_KINDS = frozenset({"kill back end", "kill database"})
# A killed back end makes PostgreSQL recover; the programs notice within their next statements.
_RECOVERY = timedelta(seconds=3)


@dataclass
class Findings:
    """Everything that must not be: what, and who.

    Attributes:
        offenders: by the rule that was broken.
    """

    offenders: dict[str, list[str]] = field(default_factory=dict)

    def add(self, rule: str, found: Iterable[str]) -> None:
        """Note who broke a rule; a rule that nobody broke is noted as well."""
        self.offenders.setdefault(rule, []).extend(found)

    def count(self, rule: str) -> int:
        """Return how many broke a rule."""
        return len(self.offenders.get(rule, []))

    @property
    def violations(self) -> dict[str, int]:
        """The rules that were broken."""
        return {rule: len(found) for rule, found in self.offenders.items() if found}

    def describe(self) -> str:
        """Say who broke what, a few of each."""
        return "\n".join(
            f"{rule}: {len(found)}, e.g. {'; '.join(found[:_OFFENDERS_SHOWN])}"
            for rule, found in self.offenders.items()
            if found
        )


@dataclass(frozen=True)
class Rows:
    """The database, read once."""

    documents: Mapping[str, Any]
    items: Mapping[str, Any]
    attempts: Mapping[tuple[str, int], Any]
    results: Mapping[str, Sequence[Any]]
    artifacts: Mapping[str, Any]
    histories: Mapping[str, History]


def read_rows(engine: sa.Engine) -> Rows:
    """Read everything that the rules look at."""
    with reading(engine) as connection:

        def rows(*columns: Any) -> Sequence[Any]:
            return connection.execute(sa.select(*columns)).all()

        ledger = connection.execute(
            sa.select(
                events.c.item_id,
                events.c.kind,
                events.c.attempt,
                events.c.lease_id,
                events.c.at,
                events.c.data,
            ).order_by(events.c.seq)
        )
        by_item: dict[str, list[Any]] = {}
        for row in rows(results):
            by_item.setdefault(row.item_id, []).append(row)
        return Rows(
            histories=replay(tuple(row) for row in ledger),
            documents={row.id: row for row in rows(documents)},
            items={row.id: row for row in rows(queue_items)},
            attempts={(row.item_id, row.attempt): row for row in rows(attempts)},
            results=by_item,
            artifacts={
                row.id: row
                for row in rows(*(column for column in artifacts.c if column is not artifacts.c.body))
            },
        )


def poison_items(connection: sa.Connection, tasks: Sequence[Task]) -> set[str]:
    """Return the items whose documents segfault, by what was uploaded."""
    hashes = {hashlib.sha256(task.content).hexdigest() for task in tasks if task.verb == POISON}
    found = connection.execute(
        sa.select(queue_items.c.id, documents.c.sha256).join(
            documents, documents.c.id == queue_items.c.document_id
        )
    )
    return {row.id for row in found if row.sha256 in hashes}


def judge_fence(rows: Rows) -> Findings:
    """Look for effects that appeared twice, and for effects of those who did not hold the item."""
    found = Findings()
    for history in rows.histories.values():
        found.add("completed twice", (f"{history.item_id}: {what}" for what in history.doubled))
        found.add("stale effects", (f"{history.item_id}: {what}" for what in history.stale))
    all_results = (row for mine in rows.results.values() for row in mine)
    found.add("stale effects", (what for row in all_results if (what := _stale_result(rows, row))))
    found.add(
        "stale effects", (what for row in rows.artifacts.values() if (what := _stale_artifact(rows, row)))
    )
    per_stage = Counter((row.item_id, row.stage) for row in rows.artifacts.values())
    found.add("completed twice", (f"{key}: {n} artifacts" for key, n in per_stage.items() if n > 1))
    found.add("rows that contradict the ledger", _contradictions(rows))
    return found


def _tenure(rows: Rows, item_id: str, attempt: int, lease_id: str) -> Tenure | None:
    history = rows.histories.get(item_id)
    return None if history is None else history.find(attempt, lease_id)


def _stale_result(rows: Rows, row: Any) -> str | None:
    tenure = _tenure(rows, row.item_id, row.attempt, row.lease_id)
    if tenure is None:
        return f"{row.item_id}: a result of attempt {row.attempt}, which never held the item"
    if not tenure.holds(row.created_at):
        return f"{row.item_id}: a result of attempt {row.attempt} from after its end"
    if row.stage not in tenure.noted:
        return f"{row.item_id}: a result of attempt {row.attempt} without its event"
    return None


def _stale_artifact(rows: Rows, row: Any) -> str | None:
    tenure = _tenure(rows, row.item_id, row.attempt, row.lease_id)
    if tenure is None or not tenure.holds(row.created_at) or row.stage not in tenure.computed:
        return f"{row.item_id}: an artifact of attempt {row.attempt} from when it did not hold the item"
    return None


def _contradictions(rows: Rows) -> Iterable[str]:
    """Compare items and attempts with what their events tell."""
    for item_id, item in rows.items.items():
        history = rows.histories.get(item_id)
        if history is None or history.accepted != 1:
            yield f"{item_id}: accepted {0 if history is None else history.accepted} times"
            continue
        crashed = sum(tenure.outcome == "crashed" for tenure in history.current)
        failed = sum(tenure.outcome == "failed" for tenure in history.current)
        if (item.crashes, item.failures) != (crashed, failed):
            yield (
                f"{item_id}: the row counts {item.crashes} crashes and {item.failures} failures, "
                f"the ledger {crashed} and {failed}"
            )
        told = [(tenure.number, tenure.lease_id, tenure.outcome) for tenure in history.tenures]
        written = [
            (row.attempt, row.lease_id, row.outcome)
            for number in range(1, item.attempt + 1)
            if (row := rows.attempts.get((item_id, number))) is not None
        ]
        if told != written:
            yield f"{item_id}: its attempts are {written}, its events tell {told}"
        if (item.status == "completed") != (history.completions == 1):
            yield f"{item_id}: {item.status}, and completed {history.completions} times"


def judge_documents(
    rows: Rows, settings: Settings, tasks: Sequence[Task], accepted: Mapping[str, str]
) -> Findings:
    """Compare what was uploaded with what is there.

    Args:
        rows: the database.
        settings: where the bytes are.
        tasks: the documents.
        accepted: the job ids that the clients were given, by the documents' keys.
    """
    found = Findings()
    by_hash = {hashlib.sha256(task.content).hexdigest(): task for task in tasks}
    copies = Counter(row.sha256 for row in rows.documents.values())
    found.add("duplicates per key", (by_hash[sha].key for sha, n in copies.items() if n > 1))
    blobs = BlobStore(settings.data_dir)
    for task in tasks:
        if task.key not in accepted:
            continue
        item = rows.items.get(accepted[task.key])
        if item is None:
            found.add("lost", [f"{task.key}: no job {accepted[task.key]}"])
        elif (stored := rows.documents[item.document_id].sha256) not in by_hash or by_hash[stored] != task:
            found.add("lost", [f"{task.key}: its job is another document's"])
        elif not blobs.path(stored).exists() or blobs.path(stored).read_bytes() != task.content:
            found.add("lost", [f"{task.key}: its bytes"])
        elif item.status == "completed":
            found.add("lost", _missing_results(rows, item, task))
    found.add("lost", [])
    found.add("not accepted", [task.key for task in tasks if task.key not in accepted])
    found.add("stuck", (f"{row.id}: {row.status}" for row in rows.items.values() if row.status in OPEN))
    found.add("poison not quarantined after exactly 3 crashes", _wrong_poison(rows, tasks, accepted))
    healthy = [accepted[task.key] for task in tasks if task.verb != POISON and task.key in accepted]
    found.add(
        "not completed",
        (
            f"{item_id}: {rows.items[item_id].status} {rows.items[item_id].error_message}"
            for item_id in healthy
            if item_id in rows.items and rows.items[item_id].status != "completed"
        ),
    )
    return found


def _missing_results(rows: Rows, item: Any, task: Task) -> list[str]:
    kept = {row.stage: rows.artifacts[row.artifact_id].meta for row in rows.results.get(item.id, ())}
    return [
        f"{task.key}: no result of the stage {stage} that is its own"
        for stage in STAGES[item.operation]
        if kept.get(stage, {}).get("key") != task.key
    ]


def _wrong_poison(rows: Rows, tasks: Sequence[Task], accepted: Mapping[str, str]) -> list[str]:
    wrong = []
    for task in tasks:
        item = rows.items.get(accepted.get(task.key, ""))
        if task.verb != POISON or item is None:
            continue
        crashed = sum(tenure.outcome == "crashed" for tenure in rows.histories[item.id].tenures)
        if (item.status, item.error_code, item.crashes, crashed) != ("failed", "quarantined", 3, 3):
            wrong.append(f"{task.key}: {item.status} after {crashed} crashes")
    return wrong


def judge_causes(
    rows: Rows, poison: set[str], strikes: Sequence[Strike], stalls: Sequence[tuple[datetime, datetime]]
) -> Findings:
    """Look for crashes and failures of healthy documents that no fault explains.

    The monkey's kills count as crashes of whatever item their victim held, so a healthy document may even be
    quarantined, but only if each of its crashes was done to it.

    Args:
        rows: the database.
        poison: the items whose documents segfault.
        strikes: whom the monkey struck, and when.
        stalls: when the database took no writes.
    """
    found = Findings()
    # What the database was hit by explains what ended then, even if it took writes again within a second.
    troubles = [*stalls, *((one.at, one.until + _RECOVERY) for one in strikes if one.kind in DATABASE_KINDS)]
    found.add("crashes without a cause", [])
    found.add("failures without a cause", [])
    for (item_id, number), row in rows.attempts.items():
        if item_id in poison or row.outcome not in {"crashed", "failed"}:
            continue
        struck = row.outcome == "crashed" and find_strike(row, strikes) is not None
        if not struck and not overlaps(row.started_at, row.ended_at, troubles):
            found.add(
                "crashes without a cause" if row.outcome == "crashed" else "failures without a cause",
                [f"{item_id} attempt {number}: {row.error_message} ({row.started_at} to {row.ended_at})"],
            )
    return found


def find_strike(row: Any, strikes: Sequence[Strike]) -> Strike | None:
    """Return the first strike that hit the process or the worker of an attempt while it lasted."""
    for strike in strikes:
        hit = row.pid in strike.pids or row.worker in strike.workers
        if hit and strike.at <= row.ended_at + _ABOUT and strike.until >= row.started_at - _ABOUT:
            return strike
    return None


def overlaps(began: datetime, ended: datetime | None, windows: Sequence[tuple[datetime, datetime]]) -> bool:
    """Tell whether a time meets one of the windows."""
    return any(start <= (ended or end) and end >= began for start, end in windows)


@dataclass(frozen=True)
class Recovery:
    """How long an item was away after the process that held it was struck, in seconds.

    Attributes:
        returned: until it was back in the queue.
        claimed: until somebody held it again, ``None`` when it ended instead.
        stalled: how much of the time until the return the database took no writes.
    """

    kind: str
    returned: float
    claimed: float | None
    stalled: float


def measure_recoveries(
    rows: Rows, strikes: Sequence[Strike], stalls: Sequence[tuple[datetime, datetime]]
) -> list[Recovery]:
    """Measure every crash that a strike caused."""
    recoveries = []
    for (item_id, number), row in rows.attempts.items():
        if row.outcome != "crashed":
            continue
        strike = find_strike(row, strikes)
        if strike is None:
            continue
        # Struck between two statements, it may have begun a moment after the note.
        began = max(strike.at, row.started_at)
        # A quarantined item was away until a person came, which is nobody's recovery.
        quarantined = len(rows.histories[item_id].tenures[:number]) == rows.histories[item_id].retried_after
        later = None if quarantined else rows.attempts.get((item_id, number + 1))
        stalled = sum(
            max(0.0, (min(end, row.ended_at) - max(start, began)).total_seconds()) for start, end in stalls
        )
        recoveries.append(
            Recovery(
                strike.kind,
                max(0.0, (row.ended_at - began).total_seconds()),
                None if later is None else max(0.0, (later.started_at - began).total_seconds()),
                stalled,
            )
        )
    return recoveries


def judge_balance(engine: sa.Engine, settings: Settings) -> Findings:
    """Compare the counts that are kept with those that are counted; check the database file."""
    found = Findings()
    stats = DocumentQueueService(engine, settings).get_queue_stats()
    with reading(engine) as connection:
        by_status = sa.select(queue_items.c.status, sa.func.count()).group_by(queue_items.c.status)
        counted = {row[0]: row[1] for row in connection.execute(by_status)}
        if engine.dialect.name == "sqlite":
            answer = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            found.add("database damaged", [] if answer == "ok" else [str(answer)])
    states = ("pending", "in_progress", "completed", "failed", "cancelled")
    found.add(
        "ledger out of balance",
        [f"{state}: kept {stats[state]}, counted {counted.get(state, 0)}" for state in states
         if stats[state] != counted.get(state, 0)],
    )  # fmt: skip
    total = sum(int(stats[state] or 0) for state in states) + int(stats["purged"] or 0)
    if stats["accepted"] != total:
        found.add("ledger out of balance", [f"accepted {stats['accepted']}, but {total} in all states"])
    return found


def count_burnt(rows: Rows, poison: set[str], since: datetime) -> list[str]:
    """Return the attempts of healthy documents since a moment that were counted against them."""
    return [
        f"{item_id} attempt {number}: {row.outcome}, {row.error_message}"
        for (item_id, number), row in rows.attempts.items()
        if row.started_at >= since and item_id not in poison and row.outcome in {"crashed", "failed"}
    ]
