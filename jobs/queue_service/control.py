"""What is said about a queue as a whole: paused, by whom and why; and how much of what there is."""

from __future__ import annotations

import sqlalchemy as sa

from jobs.database import reading
from jobs.errors import UnknownQueue
from jobs.model import QueueState, Status
from jobs.queue_service.base import IN_LINE, PENDING, QueueBase, through
from jobs.tables import item_count_changes, item_counts, queue_items, queues, workers

_ALIVE_SECONDS = 60
_LONGEST_REASON = 500


class Control(QueueBase):
    """Pause, resume, count."""

    def pause_queue(self, name: str, by: str, reason: str) -> QueueState:
        """Let nothing of a queue be claimed any more; what runs goes on. Pausing again changes the reason.

        Args:
            name: the queue.
            by: who asks.
            reason: why, for everybody who waits; cut to 500 characters.

        Raises:
            UnknownQueue: no queue of this name is set up.
        """
        self._check_queue(name)
        values = {"paused_by": by, "pause_reason": reason[:_LONGEST_REASON]}
        statement = (
            self._insert(queues)
            .values(name=name, paused_at=self._clock.now, **values)
            .on_conflict_do_update(
                index_elements=["name"],
                set_={"paused_at": sa.func.coalesce(queues.c.paused_at, self._clock.now), **values},
            )
        )
        with self._engine.begin() as connection:
            connection.execute(statement)
        return self.queue_state(name)

    def resume_queue(self, name: str, by: str) -> QueueState:
        """Let a queue go on.

        Args:
            name: the queue.
            by: who asks; for the log of the caller.

        Raises:
            UnknownQueue: no queue of this name is set up.
        """
        del by
        self._check_queue(name)
        statement = (
            sa.update(queues)
            .where(queues.c.name == name)
            .values(paused_at=None, paused_by=None, pause_reason=None)
        )
        with self._engine.begin() as connection:
            connection.execute(statement)
        return self.queue_state(name)

    def queue_state(self, name: str) -> QueueState:
        """Return what was said about a queue; one that nobody spoke of runs."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(queues).where(queues.c.name == name)).one_or_none()
        return QueueState(name) if row is None else QueueState(**row._mapping)  # noqa: SLF001  # its public name

    def get_queue_stats(self) -> dict[str, int | float | None]:
        """Return the queue's figures, from counts that are kept, whatever the size of the queue.

        Returns:
            A count for each stored state; ``waiting``, ``scheduled`` and ``retrying``, which split the
            pending ones; ``quarantined``, a part of the failed ones; ``total``; ``accepted`` (ever) and
            ``purged`` (deleted after they ended), so that ``accepted = total + purged``; ``workers_alive``;
            ``oldest_waiting_seconds`` or ``None`` when nothing waits.
        """
        # One statement, one snapshot: a change is either appended or already added up.
        kept = sa.union_all(
            sa.select(item_counts.c.bucket, item_counts.c.amount),
            sa.select(item_count_changes.c.bucket, item_count_changes.c.amount),
        ).subquery()
        counted = sa.select(kept.c.bucket, sa.func.sum(kept.c.amount)).group_by(kept.c.bucket)
        alive = sa.select(sa.func.count()).where(
            workers.c.state != "gone", workers.c.seen_at > self._clock.after(-_ALIVE_SECONDS)
        )
        with reading(self._engine) as connection:
            found = {bucket: int(amount) for bucket, amount in connection.execute(counted)}
            stats = _figures(found)
            stats["oldest_waiting_seconds"] = self._oldest_waiting(connection)
            stats["workers_alive"] = connection.execute(alive).scalar_one()
        return stats

    def _oldest_waiting(self, connection: sa.Connection) -> float | None:
        now = self._clock.read(connection)
        ages = []
        for name in self._settings.queue_names:
            oldest = through(
                sa.select(queue_items.c.due_at)
                .where(queue_items.c.queue == name, IN_LINE, queue_items.c.status == PENDING)
                .order_by(queue_items.c.due_at, queue_items.c.id)
                .limit(1),
                "ix_queue_items_oldest",
            )
            due_at = connection.execute(oldest).scalar()
            if due_at is not None:
                ages.append(max(0.0, round((now - due_at).total_seconds(), 3)))
        return max(ages, default=None)

    def _check_queue(self, name: str) -> None:
        if name not in self._settings.queue_names:
            raise UnknownQueue(
                f"There is no queue {name!r}; choose one of {', '.join(self._settings.queue_names)}."
            )


def _figures(found: dict[str, int]) -> dict[str, int | float | None]:
    split = {name: found.get(name, 0) for name in ("waiting", "scheduled", "retrying")}
    quarantined = found.get("quarantined", 0)
    states = {
        Status.PENDING.value: sum(split.values()),
        Status.IN_PROGRESS.value: found.get("in_progress", 0),
        Status.COMPLETED.value: found.get("completed", 0),
        Status.FAILED.value: found.get("failed", 0) + quarantined,
        Status.CANCELLED.value: found.get("cancelled", 0),
    }
    return {
        **states,
        **split,
        "quarantined": quarantined,
        "total": sum(states.values()),
        "accepted": found.get("accepted", 0),
        "purged": found.get("purged", 0),
    }
