"""Who is next: the claim, by id or from the line, and the slots that bound what runs at once."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from jobs.database import reading
from jobs.errors import Throttled
from jobs.model import Lease, Status, UserId
from jobs.queue_service.base import PENDING, QueueBase, through
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.tables import attempts, queue_items, queues, slots, throttles

LINE = (queue_items.c.priority.desc(), queue_items.c.turn, queue_items.c.id)
"""The order of a queue's line: priority, then the owners' turns."""

# High goes before low, strictly; this share of the claims takes whoever waits longest, so that low priority
# is not starved.
SHARE_OF_THE_LONGEST_WAITING = 0.1
# How far down the line a claim looks for an owner who has not enough running, before it asks by owner.
_LOOK_AHEAD = 200
_MOST_TRIES = 50


class _OwnerBusy(Exception):
    """The claimed item's owner has as many running as is allowed: undo the claim."""


class Claiming(QueueBase):
    """Claims and slots."""

    def claim(self, item_id: str, worker: str) -> Lease | None:
        """Take the lease of an item's next attempt.

        Args:
            item_id: the item.
            worker: the claiming worker's name.

        Returns:
            The lease, or ``None`` when there is nothing to claim: not due, not pending, taken, its queue
            paused, or its owner busy with as many as ``MAX_RUNNING_PER_OWNER`` allows.
        """
        lease_id = secrets.token_hex(16)
        try:
            with self._engine.begin() as connection:
                return self._claim(connection, worker, item_id, lease_id)
        except _OwnerBusy:
            return None
        except sa.exc.OperationalError as error:
            return self._claimed_after_all(lease_id, error)

    def claim_next(self, queue: str, worker: str, *, preferred: str | None = None) -> Lease | None:
        """Take the lease of the best item of a queue's line.

        The line is ordered by priority, then by turn, so that the owners alternate however much each has
        queued. One claim in ten takes the item that has been due for longest instead.

        Args:
            queue: the queue's name.
            worker: the claiming worker's name.
            preferred: an item that may have come due since the last sweep, which puts it into the line first.

        Returns:
            The lease, or ``None`` when nothing can be claimed.
        """
        if preferred is not None:
            self._put_in_line(preferred)
        longest_waiting = self._rng.random() < SHARE_OF_THE_LONGEST_WAITING
        busy = self._busy_owners()
        for _ in range(_MOST_TRIES):
            lease_id = secrets.token_hex(16)
            try:
                with self._engine.begin() as connection:
                    best = self._best(connection, queue, busy, longest_waiting=longest_waiting)
                    if best is None:
                        return None
                    lease = self._claim(connection, worker, best, lease_id)
                    if lease is not None:
                        return lease
                    # Somebody was faster, or the queue was paused; the next look tells.
            except _OwnerBusy:
                busy = self._busy_owners()
            except sa.exc.OperationalError as error:
                return self._claimed_after_all(lease_id, error)
        return None

    def enter_stage(self, lease: Lease, key: str, most: int) -> None:
        """Take a slot for what a stage is about to use; it is given back when the attempt ends.

        Args:
            lease: the lease.
            key: what is used, e.g. ``"model"``.
            most: how many items may use it at once; 0 when any number may.

        Raises:
            LeaseLost: the item is no longer this attempt's; a slot of its would never be given back.
            Throttled: somebody asked us to wait, or every slot is taken.
        """
        with self._engine.begin() as connection:
            self._guarded_update(connection, lease, {})
            until = connection.execute(
                sa.select(throttles.c.until, throttles.c.reason).where(
                    throttles.c.key == key, throttles.c.until > self._clock.now
                )
            ).one_or_none()
            if until is not None:
                wait = (until.until - self._clock.read(connection)).total_seconds()
                raise Throttled(until.reason, key=None, retry_after=max(1.0, wait))
            if most and not self._take_slot(connection, key, lease.item.id, most):
                raise Throttled(
                    f"All {most} slots for the {key} are taken.",
                    key=None,
                    retry_after=2.0 + 3.0 * self._rng.random(),
                )

    def throttle(self, key: str, seconds: float, reason: str) -> None:
        """Remember that something outside asked us to wait; never shortens an earlier wait.

        Args:
            key: what asked, e.g. ``"model"``.
            seconds: for how long.
            reason: one sentence for the people who wait.
        """
        until = self._clock.after(seconds)
        longer = sa.func.greatest if self._clock.dialect == "postgresql" else sa.func.max
        statement = (
            self._insert(throttles)
            .values(key=key, until=until, reason=reason)
            .on_conflict_do_update(
                index_elements=["key"], set_={"until": longer(throttles.c.until, until), "reason": reason}
            )
        )
        with self._engine.begin() as connection:
            connection.execute(statement)

    def _claim(self, connection: sa.Connection, worker: str, item_id: str, lease_id: str) -> Lease | None:
        now = self._clock.now
        row = connection.execute(
            sa.update(queue_items)
            .where(
                queue_items.c.id == item_id,
                queue_items.c.status == Status.PENDING,
                queue_items.c.due_at <= now,
                queue_items.c.cancel_requested_at.is_(None),
                self._running(queue_items.c.queue),
            )
            .values(**self._claim_values(worker, lease_id), started_at=now)
            .returning(*ITEM_COLUMNS)
        ).one_or_none()
        if row is None:
            return None
        item = to_item(row)
        most = self._settings.max_running_per_owner
        if most and not self._take_slot(connection, owner_key(item.owner_id), item.id, most):
            raise _OwnerBusy
        connection.execute(
            sa.insert(attempts).values(
                item_id=item.id,
                attempt=item.attempt,
                lease_id=lease_id,
                worker=worker,
                host=socket.gethostname(),
                pid=os.getpid(),
                started_at=now,
            )
        )
        self._append(connection, item, "started", {"worker": worker}, lease_id=lease_id)
        return Lease(item=item, attempt=item.attempt, lease_id=lease_id, worker=worker)

    def _claim_values(self, worker: str, lease_id: str) -> dict[str, Any]:
        """Return what a claim writes into an item."""
        return {
            "status": Status.IN_PROGRESS,
            "attempt": queue_items.c.attempt + 1,
            "deferred": False,
            "worker": worker,
            "lease_id": lease_id,
            "lease_expires_at": self._clock.steady + self._settings.lease_seconds,
            "lease_boot": self._clock.boot,
            "suspect_at": None,
            "updated_at": self._clock.now,
        }

    def _claimed_after_all(self, lease_id: str, error: sa.exc.OperationalError) -> Lease:
        """Return the lease whose commit landed although its answer was lost; raise the error otherwise."""
        statement = sa.select(*ITEM_COLUMNS).where(
            queue_items.c.status == Status.IN_PROGRESS, queue_items.c.lease_id == lease_id
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise error
        return self._lease_of(to_item(row))

    def _in_line(self, queue: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            queue_items.c.queue == queue,
            queue_items.c.status == PENDING,
            ~queue_items.c.deferred,
            queue_items.c.due_at <= self._clock.now,
        )

    def _running(self, queue: str | sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Tell in SQL that a queue is not paused."""
        return ~sa.exists().where(queues.c.name == queue, queues.c.paused_at.is_not(None))

    def _put_in_line(self, item_id: str) -> None:
        statement = (
            sa.update(queue_items)
            .where(
                queue_items.c.id == item_id,
                queue_items.c.status == Status.PENDING,
                queue_items.c.deferred,
                queue_items.c.due_at <= self._clock.now,
            )
            .values(deferred=False)
        )
        with self._engine.begin() as connection:
            connection.execute(statement)

    def _best(
        self, connection: sa.Connection, queue: str, busy: set[UserId | None], *, longest_waiting: bool
    ) -> str | None:
        order = (queue_items.c.due_at, queue_items.c.id) if longest_waiting else LINE
        line = through(
            sa.select(queue_items.c.id, queue_items.c.owner_id)
            .where(*self._in_line(queue), self._running(queue))
            .order_by(*order),
            "ix_queue_items_oldest" if longest_waiting else "ix_queue_items_line",
        )
        if not busy:
            statement = line.limit(1)
            if self._clock.dialect == "postgresql":
                # Claims at the same moment take different items instead of waiting for each other.
                statement = statement.with_for_update(skip_locked=True, of=queue_items)
            row = connection.execute(statement).one_or_none()
            return None if row is None else row.id
        for row in connection.execute(line.limit(_LOOK_AHEAD)).all():
            if row.owner_id not in busy:
                return str(row.id)
        return self._best_of_another_owner(connection, queue, busy)

    def _best_of_another_owner(
        self, connection: sa.Connection, queue: str, busy: set[UserId | None]
    ) -> str | None:
        """Ask owner by owner; a busy one costs one step, however long its line is."""
        for owner in self._owners_waiting(connection, queue):
            if owner in busy:
                continue
            same = queue_items.c.owner_id.is_(None) if owner is None else queue_items.c.owner_id == owner
            best = through(
                sa.select(queue_items.c.id).where(*self._in_line(queue), same).order_by(*LINE).limit(1),
                "ix_queue_items_turns",
            )
            found = connection.execute(best).scalar()
            if found is not None:
                return str(found)
        return None

    def _owners_waiting(self, connection: sa.Connection, queue: str) -> Iterator[UserId | None]:
        """Step through the owners of pending items by the index, nobody's items first."""
        yield None
        last: sa.ColumnElement[bool] = sa.true()
        while True:
            following = through(
                sa.select(queue_items.c.owner_id)
                .where(
                    queue_items.c.queue == queue,
                    queue_items.c.status == PENDING,
                    queue_items.c.owner_id.is_not(None),
                    last,
                )
                .order_by(queue_items.c.owner_id)
                .limit(1),
                "ix_queue_items_turns",
            )
            owner = connection.execute(following).scalar()
            if owner is None:
                return
            yield UserId(owner)
            last = queue_items.c.owner_id > owner

    def _busy_owners(self) -> set[UserId | None]:
        """Return the owners who have as many running as is allowed."""
        most = self._settings.max_running_per_owner
        if not most:
            return set()
        statement = (
            sa.select(slots.c.key)
            .where(slots.c.key.startswith("owner:"))
            .group_by(slots.c.key)
            .having(sa.func.count() >= most)
        )
        with reading(self._engine) as connection:
            keys = connection.execute(statement).scalars()
            return {UserId(key.removeprefix("owner:")) if key != "owner:" else None for key in keys}

    def _take_slot(self, connection: sa.Connection, key: str, item_id: str, most: int) -> bool:
        if self._clock.dialect == "postgresql":
            # Until this transaction ends nobody else counts this key; SQLite has one writer anyway.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(key, 0))))
        taken = connection.execute(
            sa.select(sa.func.count()).where(slots.c.key == key, slots.c.item_id != item_id)
        ).scalar_one()
        if taken >= most:
            return False
        connection.execute(
            self._insert(slots)
            .values(key=key, item_id=item_id)
            .on_conflict_do_nothing(index_elements=["key", "item_id"])
        )
        return True


def owner_key(owner: UserId | None) -> str:
    """Return the slots' key of an owner."""
    return f"owner:{owner or ''}"
