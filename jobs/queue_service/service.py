"""The queue service as the rest of the program sees it, under the names of the user's document."""

from __future__ import annotations

import os
import socket

import sqlalchemy as sa

from jobs.database import reading
from jobs.errors import (
    AlreadyQueued,
    DocumentNotFound,
)
from jobs.ids import new_id, parse_id
from jobs.model import (
    IMAGES_OPERATION,
    Completed,
    Failed,
    Lease,
    QueueItem,
    Status,
)
from jobs.queue_service.base import through
from jobs.queue_service.claiming import LINE
from jobs.queue_service.enqueuing import Enqueuing
from jobs.queue_service.operating import Operating
from jobs.queue_service.recovery import Recovery
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.tables import (
    documents,
    drawing_orders,
    queue_items,
)


class DocumentQueueService(Operating, Enqueuing, Recovery):
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
        queue: str | None = None,
        first_page: int = 1,
        options: str | None = None,
    ) -> QueueItem:
        """Put a document into the queue, durably.

        Args:
            document_id: an existing document.
            operation: one of :data:`jobs.model.OPERATION_NAMES`.
            priority: higher goes first; 0 is usual, -100 to 100.
            fresh: compute the operation's stages anew even where their results are kept.
            delay_seconds: not due before this many seconds, at least 0.
            queue: one of ``QUEUE_NAME`` and ``MORE_QUEUES``; the first when ``None``.
            first_page: with which page the operation ``"images"`` begins, from 1.
            options: of the reading, as :mod:`jobs.read_options` packs them.

        Raises:
            DocumentNotFound: there is no such document.
            UnsupportedOperation: the operation's name is unknown.
            UnknownQueue: no queue of this name is set up.
            AlreadyQueued: the document has an open item for this operation; it names the item.
        """
        known = parse_id(document_id)
        if known is None:
            raise DocumentNotFound("There is no such document.")
        try:
            with self._engine.begin() as connection:
                return self.enqueue_in(
                    connection,
                    known,
                    operation,
                    priority,
                    fresh=fresh,
                    delay_seconds=delay_seconds,
                    queue=queue,
                    options=options,
                    first_page=first_page,
                )
        except sa.exc.IntegrityError as error:
            with reading(self._engine) as connection:
                opened = connection.execute(self._open_item(known, operation)).scalar()
            if opened is None:
                raise
            raise AlreadyQueued("This document is already in the queue for that.", opened) from error

    def get_pending_items(self, limit: int = 10, queue: str | None = None) -> list[QueueItem]:
        """Return the items that are due, best first: by priority, then in the owners' turns.

        Args:
            limit: at most this many, 1 or more.
            queue: of this queue only; of all that are set up when ``None``.
        """
        found: list[QueueItem] = []
        with reading(self._engine) as connection:
            for name in (queue,) if queue is not None else self._settings.queue_names:
                statement = through(
                    sa.select(*ITEM_COLUMNS).where(*self._in_line(name)).order_by(*LINE).limit(limit),
                    "ix_queue_items_line",
                )
                found += [to_item(row) for row in connection.execute(statement)]
        return sorted(found, key=lambda item: (-item.priority, item.turn, item.id))[:limit]

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

    def enqueue_in(
        self,
        connection: sa.Connection,
        document_id: str,
        operation: str,
        priority: int,
        *,
        fresh: bool = False,
        delay_seconds: float = 0.0,
        queue: str | None = None,
        options: str | None = None,
        first_page: int = 1,
    ) -> QueueItem:
        """Insert an item inside the caller's transaction; see :meth:`enqueue`."""
        self.check_order(operation, queue)
        name = queue or self._settings.queue_name
        # Two operations of one document that arrive together agree on which is the newer one.
        document = sa.select(documents.c.owner_id).where(documents.c.id == document_id)
        if self._clock.dialect == "postgresql":
            document = document.with_for_update(key_share=True)
        owner = connection.execute(document).one_or_none()
        if owner is None:
            raise DocumentNotFound("There is no such document.")
        superseded = self._supersede(connection, document_id, operation)
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
                    deferred=delay_seconds > 0,
                    queue=name,
                    turn=self._next_turn(connection, name, owner.owner_id, priority),
                    created_at=now,
                    updated_at=now,
                    # The caller rings right after the commit; the sweep rings again if it could not.
                    announced_at=now,
                    attempt=0,
                    failures=0,
                    crashes=0,
                    max_failures=self._policies[operation].max_failures,
                    progress=0.0,
                    superseded=superseded,
                    options=options,
                )
                .returning(*ITEM_COLUMNS)
            ).one()
        )
        if first_page > 1:
            connection.execute(
                sa.insert(drawing_orders).values({"item_id": item.id, "first_page": first_page})
            )
        self._append(connection, item, "accepted", {"operation": operation})
        return item

    def _supersede(self, connection: sa.Connection, document_id: str, operation: str) -> bool:
        """Let the item that is to come stand for its document, or tell that another goes on doing so."""
        shown = sa.and_(queue_items.c.document_id == document_id, ~queue_items.c.superseded)
        if operation == IMAGES_OPERATION:
            others = sa.select(queue_items.c.id).where(shown, queue_items.c.operation != IMAGES_OPERATION)
            if connection.execute(others.limit(1)).scalar() is not None:
                return True
        connection.execute(sa.update(queue_items).where(shown).values(superseded=True))
        return False
