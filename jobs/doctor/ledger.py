"""Whether every item that was ever accepted is somewhere, and is counted once."""

from __future__ import annotations

import sqlalchemy as sa

from jobs.database import reading
from jobs.doctor.report import Finding, Level, Subject
from jobs.model import JSON, Status
from jobs.tables import attempts, events, item_count_changes, item_counts, queue_items

TRIGGERS = frozenset({"docqueue_count_insert", "docqueue_count_update", "docqueue_count_delete"})
_NEVER_STORED = ("accepted", "purged")
_WAITING = ("waiting", "scheduled", "retrying")
_FAILED = ("failed", "quarantined")


def check_ledger(subject: Subject) -> Finding:
    """Compare accepted = completed + failed + waiting + running + cancelled + purged, kept and counted."""
    # One statement is one snapshot, on both databases.
    kept_rows = sa.union_all(
        sa.select(item_counts.c.bucket, item_counts.c.amount),
        sa.select(item_count_changes.c.bucket, item_count_changes.c.amount),
    ).subquery()
    bucket = _bucket().label("bucket")
    both = sa.union_all(
        sa.select(
            sa.literal("kept").label("source"), kept_rows.c.bucket, sa.func.sum(kept_rows.c.amount)
        ).group_by(kept_rows.c.bucket),
        sa.select(sa.literal("stored"), bucket, sa.func.count()).group_by(sa.text("2")),
    )
    kept: dict[str, int] = {}
    stored: dict[str, int] = {}
    # Counting millions of rows may take longer than any other statement of ours.
    with reading(subject.engine, statement_seconds=600.0) as connection:
        for source, name, amount in connection.execute(both):
            (kept if source == "kept" else stored)[name] = int(amount)
    figures = _figures(kept, stored)
    wrong = sorted(
        name
        for name in (set(kept) | set(stored)) - set(_NEVER_STORED)
        if kept.get(name, 0) != stored.get(name, 0)
    )
    sums = {name: kept.get(name, 0) for name in _NEVER_STORED}
    missing = sums["accepted"] - sums["purged"] - sum(stored.values())
    if wrong or missing:
        told = [f"{name} is counted {kept.get(name, 0)} and is {stored.get(name, 0)}" for name in wrong]
        if missing:
            told.append(f"{abs(missing)} accepted {'are missing' if missing > 0 else 'too few were counted'}")
        return Finding(
            "ledger",
            Level.FAIL,
            f"The kept counts are not those of the rows: {'; '.join(told)}.",
            "Rows were changed while the counting triggers were off, or restored from a part of a backup. "
            "Look for what is missing, then count anew: docs/operations.md, “ledger”.",
            figures,
        )
    return Finding("ledger", Level.OK, _equation(figures), figures=figures)


def check_triggers(subject: Subject) -> Finding:
    """Look whether the triggers that keep the counts are there and on."""
    if subject.engine.dialect.name == "postgresql":
        statement = sa.text(
            "SELECT tgname FROM pg_trigger "
            "WHERE tgrelid = 'queue_items'::regclass AND tgenabled IN ('O', 'A')"
        )
    else:
        statement = sa.text(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'queue_items'"
        )
    with reading(subject.engine) as connection:
        missing = sorted(TRIGGERS - set(connection.execute(statement).scalars()))
    if missing:
        return Finding(
            "triggers",
            Level.FAIL,
            f"The triggers {', '.join(missing)} are missing or off: the counts go wrong.",
            "Stop the service, restore the triggers (docs/operations.md, “triggers”), then count anew.",
        )
    return Finding("triggers", Level.OK, "The triggers that keep the counts are there.")


def check_attempts(subject: Subject) -> Finding:
    """Look whether exactly the running items have an open attempt."""
    open_attempt = (
        sa.exists()
        .where(attempts.c.item_id == queue_items.c.id, attempts.c.ended_at.is_(None))
        .correlate(queue_items)
    )
    running = queue_items.c.status == Status.IN_PROGRESS
    without = sa.select(sa.func.count()).where(running, ~open_attempt)
    abandoned = (
        sa.select(sa.func.count())
        .select_from(attempts.join(queue_items, queue_items.c.id == attempts.c.item_id))
        .where(attempts.c.ended_at.is_(None), ~running)
    )
    # No index knows what runs, nor which attempt is open: this reads every row, as the ledger does.
    with reading(subject.engine, statement_seconds=600.0) as connection:
        statement = sa.select(without.scalar_subquery(), abandoned.scalar_subquery())
        lacking, loose = connection.execute(statement).one()
    figures: dict[str, JSON] = {"running_without_attempt": lacking, "open_attempts_of_others": loose}
    if lacking or loose:
        return Finding(
            "attempts",
            Level.FAIL,
            f"{lacking} running jobs have no open attempt; {loose} open attempts are of others.",
            "Somebody changed rows by hand. The jobs are rescued by their leases; the history is incomplete.",
            figures,
        )
    return Finding("attempts", Level.OK, "Every running job has its open attempt.", figures=figures)


def check_feed(subject: Subject) -> Finding:
    """Look whether the events' transactions are this server's, so that the feed shows them."""
    if subject.engine.dialect.name != "postgresql":
        return Finding("feed", Level.OK, "Events are numbered in the order of their commits.")
    ahead = sa.select(sa.func.count()).where(
        events.c.tx >= sa.text("pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    )
    with reading(subject.engine) as connection:
        count = connection.execute(ahead).scalar_one()
    if count:
        return Finding(
            "feed",
            Level.FAIL,
            f"{count} events carry transaction numbers that are ahead of this server: the feed hides them.",
            "The database was restored into another server. Run: UPDATE events SET tx = 0; readers of the "
            "feed begin again without a cursor.",
            {"events_ahead": count},
        )
    return Finding("feed", Level.OK, "The feed shows every event.", figures={"events_ahead": 0})


def _bucket() -> sa.ColumnElement[str]:
    """Say what a row is counted as; the twin of the triggers' expression in the migrations."""
    tried = queue_items.c.failures + queue_items.c.crashes > 0
    pending, failed = queue_items.c.status == Status.PENDING, queue_items.c.status == Status.FAILED
    return sa.case(
        (sa.and_(pending, ~queue_items.c.deferred), "waiting"),
        (sa.and_(pending, tried), "retrying"),
        (pending, "scheduled"),
        (sa.and_(failed, queue_items.c.error_code == "quarantined"), "quarantined"),
        else_=queue_items.c.status,
    )


def _figures(kept: dict[str, int], stored: dict[str, int]) -> dict[str, JSON]:
    return {
        "accepted": kept.get("accepted", 0),
        "completed": stored.get(Status.COMPLETED, 0),
        "failed": sum(stored.get(name, 0) for name in _FAILED),
        "waiting": sum(stored.get(name, 0) for name in _WAITING),
        "running": stored.get(Status.IN_PROGRESS, 0),
        "cancelled": stored.get(Status.CANCELLED, 0),
        "purged": kept.get("purged", 0),
    }


def _equation(figures: dict[str, JSON]) -> str:
    parts = [f"{amount:,} {name}" for name, amount in figures.items() if name != "accepted"]
    return f"{figures['accepted']:,} accepted = {' + '.join(parts)}."
