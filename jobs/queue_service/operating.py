"""What people do with items: cancel, retry, clear."""

from __future__ import annotations

import sqlalchemy as sa

from jobs.database import reading
from jobs.errors import (
    AlreadyQueued,
    IllegalTransition,
    ItemNotFound,
)
from jobs.model import (
    ENDED_STATUSES,
    QueueItem,
    Status,
)
from jobs.queue_service.base import QueueBase
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.tables import (
    events,
    queue_items,
    results,
    tallies,
)


class Operating(QueueBase):
    """The buttons."""

    def cancel(self, item_id: str, by: str) -> QueueItem:
        """Cancel an item: at once while it waits, by request while it runs.

        Args:
            item_id: the item.
            by: who asks, for the event.

        Raises:
            ItemNotFound: there is no such item.
            IllegalTransition: it has already ended.
        """
        known = self._known(item_id)
        now = self._clock.now
        waiting = (
            sa.update(queue_items)
            .where(queue_items.c.id == known, queue_items.c.status == Status.PENDING)
            .values(status=Status.CANCELLED, finished_at=now, cancel_requested_at=now, updated_at=now)
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
        with self._engine.begin() as connection:
            for statement, kind in ((waiting, "cancelled"), (running, "cancel_requested")):
                row = connection.execute(statement).one_or_none()
                if row is not None:
                    item = to_item(row)
                    self._append(connection, item, kind, {"by": by})
                    return item
            present = self._read(connection, known)
        raise IllegalTransition(f"This job is already {present.status.value}; it cannot be cancelled.")

    def retry(self, item_id: str, by: str) -> QueueItem:
        """Put a failed or cancelled item back with a fresh budget; its attempt number goes on.

        Args:
            item_id: the item.
            by: who asks, for the event.

        Raises:
            ItemNotFound: there is no such item.
            IllegalTransition: it neither failed nor was cancelled.
            AlreadyQueued: the document has another open item for the same operation.
        """
        known = self._known(item_id)
        now = self._clock.now
        statement = (
            sa.update(queue_items)
            .where(queue_items.c.id == known, queue_items.c.status.in_((Status.FAILED, Status.CANCELLED)))
            .values(
                status=Status.PENDING,
                due_at=now,
                updated_at=now,
                announced_at=now,
                finished_at=None,
                cancel_requested_at=None,
                failures=0,
                crashes=0,
                max_failures=self._policy.max_failures,
                stage=None,
                progress=0.0,
                error_code=None,
                error_message=None,
            )
            .returning(*ITEM_COLUMNS)
        )
        try:
            with self._engine.begin() as connection:
                row = connection.execute(statement).one_or_none()
                if row is not None:
                    item = to_item(row)
                    self._append(connection, item, "retried", {"by": by})
                    return item
                present = self._read(connection, known)
        except sa.exc.IntegrityError as error:
            with reading(self._engine) as connection:
                present = self._read(connection, known)
            opened = self._open_item(present.document_id, present.operation)
            if opened is None:
                raise
            raise AlreadyQueued("This document is already in the queue for that.", opened) from error
        raise IllegalTransition(
            f"This job is {present.status.value}; only a failed or cancelled one can be retried."
        )

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
            .where(queue_items.c.status == Status.FAILED)
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
                gone = self._purge(connection, batch)
                cleared += gone
                if gone == 0:
                    return cleared

    def _purge(self, connection: sa.Connection, batch: list[str]) -> int:
        newer = results.alias()
        superseded = sa.exists().where(
            newer.c.document_id == results.c.document_id,
            newer.c.stage == results.c.stage,
            sa.or_(
                newer.c.created_at > results.c.created_at,
                sa.and_(newer.c.created_at == results.c.created_at, newer.c.item_id > results.c.item_id),
            ),
        )
        connection.execute(sa.delete(results).where(results.c.item_id.in_(batch), superseded))
        connection.execute(sa.delete(events).where(events.c.item_id.in_(batch)))
        gone = connection.execute(
            sa.delete(queue_items).where(
                queue_items.c.id.in_(batch), queue_items.c.status.in_(ENDED_STATUSES)
            )
        ).rowcount
        connection.execute(
            self._insert(tallies)
            .values(name="purged", value=gone)
            .on_conflict_do_update(index_elements=["name"], set_={"value": tallies.c.value + gone})
        )
        return gone
