"""Whether what should move does: leases, lines, workers, the sweep."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from jobs.claims import is_running, looked_up
from jobs.database import reading
from jobs.doctor.report import Finding, Level, Subject, times
from jobs.model import JSON, Status
from jobs.tables import attempts, queue_items, queues, slots, sweeps, throttles, workers

# How long a worker may keep silent before it is not counted any more, as everywhere else.
ALIVE_SECONDS = 60.0
# A minute in the line with idle workers beside it is too long for any load.
LONG_WAIT_SECONDS = 60.0
_SWEEP_LATE_SECONDS = 30.0


def check_leases(subject: Subject) -> Finding:
    """Look for leases that ran out and were not taken back in time."""
    settings, clock = subject.settings, subject.clock
    patience = settings.heartbeat_seconds + subject.sweeps_seconds
    late = sa.or_(
        queue_items.c.lease_expires_at < clock.steady - patience,
        sa.and_(
            queue_items.c.lease_boot != clock.boot,
            queue_items.c.updated_at < clock.after(-patience),
        ),
    )
    running = queue_items.c.status == Status.IN_PROGRESS
    unclaimed = sa.and_(running, ~is_running(clock.dialect))
    statement = sa.select(
        sa.func.count(),
        sa.func.sum(sa.case((late, 1), else_=0)),
        sa.func.sum(sa.case((unclaimed, 1), else_=0)),
    ).where(running)
    oldest = looked_up(
        sa.select(sa.func.min(attempts.c.started_at))
        .select_from(queue_items.join(attempts, attempts.c.item_id == queue_items.c.id))
        .where(is_running(clock.dialect), attempts.c.attempt == queue_items.c.attempt)
    )
    # What runs is looked for in every row, not by the claims, which are to be examined.
    with reading(subject.engine, statement_seconds=600.0) as connection:
        count, overdue, lost = connection.execute(statement).one()
        since = connection.execute(oldest).scalar()
        age = 0.0 if since is None else (clock.read(connection) - since).total_seconds()
    figures: dict[str, JSON] = {
        "running": count,
        "overdue": int(overdue or 0),
        "without_claim": int(lost or 0),
        "oldest_attempt_seconds": round(age, 1),
    }
    if overdue:
        return Finding(
            "leases",
            Level.FAIL,
            f"{times(overdue, 'lease')} ran out more than a heartbeat and two sweeps ago and "
            f"{'was' if overdue == 1 else 'were'} not taken back.",
            "Nobody sweeps. Start scheduler.py, or look into its log.",
            figures,
        )
    if lost:
        return Finding(
            "leases",
            Level.FAIL,
            f"{times(lost, 'job')} in progress {'is' if lost == 1 else 'are'} not among the claims: no sweep "
            "takes them back.",
            "Somebody changed rows by hand, or a worker of an older version works on. Set their status to "
            "'pending', with worker, lease_id, lease_expires_at, lease_boot and started_at empty.",
            figures,
        )
    message = "Nothing runs." if not count else f"{times(count, 'job')} in progress; every lease is in time."
    return Finding("leases", Level.OK, message, figures=figures)


def check_lines(subject: Subject) -> Finding:
    """Look for items that are due for long while workers are idle, and for queues that nobody serves."""
    settings, clock = subject.settings, subject.clock
    patience = max(LONG_WAIT_SECONDS, settings.announce_again_seconds + subject.sweeps_seconds)
    with reading(subject.engine) as connection:
        now = clock.read(connection)
        limited = settings.max_running_per_owner > 0 or _is_throttled(connection, subject)
        paused = set(
            connection.execute(sa.select(queues.c.name).where(queues.c.paused_at.is_not(None))).scalars()
        )
        waits = {name: _oldest_due(connection, subject, name, now) for name in settings.queue_names}
        idle = _workers_by_queue(connection, subject, "idle")
        strayed = connection.execute(
            sa.select(sa.func.count()).where(
                queue_items.c.status == Status.PENDING, queue_items.c.queue.not_in(settings.queue_names)
            )
        ).scalar_one()
    longest = max((wait for wait in waits.values() if wait is not None), default=None)
    figures: dict[str, JSON] = {
        "oldest_due_seconds": None if longest is None else round(longest, 1),
        "in_unknown_queues": strayed,
    }
    if strayed:
        return Finding(
            "lines",
            Level.FAIL,
            f"{times(strayed, 'job')} stand in queues that are not set up.",
            "Name their queues in QUEUE_NAME or MORE_QUEUES of every process, and start a worker for them.",
            figures,
        )
    stuck = sorted(
        name
        for name, wait in waits.items()
        if wait is not None and wait > patience and name not in paused and idle.get(name)
    )
    if stuck:
        return Finding(
            "lines",
            Level.WARN if limited else Level.FAIL,
            f"Jobs on {', '.join(stuck)} have been due for {patience:.0f} s and more beside idle workers.",
            "A limit for each owner or a throttled model endpoint may hold them; their pages say so. "
            "Otherwise look into the workers' logs, and whether Redis takes bells."
            if limited
            else "Look into the workers' logs, and whether Redis takes bells.",
            figures,
        )
    return Finding("lines", Level.OK, "Nothing that is due waits for an idle worker.", figures=figures)


def check_workers(subject: Subject) -> Finding:
    """Look whether every queue has a worker that lives, and which queues people have paused."""
    with reading(subject.engine) as connection:
        alive = _workers_by_queue(connection, subject, "idle", "busy")
        stopped = connection.execute(
            sa.select(queues.c.name, queues.c.paused_by).where(queues.c.paused_at.is_not(None))
        ).all()
    names = subject.settings.queue_names
    figures: dict[str, JSON] = {name: alive.get(name, 0) for name in names}
    without = [name for name in names if not alive.get(name)]
    if without:
        return Finding(
            "workers",
            Level.WARN,
            f"No worker listens on {', '.join(without)}.",
            "Start one: python worker.py. Without any, `docqueue process-queue` works items off.",
            figures,
        )
    if stopped:
        told = ", ".join(f"{row.name} (by {row.paused_by})" for row in stopped)
        return Finding(
            "workers",
            Level.WARN,
            f"Paused: {told}.",
            "Resume it when its reason is gone.",
            figures,
        )
    return Finding("workers", Level.OK, f"{times(sum(alive.values()), 'worker')} alive.", figures=figures)


def check_sweep(subject: Subject) -> Finding:
    """Look when the last sweep was."""
    statement = sa.select(sweeps.c.swept_at).where(sweeps.c.name == "sweep")
    with reading(subject.engine) as connection:
        swept_at: datetime | None = connection.execute(statement).scalar()
        now = subject.clock.read(connection)
    if swept_at is None:
        return Finding(
            "sweep", Level.WARN, "Nobody has swept yet.", "Start scheduler.py; it rescues and rings."
        )
    age = (now - swept_at).total_seconds()
    figures: dict[str, JSON] = {"age_seconds": round(age, 1)}
    if age > max(_SWEEP_LATE_SECONDS, 5 * subject.settings.sweep_seconds):
        return Finding(
            "sweep",
            Level.FAIL,
            f"The last sweep was {age:,.0f} s ago: nothing is rescued, retried or rung for again.",
            "Start scheduler.py, or look into its log.",
            figures,
        )
    return Finding("sweep", Level.OK, f"The last sweep was {max(0.0, age):.0f} s ago.", figures=figures)


def _oldest_due(connection: sa.Connection, subject: Subject, queue: str, now: datetime) -> float | None:
    """Return for how long the oldest due item of a queue has been due, staged or not."""
    ages = []
    for deferred in (queue_items.c.deferred, ~queue_items.c.deferred):
        due_at = connection.execute(
            sa.select(queue_items.c.due_at)
            .where(
                queue_items.c.queue == queue,
                queue_items.c.status == Status.PENDING,
                deferred,
                queue_items.c.due_at <= subject.clock.now,
            )
            .order_by(queue_items.c.due_at)
            .limit(1)
        ).scalar()
        if due_at is not None:
            ages.append((now - due_at).total_seconds())
    return max(ages, default=None)


def _workers_by_queue(connection: sa.Connection, subject: Subject, *states: str) -> dict[str, int]:
    statement = (
        sa.select(workers.c.queue, sa.func.count().label("alive"))
        .where(workers.c.state.in_(states), workers.c.seen_at > subject.clock.after(-ALIVE_SECONDS))
        .group_by(workers.c.queue)
    )
    return {row.queue: row.alive for row in connection.execute(statement)}


def _is_throttled(connection: sa.Connection, subject: Subject) -> bool:
    waits = sa.select(throttles.c.key).where(throttles.c.until > subject.clock.now)
    taken = sa.select(slots.c.key)
    return any(connection.execute(statement.limit(1)).scalar() is not None for statement in (waits, taken))
