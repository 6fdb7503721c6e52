"""Taking back what died, and keeping an eye on who lives and what was announced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from jobs.claims import BY_ID, is_free, is_running, looked_up
from jobs.database import reading
from jobs.model import (
    Crashed,
    Outcome,
    QueueItem,
    Released,
    Status,
)
from jobs.queue_service.base import through
from jobs.queue_service.batches import Batches
from jobs.queue_service.claiming import LINE
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.states import decide
from jobs.tables import (
    claims,
    item_count_changes,
    item_counts,
    partial_results,
    queue_items,
    sweeps,
    workers,
)


class Recovery(Batches):
    """The sweep's and the supervisors' side of the queue."""

    def mark_suspects(self) -> int:
        """Mark the leases that ran out; the first phase of the rescue.

        A live worker clears the mark with its next renewal, so a jump of the clock or a
        pause of the sweep takes no live lease away.

        Returns:
            How many were marked.
        """
        statement = (
            sa.update(queue_items)
            .where(
                is_running(self._clock.dialect),
                queue_items.c.suspect_at.is_(None),
                self._expired(),
            )
            .values(suspect_at=self._clock.steady)
            .with_hint(BY_ID, dialect_name="sqlite")
        )
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount

    def rescue(self, limit: int = 500) -> list[QueueItem]:
        """Take back the items whose lease stayed expired for a heartbeat after its mark.

        Args:
            limit: at most this many.

        Returns:
            The items after their rescue: pending again, quarantined, or cancelled where that was asked. One
            that its worker had not begun with goes back uncounted.
        """
        statement = (
            sa.select(*ITEM_COLUMNS)
            .where(is_running(self._clock.dialect), self._rescuable())
            .order_by(queue_items.c.lease_expires_at)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            found = [to_item(row) for row in connection.execute(looked_up(statement))]
        rescued = []
        for item in found:
            reason = "its worker stopped answering"
            outcome = Released(reason) if item.started_at is None else Crashed(reason)
            taken = self._take_back(item, outcome, self._rescuable())
            if taken is not None:
                rescued.append(taken)
        return rescued

    def report_horse_death(
        self,
        worker_name: str,
        reason: str,
        *,
        running: str | None = None,
        peak_memory_bytes: int | None = None,
    ) -> list[QueueItem]:
        """Take back what a worker held when its work horse died, at once.

        Args:
            worker_name: the worker whose horse died.
            reason: the true cause, for people, e.g. ``"killed by signal 9"``.
            running: the item that the horse was working on, where that is known.
            peak_memory_bytes: the most memory that its processes had, where known.

        Returns:
            The items afterwards. The one that was worked on counts a crash; without ``running`` every one
            that had begun. The others go back uncounted.
        """
        taken = []
        for held in self._held_by(worker_name):
            guilty = held.started_at is not None if running is None else held.id == running
            outcome = Crashed(reason) if guilty else Released(reason)
            peak = peak_memory_bytes if guilty else None
            taken.append(self._take_back(held, outcome, sa.true(), peak))
        return [item for item in taken if item is not None]

    def release_held(self, worker_name: str, reason: str) -> list[QueueItem]:
        """Put back, uncounted, what a worker holds, because the worker is being stopped.

        Args:
            worker_name: the worker that stops.
            reason: why, for the event.

        Returns:
            The items afterwards.
        """
        held = self._held_by(worker_name)
        taken = [self._take_back(item, Released(reason), sa.true()) for item in held]
        return [item for item in taken if item is not None]

    def due_to_announce(self, queue: str, limit: int) -> list[QueueItem]:
        """Return the head of a queue's line, for which there should be bells; nothing while it is paused.

        Args:
            queue: the queue's name.
            limit: at most this many.
        """
        statement = through(
            sa.select(*ITEM_COLUMNS)
            .where(*self._in_line(queue), self._running(queue))
            .order_by(*LINE)
            .limit(limit),
            "ix_queue_items_line",
        )
        with reading(self._engine) as connection:
            return [to_item(row) for row in connection.execute(statement)]

    def stage_due(self, limit: int = 1000) -> int:
        """Put the items that came due into their lines.

        Args:
            limit: at most this many.

        Returns:
            How many there were.
        """
        due = through(
            sa.select(queue_items.c.id)
            .where(
                queue_items.c.deferred,
                # Asked once: no index of PostgreSQL is searched by a clock that moves.
                queue_items.c.due_at <= sa.select(self._clock.now).scalar_subquery(),
            )
            .order_by(queue_items.c.due_at, queue_items.c.id)
            .limit(limit),
            "ix_queue_items_deferred",
        )
        with reading(self._engine) as connection:
            found = list(connection.execute(due).scalars())
        if not found:
            return 0
        statement = (
            sa.update(queue_items)
            .where(
                queue_items.c.id.in_(found),
                queue_items.c.status == Status.PENDING,
                queue_items.c.due_at <= self._clock.now,
            )
            .values(deferred=False)
            .with_hint(BY_ID, dialect_name="sqlite")
        )
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount

    def forget_claims(self) -> int:
        """Delete the rows of claims that hold nothing: settlements at one moment leave them to each other.

        Returns:
            How many there were.
        """
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(claims).where(is_free(self._clock.dialect))).rowcount

    def forget_partial_results(self) -> int:
        """Delete the pages that attempts left behind which run no more.

        Returns:
            Of how many.
        """
        held = sa.exists().where(
            queue_items.c.id == partial_results.c.item_id,
            queue_items.c.status == Status.IN_PROGRESS,
            queue_items.c.lease_id == partial_results.c.lease_id,
        )
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(partial_results).where(~held)).rowcount

    def fold_counts(self, limit: int = 20_000) -> int:
        """Add up what statements appended to the counts; nothing to do on SQLite.

        Args:
            limit: at most this many rows.

        Returns:
            How many rows there were.
        """
        if self._clock.dialect == "sqlite":
            return 0
        oldest = (
            sa.select(item_count_changes.c.id)
            .order_by(item_count_changes.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._engine.begin() as connection:
            gone = connection.execute(
                sa.delete(item_count_changes)
                .where(item_count_changes.c.id.in_(oldest))
                .returning(item_count_changes.c.bucket, item_count_changes.c.amount)
            ).all()
            sums: dict[str, int] = {}
            for bucket, amount in gone:
                sums[bucket] = sums.get(bucket, 0) + amount
            for bucket, amount in sorted(sums.items()):
                connection.execute(
                    self._insert(item_counts)
                    .values(bucket=bucket, amount=amount)
                    .on_conflict_do_update(
                        index_elements=["bucket"], set_={"amount": item_counts.c.amount + amount}
                    )
                )
        return len(gone)

    def mark_announced(self, item_ids: Sequence[str]) -> None:
        """Remember that these items were announced now."""
        self._set_announced(item_ids, self._clock.now)

    def mark_unannounced(self, item_ids: Sequence[str]) -> None:
        """Remember that these items could not be announced; the next sweep tries again."""
        self._set_announced(item_ids, None)

    def begin_sweep(self, name: str, interval_seconds: float) -> bool:
        """Take the turn of a periodic duty.

        Args:
            name: the duty.
            interval_seconds: the least time between two turns.

        Returns:
            Whether the turn is ours; ``False`` when somebody took it less than an interval ago.
        """
        now = self._clock.now
        with self._engine.begin() as connection:
            connection.execute(
                self._insert(sweeps)
                .values(name=name, swept_at=self._clock.after(-86_400))
                .on_conflict_do_nothing(index_elements=["name"])
            )
            landed = connection.execute(
                sa.update(sweeps)
                .where(
                    sweeps.c.name == name,
                    sa.or_(
                        sweeps.c.swept_at <= self._clock.after(-interval_seconds),
                        # Written by a clock that has been put back since.
                        sweeps.c.swept_at > self._clock.after(max(interval_seconds, 1.0)),
                    ),
                )
                .values(swept_at=now)
            )
            return landed.rowcount == 1

    def worker_seen(self, name: str, host: str, pid: int, state: str, queue: str | None = None) -> None:
        """Write down that a worker lives.

        Args:
            name: its unique name.
            host: the machine's name.
            pid: the process's number.
            state: ``"idle"`` or ``"busy"``.
            queue: the queue that it listens to; the usual one when ``None``.
        """
        now = self._clock.now
        values = {
            "host": host,
            "pid": pid,
            "state": state,
            "seen_at": now,
            "queue": queue or self._settings.queue_name,
        }
        statement = (
            self._insert(workers)
            .values(name=name, started_at=now, **values)
            .on_conflict_do_update(index_elements=["name"], set_=values)
        )
        with self._engine.begin() as connection:
            connection.execute(statement)

    def worker_gone(self, name: str) -> None:
        """Write down that a worker ended."""
        statement = (
            sa.update(workers).where(workers.c.name == name).values(state="gone", seen_at=self._clock.now)
        )
        with self._engine.begin() as connection:
            connection.execute(statement)

    def forget_workers(self, older_than: timedelta = timedelta(days=1)) -> int:
        """Delete the rows of workers not seen for long."""
        statement = sa.delete(workers).where(
            workers.c.seen_at < self._clock.after(-older_than.total_seconds())
        )
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount

    def _rescuable(self) -> sa.ColumnElement[bool]:
        waited = queue_items.c.suspect_at <= self._clock.steady - self._settings.heartbeat_seconds
        # After a reboot nobody of the boot before can renew any more: no need to wait.
        return sa.and_(self._expired(), sa.or_(waited, queue_items.c.lease_boot != self._clock.boot))

    def _take_back(
        self,
        item: QueueItem,
        outcome: Outcome,
        guard: sa.ColumnElement[bool],
        peak_memory_bytes: int | None = None,
    ) -> QueueItem | None:
        """Settle somebody else's lease, if it is still the lease that was read."""
        lease = self._lease_of(item)
        guards = (*self._token(lease), guard)
        with self._engine.begin() as connection:
            # Read again under its lock: somebody may have asked for a cancel since.
            row = connection.execute(self._locked(sa.select(*ITEM_COLUMNS).where(*guards))).one_or_none()
            if row is None:
                return None
            policy = self._policies[item.operation]
            settlement = decide(to_item(row), outcome, policy, self._rng.random())
            return self._apply(connection, lease, settlement, "", guards, peak_memory_bytes)

    def _held_by(self, worker_name: str) -> list[QueueItem]:
        statement = sa.select(*ITEM_COLUMNS).where(
            is_running(self._clock.dialect, claims.c.worker == worker_name),
            queue_items.c.worker == worker_name,
        )
        with reading(self._engine) as connection:
            return [to_item(row) for row in connection.execute(looked_up(statement))]

    def _set_announced(self, item_ids: Sequence[str], when: object) -> None:
        if not item_ids:
            return
        statement = (
            sa.update(queue_items)
            .where(queue_items.c.id.in_(list(item_ids)), queue_items.c.status == Status.PENDING)
            .values(announced_at=when)
            .with_hint(BY_ID, dialect_name="sqlite")
        )
        with self._engine.begin() as connection:
            connection.execute(statement)
