"""The queue service as the rest of the program sees it, under the names of the user's document."""

from __future__ import annotations

import os
import socket

import sqlalchemy as sa

from jobs.database import reading
from jobs.errors import (
    AlreadyQueued,
    DocumentNotFound,
    UnsupportedOperation,
)
from jobs.ids import new_id, parse_id
from jobs.model import (
    OPERATION_NAMES,
    Completed,
    Failed,
    Lease,
    QueueItem,
    Status,
)
from jobs.queue_service.operating import Operating
from jobs.queue_service.recovery import Recovery
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.tables import (
    documents,
    queue_items,
    tallies,
    workers,
)


class DocumentQueueService(Operating, Recovery):
    """The queue, over SQLAlchemy; safe to share between threads.

    Args:
        engine: made by :func:`jobs.database.make_engine` in this process.
        settings: lease, heartbeat and retry limits.
        rng: where jitter is drawn from; a seeded one makes tests repeatable.
    """

    def enqueue(
        self,
        document_id: str,
        operation: str = "process",
        priority: int = 0,
        *,
        fresh: bool = False,
        delay_seconds: float = 0.0,
    ) -> QueueItem:
        """Put a document into the queue, durably.

        Args:
            document_id: an existing document.
            operation: ``"process"``, ``"extract"`` or ``"analyze"``.
            priority: higher goes first; 0 is usual, -100 to 100.
            fresh: compute the operation's stages anew even where their results are kept.
            delay_seconds: not due before this many seconds, at least 0.

        Raises:
            DocumentNotFound: there is no such document.
            UnsupportedOperation: the operation's name is unknown.
            AlreadyQueued: the document has an open item for this operation; it names the item.
        """
        known = parse_id(document_id)
        if known is None:
            raise DocumentNotFound("There is no such document.")
        try:
            with self._engine.begin() as connection:
                return self.enqueue_in(
                    connection, known, operation, priority, fresh=fresh, delay_seconds=delay_seconds
                )
        except sa.exc.IntegrityError as error:
            opened = self._open_item(known, operation)
            if opened is None:
                raise
            raise AlreadyQueued("This document is already in the queue for that.", opened) from error

    def get_pending_items(self, limit: int = 10) -> list[QueueItem]:
        """Return the items that are due, best first: by priority, then by due time.

        Args:
            limit: at most this many, 1 or more.
        """
        statement = (
            sa.select(*ITEM_COLUMNS)
            .where(queue_items.c.status == Status.PENDING, queue_items.c.due_at <= self._clock.now)
            .order_by(queue_items.c.priority.desc(), queue_items.c.due_at, queue_items.c.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [to_item(row) for row in connection.execute(statement)]

    def mark_in_progress(self, queue_item: QueueItem, worker: str | None = None) -> Lease | None:
        """Claim an item: take the lease of its next attempt.

        Args:
            queue_item: the item as read before; only its id counts.
            worker: who claims; this host and process when ``None``.

        Returns:
            The lease, or ``None`` when the item is not due, not pending or somebody else was faster.
        """
        return self.claim(queue_item.id, worker or f"{socket.gethostname()}-{os.getpid()}")

    def mark_completed(self, queue_item: Lease) -> QueueItem:
        """End the attempt with success.

        Args:
            queue_item: the lease that :meth:`mark_in_progress` gave.

        Raises:
            LeaseLost: the item is no longer this attempt's.
        """
        return self.settle(queue_item, Completed())

    def mark_failed(
        self, queue_item: Lease, error_message: str, *, permanent: bool = False, code: str = "failed"
    ) -> QueueItem:
        """End the attempt with a failure; a retry follows while the budget lasts.

        Args:
            queue_item: the lease that :meth:`mark_in_progress` gave.
            error_message: one sentence for people.
            permanent: whether another try cannot help.
            code: machine-readable cause.

        Returns:
            The item: pending again with its next due time, or failed.

        Raises:
            LeaseLost: the item is no longer this attempt's.
        """
        return self.settle(queue_item, Failed(code=code, message=error_message, permanent=permanent))

    def get_queue_stats(self) -> dict[str, int | float | None]:
        """Count the queue.

        Returns:
            A count for each stored state; ``waiting``, ``scheduled`` and ``retrying``, which split the
            pending ones; ``total``; ``workers_alive``; ``purged`` (items cleared after they ended);
            ``oldest_waiting_seconds`` or ``None`` when nothing waits.
        """
        now = self._clock.now
        due = sa.and_(queue_items.c.status == Status.PENDING, queue_items.c.due_at <= now)
        later = sa.and_(queue_items.c.status == Status.PENDING, queue_items.c.due_at > now)
        tried = queue_items.c.failures + queue_items.c.crashes > 0
        statement = sa.select(
            *(
                sa.func.count().filter(queue_items.c.status == status).label(status.value)
                for status in Status
            ),
            sa.func.count().filter(due).label("waiting"),
            sa.func.count().filter(sa.and_(later, ~tried)).label("scheduled"),
            sa.func.count().filter(sa.and_(later, tried)).label("retrying"),
            sa.func.count().label("total"),
            sa.func.min(queue_items.c.due_at).filter(due).label("oldest"),
        )
        alive = sa.select(sa.func.count()).where(
            workers.c.state != "gone", workers.c.seen_at > self._clock.after(-60)
        )
        purged = sa.select(tallies.c.value).where(tallies.c.name == "purged")
        with reading(self._engine) as connection:
            row = connection.execute(statement).mappings().one()
            present = self._clock.read(connection)
            stats: dict[str, int | float | None] = {k: v for k, v in row.items() if k != "oldest"}
            oldest = row["oldest"]
            stats["oldest_waiting_seconds"] = (
                None if oldest is None else max(0.0, round((present - oldest).total_seconds(), 3))
            )
            stats["workers_alive"] = connection.execute(alive).scalar_one()
            stats["purged"] = connection.execute(purged).scalar() or 0
        return stats

    def enqueue_in(
        self,
        connection: sa.Connection,
        document_id: str,
        operation: str,
        priority: int,
        *,
        fresh: bool = False,
        delay_seconds: float = 0.0,
    ) -> QueueItem:
        """Insert an item inside the caller's transaction; see :meth:`enqueue`."""
        if operation not in OPERATION_NAMES:
            raise UnsupportedOperation(
                f"There is no operation {operation!r}; choose one of {', '.join(OPERATION_NAMES)}."
            )
        owner = connection.execute(
            sa.select(documents.c.owner_id).where(documents.c.id == document_id)
        ).one_or_none()
        if owner is None:
            raise DocumentNotFound("There is no such document.")
        now = self._clock.now
        item = to_item(
            connection.execute(
                sa.insert(queue_items)
                .values(
                    id=new_id(),
                    document_id=document_id,
                    owner_id=owner.owner_id,
                    operation=operation,
                    status=Status.PENDING,
                    priority=priority,
                    fresh=fresh,
                    due_at=self._clock.after(delay_seconds) if delay_seconds > 0 else now,
                    created_at=now,
                    updated_at=now,
                    # The caller rings right after the commit; the sweep rings again if it could not.
                    announced_at=now,
                    attempt=0,
                    failures=0,
                    crashes=0,
                    max_failures=self._policy.max_failures,
                    progress=0.0,
                )
                .returning(*ITEM_COLUMNS)
            ).one()
        )
        self._append(connection, item, "accepted", {"operation": operation})
        return item
