"""Accepts uploads: the bytes durable first, then the rows, then the bell.

The order is the promise: fsync(file) → rename → fsync(folder) → commit → answer. What was
answered cannot be lost; what was not answered left at most an unnamed file behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from jobs.blobs import BlobStore, Spool
from jobs.bytes_lock import hold_bytes
from jobs.database import Clock
from jobs.delivery import Delivery
from jobs.duplicates import (
    Dedupe,
    is_behind_another_password,
    newest_document,
    newest_usable,
    open_item,
)
from jobs.errors import AlreadyQueued, DeliveryError, DuplicateDocument, UploadTooLarge
from jobs.extraction import sniff
from jobs.free_space import telling_full_database
from jobs.group_commit import GroupCommit
from jobs.idempotency import Answer, IdempotencyKeys, Turn
from jobs.ids import new_id
from jobs.model import Document, QueueItem, UserId
from jobs.queue_service import DocumentQueueService, NewItem
from jobs.read_options import asks_the_same, pack_options
from jobs.settings import Settings
from jobs.uploads import (
    Accepted,
    Duplicate,
    Order,
    Taken,
    Upload,
    clean_filename,
    require_upload_operation,
)

# What is due later than this is left to the sweep alone: Redis need not remember it for so long.
_RUNG_AHEAD = timedelta(days=1)

# How many transactions of uploads at once: SQLite has one writer; while one waits for PostgreSQL to answer,
# another has something to do.
_LANES = {"sqlite": 1, "postgresql": 2}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Parcel:
    """The files of one request, their bytes durable: each with its hash and media type."""

    files: list[tuple[Upload, str, str]]
    order: Order
    owner: UserId | None


class Intake:
    """The way in.

    Args:
        engine: the database.
        settings: size limits.
        blobs: where the bytes go.
        service: the queue.
        delivery: the bell.

    Attributes:
        keys: the answers kept for repeated requests.
    """

    def __init__(
        self,
        engine: sa.Engine,
        settings: Settings,
        blobs: BlobStore,
        service: DocumentQueueService,
        delivery: Delivery,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._blobs = blobs
        self._service = service
        self._delivery = delivery
        self._clock = Clock(engine.dialect.name)
        self._commits = GroupCommit(
            self._write_together,
            self._announce_taken,
            (sa.exc.OperationalError,),
            _LANES[engine.dialect.name],
        )
        self.keys = IdempotencyKeys(engine, settings)

    def new_spool(self) -> Spool:
        """Begin to receive a file.

        Raises:
            StorageFull: no temporary file can be made, or less than ``MIN_FREE_BYTES`` is left.
        """
        return self._blobs.new_spool(self._settings.max_upload_bytes, self._settings.min_free_bytes)

    def require_space(self, wanted: int) -> None:
        """Refuse a whole request before any of its bytes are taken.

        Args:
            wanted: how many bytes it announces; 0 when it does not say.

        Raises:
            StorageFull: they would leave less than ``MIN_FREE_BYTES``.
        """
        self._blobs.require_free(self._settings.min_free_bytes, wanted)

    def accept(
        self,
        uploads: Sequence[Upload],
        *,
        owner: UserId | None,
        operation: str = "process",
        priority: int = 0,
        queue: str | None = None,
        delay_seconds: float = 0.0,
        due_at: datetime | None = None,
        dedupe: Dedupe = Dedupe.NONE,
    ) -> list[Accepted]:
        """Store files and queue them, all or none.

        Args:
            uploads: see :meth:`take`, as ``owner``, ``dedupe`` and what may be raised.
            owner: whose documents they become.
            operation: see :class:`Order`, as all that follow but the last.
            priority: higher goes first.
            queue: where to.
            delay_seconds: not before.
            due_at: not before.
            dedupe: what becomes of files that this owner has sent before.

        Returns:
            A document and an item for each upload, in order, committed and announced; without those that
            ``dedupe`` refused.
        """
        order = Order(operation, priority, queue, delay_seconds, due_at)
        return self.take(uploads, order, owner=owner, dedupe=dedupe).accepted

    def take(
        self,
        uploads: Sequence[Upload],
        order: Order,
        *,
        owner: UserId | None,
        dedupe: Dedupe = Dedupe.NONE,
        turn: Turn | None = None,
        answer: Callable[[Taken], Answer] | None = None,
    ) -> Taken:
        """Store files and queue them in one transaction, and keep the answer in the same.

        Args:
            uploads: complete uploads; their spools are used up.
            order: what is to be done with them.
            owner: whose documents they become.
            dedupe: what becomes of files that this owner has sent before.
            turn: of the request's Idempotency-Key, if it has one.
            answer: makes the answer that is kept for the key.

        Returns:
            What became of them, committed and announced; at least one was accepted.

        Raises:
            UploadTooLarge: one of them is larger than ``MAX_UPLOAD_BYTES``; none was stored.
            UnsupportedOperation: no upload may ask for this operation; none was stored.
            UnknownQueue: no such queue is set up; none was stored.
            DuplicateDocument: ``dedupe`` refuses every one of them.
            StorageFull: a disk is full; none was stored.
            KeyInFlight: the turn has passed to a repeat of this request; none was stored.
        """
        for upload in uploads:
            if upload.spool.too_large:
                raise UploadTooLarge(f"The file is larger than {self._settings.max_upload_bytes} bytes.")
        try:
            require_upload_operation(order.operation)
            self._service.check_order(order.operation, order.queue)
            parcel = _Parcel(self._store(uploads), order, owner)
            if dedupe is Dedupe.NONE and turn is None:
                return self._commits.submit(parcel)
            taken = self._write_alone(parcel, dedupe, turn, answer)
        finally:
            for upload in uploads:
                upload.spool.discard()
        self._announce_taken([taken])
        return taken

    def reprocess(
        self,
        document_id: str,
        order: Order,
        *,
        fresh: bool,
        turn: Turn | None = None,
        answer: Callable[[QueueItem], Answer] | None = None,
    ) -> QueueItem:
        """Queue a document again, and keep the answer in the same transaction.

        Args:
            document_id: an existing document.
            order: what is to be done with it.
            fresh: compute the operation's stages anew even where their results are kept.
            turn: of the request's Idempotency-Key, if it has one.
            answer: makes the answer that is kept for the key.

        Returns:
            The new item, committed and announced.

        Raises:
            DocumentNotFound: there is no such document.
            UnsupportedOperation: the operation's name is unknown.
            UnknownQueue: no such queue is set up.
            AlreadyQueued: the document has an open item for this operation; it names the item.
            StorageFull: the database's disk is full.
            KeyInFlight: the turn has passed to a repeat of this request; nothing was queued.
        """
        with telling_full_database(), self._engine.begin() as connection:
            item, made = self._enqueue_again(connection, document_id, order, fresh=fresh)
            if not made:
                raise AlreadyQueued("This document is already in the queue for that.", item.id)
            if turn is not None and answer is not None:
                self.keys.answer_in(connection, turn, answer(item))
        self.announce([item])
        return item

    def announce(self, items: Sequence[QueueItem]) -> bool:
        """Ring for committed items, as well as it goes: now, or when they are due.

        Args:
            items: pending items.

        Returns:
            Whether Redis took the messages; if not, the sweep rings.
        """
        due = [item for item in items if not item.deferred]
        # ``updated_at`` stands for now, on the database's clock.
        soon = [item for item in items if item.deferred and item.due_at - item.updated_at < _RUNG_AHEAD]
        try:
            if due:
                self._delivery.announce(due)
            for item in soon:
                self._delivery.announce_later(item)
        except DeliveryError:
            log.warning("announce_failed", items=len(items))
            self._service.mark_unannounced([item.id for item in due])
            return False
        return True

    def _announce_taken(self, taken: Sequence[Taken]) -> None:
        self.announce([one.item for each in taken for one in each.accepted if not one.reused])

    def _store(self, uploads: Sequence[Upload]) -> list[tuple[Upload, str, str]]:
        kinds = [sniff(upload.spool.head, upload.spool.path, upload.filename) for upload in uploads]
        hashes = self._blobs.store_all([upload.spool for upload in uploads])
        return list(zip(uploads, hashes, kinds, strict=True))

    def _write_together(self, parcels: Sequence[_Parcel]) -> list[Taken]:
        """Write the rows of several requests in one transaction."""
        with telling_full_database(), self._engine.begin() as connection:
            self._hold_bytes(connection, [file for parcel in parcels for file in parcel.files])
            return self._insert(connection, parcels)

    def _write_alone(
        self,
        parcel: _Parcel,
        dedupe: Dedupe,
        turn: Turn | None,
        answer: Callable[[Taken], Answer] | None,
    ) -> Taken:
        """Write the rows of a request that has to look first, or whose answer is kept."""
        with telling_full_database(), self._engine.begin() as connection:
            self._hold_bytes(connection, parcel.files)
            if dedupe is Dedupe.NONE:
                (taken,) = self._insert(connection, [parcel])
            else:
                taken = Taken([], [])
                # One after the other: a file may come twice in a request.
                for file in parcel.files:
                    self._take_known(connection, file, parcel, dedupe, taken)
                _require_accepted(taken)
            if turn is not None and answer is not None:
                self.keys.answer_in(connection, turn, answer(taken))
        return taken

    def _hold_bytes(self, connection: sa.Connection, files: Sequence[tuple[Upload, str, str]]) -> None:
        """Keep the stored files from being pruned before their documents name them."""
        hold_bytes(connection, [sha256 for _, sha256, _ in files])
        for upload, sha256, _ in files:
            # Pruned between its storing and this lock, because nobody had named it for long.
            if self._blobs.size(sha256) is None:
                self._blobs.store_all([upload.spool])

    def _take_known(
        self,
        connection: sa.Connection,
        file: tuple[Upload, str, str],
        parcel: _Parcel,
        dedupe: Dedupe,
        taken: Taken,
    ) -> None:
        known = self._known(connection, file[0], parcel.order, parcel.owner, dedupe)
        if isinstance(known, Duplicate):
            taken.duplicates.append(known)
        elif known is not None:
            taken.accepted.append(known)
        else:
            (new,) = self._insert(connection, [_Parcel([file], parcel.order, parcel.owner)])
            taken.accepted.extend(new.accepted)

    def _known(
        self,
        connection: sa.Connection,
        upload: Upload,
        order: Order,
        owner: UserId | None,
        dedupe: Dedupe,
    ) -> Accepted | Duplicate | None:
        """Deal with a file that its owner has sent before; ``None`` when it is to become a new document.

        The lock on its bytes is held, so that of two requests with the same file one sees the other's.
        """
        sha256 = upload.spool.sha256
        if dedupe is Dedupe.REUSE:
            usable = newest_usable(connection, owner, sha256, order.operation)
            # What was read in another way, or with another password, is not what was asked for.
            if usable is not None and asks_the_same(usable[1].options, order.options, self._settings):
                document, item = usable
                return Accepted(document, item, document.id, reused=True)
        existing = newest_document(connection, owner, sha256)
        if existing is None:
            return None
        if dedupe is Dedupe.REJECT:
            return Duplicate(clean_filename(upload.filename), existing)
        # Who does not know the password of what is there shall not be led to it.
        if is_behind_another_password(connection, existing.id, order.options, self._settings):
            return None
        # Who asked for what there is wants no finished stage computed again.
        fresh = dedupe is Dedupe.RERUN
        item, made = self._enqueue_again(connection, existing.id, order, fresh=fresh)
        if not made and not asks_the_same(item.options, order.options, self._settings):
            return None
        return Accepted(existing, item, existing.id, reused=not made)

    def _insert(self, connection: sa.Connection, parcels: Sequence[_Parcel]) -> list[Taken]:
        """Insert new documents and their items, however many with the same few statements."""
        sent = [(upload, sha256, kind, parcel) for parcel in parcels for upload, sha256, kind in parcel.files]
        rows: list[dict[str, Any]] = [
            {
                "id": new_id(),
                "owner_id": parcel.owner,
                "sha256": sha256,
                "size": upload.spool.size,
                "filename": clean_filename(upload.filename),
                "media_type": kind,
            }
            for upload, sha256, kind, parcel in sent
        ]
        new = [
            _new_item(row, parcel.order, pack_options(parcel.order.options, self._settings))
            for row, (_, _, _, parcel) in zip(rows, sent, strict=True)
        ]
        items = self._service.enqueue_many_in(connection, new, rows)
        made = [Document(**row, created_at=item.created_at) for row, item in zip(rows, items, strict=True)]
        accepted = iter([Accepted(*pair) for pair in zip(made, items, strict=True)])
        return [Taken([next(accepted) for _ in parcel.files], []) for parcel in parcels]

    def _enqueue_again(
        self, connection: sa.Connection, document_id: str, order: Order, *, fresh: bool
    ) -> tuple[QueueItem, bool]:
        """Queue an existing document, or find its open item; the second member says whether it is new."""
        try:
            with connection.begin_nested():
                return self._enqueue(connection, document_id, order, fresh=fresh), True
        except sa.exc.IntegrityError:
            opened = open_item(connection, document_id, order.operation)
            if opened is None:
                raise
            return opened, False

    def _enqueue(
        self, connection: sa.Connection, document_id: str, order: Order, *, fresh: bool
    ) -> QueueItem:
        delay = order.delay_seconds
        if order.due_at is not None:
            delay = max(0.0, (order.due_at - self._clock.read(connection)).total_seconds())
        return self._service.enqueue_in(
            connection,
            document_id,
            order.operation,
            order.priority,
            fresh=fresh,
            delay_seconds=delay,
            queue=order.queue,
            options=pack_options(order.options, self._settings),
            first_page=order.first_page,
        )


def _new_item(document: dict[str, Any], order: Order, options: str | None) -> NewItem:
    return NewItem(
        document["id"],
        document["owner_id"],
        order.operation,
        order.priority,
        order.queue,
        order.delay_seconds,
        order.due_at,
        options,
    )


def _require_accepted(taken: Taken) -> None:
    if not taken.accepted and taken.duplicates:
        raise DuplicateDocument(
            "You have sent this file before. It was refused, as you asked.",
            taken.duplicates[0].document.id,
        )
