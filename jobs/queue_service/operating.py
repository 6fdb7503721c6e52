"""What people do with items: cancel, retry, clear."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from jobs.claims import BY_ID
from jobs.database import reading
from jobs.errors import (
    AlreadyQueued,
    IllegalTransition,
    ItemNotFound,
)
from jobs.model import (
    ENDED_STATUSES,
    HIGHEST_PRIORITY,
    IMAGES_OPERATION,
    JSON,
    LOWEST_PRIORITY,
    QueueItem,
    Status,
)
from jobs.queue_service.base import QueueBase
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.tables import (
    SEGMENTS_OF,
    attempts,
    events,
    queue_items,
    results,
)


class Operating(QueueBase):
    """The buttons."""

    def cancel(self, item_id: str, by: str, reason: str = "") -> QueueItem:
        """Cancel an item: at once while it waits, by request while it runs.

        Args:
            item_id: the item.
            by: who asks, for the event.
            reason: why, for the event.

        Raises:
            ItemNotFound: there is no such item.
            IllegalTransition: it has already ended.
        """
        with self._engine.begin() as connection:
            return self.cancel_in(connection, item_id, by, reason)

    def cancel_in(self, connection: sa.Connection, item_id: str, by: str, reason: str = "") -> QueueItem:
        """Cancel an item inside the caller's transaction; see :meth:`cancel`."""
        known = self._known(item_id)
        now = self._clock.now
        waiting = (
            sa.update(queue_items)
            .where(queue_items.c.id == known, queue_items.c.status == Status.PENDING)
            .values(
                status=Status.CANCELLED,
                deferred=False,
                finished_at=now,
                cancel_requested_at=now,
                updated_at=now,
            )
            .returning(*ITEM_COLUMNS)
        )
        running = (
            sa.update(queue_items)
            .where(queue_items.c.id == known, queue_items.c.status == Status.IN_PROGRESS)
            .values(
                cancel_requested_at=sa.func.coalesce(queue_items.c.cancel_requested_at, now), updated_at=now
            )
            .returning(*ITEM_COLUMNS)
        )
        # Released between the first two looks, it is found by the third.
        for statement, kind in (
            (waiting, "cancelled"),
            (running, "cancel_requested"),
            (waiting, "cancelled"),
        ):
            row = connection.execute(statement).one_or_none()
            if row is not None:
                item = to_item(row)
                self._append(connection, item, kind, _said(by, reason))
                return item
        present = self._read(connection, known)
        raise IllegalTransition(f"This job is already {present.status.value}; it cannot be cancelled.")

    def retry(self, item_id: str, by: str, reason: str = "") -> QueueItem:
        """Put a failed or cancelled item back with a fresh budget; its attempt number goes on.

        Args:
            item_id: the item.
            by: who asks, for the event.
            reason: why, for the event.

        Raises:
            ItemNotFound: there is no such item.
            IllegalTransition: it neither failed nor was cancelled.
            AlreadyQueued: the document has another open item for the same operation.
        """
        with self._engine.begin() as connection:
            return self.retry_in(connection, item_id, by, reason)

    def retry_in(self, connection: sa.Connection, item_id: str, by: str, reason: str = "") -> QueueItem:
        """Retry inside the caller's transaction, which can go on after any error; see :meth:`retry`."""
        known = self._known(item_id)
        present = self._read(connection, known)
        now = self._clock.now
        statement = (
            sa.update(queue_items)
            .where(queue_items.c.id == known, queue_items.c.status.in_((Status.FAILED, Status.CANCELLED)))
            .values(
                status=Status.PENDING,
                due_at=now,
                deferred=False,
                updated_at=now,
                announced_at=now,
                finished_at=None,
                cancel_requested_at=None,
                failures=0,
                crashes=0,
                max_failures=self._policies[present.operation].max_failures,
                stage=None,
                progress=0.0,
                error_code=None,
                error_message=None,
            )
            .returning(*ITEM_COLUMNS)
        )
        try:
            with connection.begin_nested():
                row = connection.execute(statement).one_or_none()
        except sa.exc.IntegrityError as error:
            opened = connection.execute(self._open_item(present.document_id, present.operation)).scalar()
            if opened is None:
                raise
            raise AlreadyQueued("This document is already in the queue for that.", opened) from error
        if row is None:
            present = self._read(connection, known)
            raise IllegalTransition(
                f"This job is {present.status.value}; only a failed or cancelled one can be retried."
            )
        item = to_item(row)
        self._append(connection, item, "retried", _said(by, reason))
        return item

    def change_priority(self, item_id: str, priority: int, by: str, reason: str = "") -> QueueItem:
        """Move a pending item in its line.

        Args:
            item_id: the item.
            priority: -100 to 100; higher goes first.
            by: who asks, for the event.
            reason: why, for the event.

        Raises:
            ItemNotFound: there is no such item.
            IllegalTransition: it runs or has ended.
            ValueError: the priority is out of range.
        """
        with self._engine.begin() as connection:
            return self.change_priority_in(connection, item_id, priority, by, reason)

    def change_priority_in(
        self, connection: sa.Connection, item_id: str, priority: int, by: str, reason: str = ""
    ) -> QueueItem:
        """Change a priority inside the caller's transaction; see :meth:`change_priority`."""
        if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
            raise ValueError(f"a priority is from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}")
        known = self._known(item_id)
        before = self._read(connection, known)
        # Among those of its new priority it queues up anew, in its owner's turn.
        turn = self._next_turn(connection, before.queue, before.owner_id, priority)
        row = connection.execute(
            sa.update(queue_items)
            .where(queue_items.c.id == known, queue_items.c.status == Status.PENDING)
            .values(
                priority=priority,
                turn=turn if priority != before.priority else queue_items.c.turn,
                updated_at=self._clock.now,
            )
            .returning(*ITEM_COLUMNS)
        ).one_or_none()
        if row is None:
            present = self._read(connection, known)
            raise IllegalTransition(
                f"This job is {present.status.value}; only a waiting one can change its priority."
            )
        item = to_item(row)
        data = {"from": before.priority, "to": priority, **_said(by, reason)}
        self._append(connection, item, "priority_changed", data)
        return item

    def retry_all_failed(self, by: str, limit: int = 1000) -> list[QueueItem]:
        """Retry the failed items, newest first.

        Args:
            by: who asks.
            limit: at most this many.

        Returns:
            The items that are pending again; one whose document is already queued is left out.
        """
        statement = (
            sa.select(queue_items.c.id)
            .where(queue_items.c.segment.in_(SEGMENTS_OF[Status.FAILED]))
            .order_by(queue_items.c.created_at.desc(), queue_items.c.id.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            found = list(connection.execute(statement).scalars())
        retried = []
        for item_id in found:
            try:
                retried.append(self.retry(item_id, by))
            except (AlreadyQueued, IllegalTransition, ItemNotFound):
                # Somebody else retried, queued or cleared it in between: exactly what was asked for.
                continue
        return retried

    def count_clearable(self, older_than_days: float) -> int:
        """Count the ended items that :meth:`clear_ended` would delete."""
        statement = sa.select(sa.func.count()).where(*self._ended_before(older_than_days))
        with reading(self._engine) as connection:
            return connection.execute(statement).scalar_one()

    def clear_ended(self, older_than_days: float, by: str) -> int:
        """Delete ended items with their attempts and events; documents keep their newest results.

        Args:
            older_than_days: only what ended at least this many days ago, 0 or more.
            by: who asks; kept in the log of the caller, not in the queue.

        Returns:
            How many items were deleted.
        """
        del by
        cleared = 0
        while True:
            with self._engine.begin() as connection:
                batch = list(
                    connection.execute(
                        sa.select(queue_items.c.id).where(*self._ended_before(older_than_days)).limit(500)
                    ).scalars()
                )
                if not batch:
                    return cleared
                gone = self.purge_in(connection, batch)
                cleared += gone
                if gone == 0:
                    return cleared

    def purge_in(self, connection: sa.Connection, item_ids: Sequence[str]) -> int:
        """Delete those of the items that have ended, inside the caller's transaction.

        Their attempts and events go with them; a document keeps its newest results.

        Args:
            connection: in a transaction.
            item_ids: at most a few hundred.

        Returns:
            How many were deleted.
        """
        rows = connection.execute(
            self._locked(
                sa.select(queue_items.c.id, queue_items.c.document_id)
                .where(queue_items.c.id.in_(list(item_ids)), queue_items.c.status.in_(ENDED_STATUSES))
                .order_by(queue_items.c.id)
                .with_hint(queue_items, BY_ID, "sqlite")
            )
        ).all()
        ended = [row.id for row in rows]
        if not ended:
            return 0
        newer = results.alias()
        superseded = sa.exists().where(
            newer.c.document_id == results.c.document_id,
            newer.c.stage == results.c.stage,
            sa.or_(
                newer.c.created_at > results.c.created_at,
                sa.and_(newer.c.created_at == results.c.created_at, newer.c.item_id > results.c.item_id),
            ),
        )
        connection.execute(sa.delete(results).where(results.c.item_id.in_(ended), superseded))
        connection.execute(sa.delete(events).where(events.c.item_id.in_(ended)))
        connection.execute(sa.delete(attempts).where(attempts.c.item_id.in_(ended)))
        connection.execute(sa.delete(queue_items).where(queue_items.c.id.in_(ended)))
        self._show_newest(connection, {row.document_id for row in rows})
        return len(ended)

    def _show_newest(self, connection: sa.Connection, document_ids: set[str]) -> None:
        """Let each document be represented by its newest item again."""
        other = queue_items.alias()
        draws, other_draws = (
            queue_items.c.operation == IMAGES_OPERATION,
            other.c.operation == IMAGES_OPERATION,
        )
        newer = sa.or_(
            other.c.created_at > queue_items.c.created_at,
            sa.and_(other.c.created_at == queue_items.c.created_at, other.c.id > queue_items.c.id),
        )
        connection.execute(
            sa.update(queue_items)
            .where(
                queue_items.c.document_id.in_(document_ids),
                queue_items.c.superseded,
                ~sa.exists().where(
                    other.c.document_id == queue_items.c.document_id,
                    sa.or_(sa.and_(draws, ~other_draws), sa.and_(draws == other_draws, newer)),
                ),
            )
            .values(superseded=False)
        )


def _said(by: str, reason: str) -> dict[str, JSON]:
    return {"by": by, "reason": reason} if reason else {"by": by}
