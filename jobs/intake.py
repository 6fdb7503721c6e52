"""Accepts uploads: the bytes durable first, then the rows, then the bell.

The order is the promise: fsync(file) → rename → fsync(folder) → commit → answer. What was
answered cannot be lost; what was not answered left at most an unnamed file behind.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog

from jobs.blobs import BlobStore, Spool
from jobs.bytes_lock import hold_bytes
from jobs.database import Clock
from jobs.delivery import Delivery
from jobs.duplicates import Dedupe, newest_document, newest_usable, open_item
from jobs.errors import AlreadyQueued, DeliveryError, DuplicateDocument, UploadTooLarge
from jobs.extraction import sniff
from jobs.free_space import telling_full_database
from jobs.idempotency import Answer, IdempotencyKeys, Turn
from jobs.ids import new_id
from jobs.model import Document, DocumentId, QueueItem, UserId
from jobs.queue_service import DocumentQueueService
from jobs.rows import to_document
from jobs.settings import Settings
from jobs.tables import documents

_LONGEST_NAME_BYTES = 240
_SNIFFED_BYTES = 65_536
# What is due later than this is left to the sweep alone: Redis need not remember it for so long.
_RUNG_AHEAD = timedelta(days=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that arrived: what it was called, and its bytes."""

    filename: str
    spool: Spool


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done with documents, and when.

    Attributes:
        operation: one of :data:`jobs.model.OPERATION_NAMES`.
        priority: higher goes first; -100 to 100.
        queue: one of the settings' queues; the first when ``None``.
        delay_seconds: not before this many seconds.
        due_at: not before this instant, by the database's clock; in the past it is now.
    """

    operation: str = "process"
    priority: int = 0
    queue: str | None = None
    delay_seconds: float = 0.0
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored document and the item that will work on it, or already has.

    Attributes:
        duplicate_of: the document, when it is an older one with the same bytes.
        reused: whether the item was there before, too.
    """

    document: Document
    item: QueueItem
    duplicate_of: DocumentId | None = None
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file that was refused because its owner has sent it before.

    Attributes:
        filename: what it was called this time.
        document: what was made of it the last time.
    """

    filename: str
    document: Document


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the files of one request, each list in their order."""

    accepted: list[Accepted]
    duplicates: list[Duplicate]


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
            UnsupportedOperation: the operation's name is unknown; none was stored.
            UnknownQueue: no such queue is set up; none was stored.
            DuplicateDocument: ``dedupe`` refuses every one of them.
            StorageFull: a disk is full; none was stored.
            KeyInFlight: the turn has passed to a repeat of this request; none was stored.
        """
        for upload in uploads:
            if upload.spool.too_large:
                raise UploadTooLarge(f"The file is larger than {self._settings.max_upload_bytes} bytes.")
        try:
            stored = [(upload, *self._store(upload)) for upload in uploads]
            with telling_full_database(), self._engine.begin() as connection:
                self._hold_bytes(connection, uploads)
                taken = Taken([], [])
                for upload, sha256, media_type in stored:
                    known = self._known(connection, upload, order, owner, dedupe)
                    if isinstance(known, Duplicate):
                        taken.duplicates.append(known)
                    else:
                        made = known or self._insert(connection, upload, sha256, media_type, owner, order)
                        taken.accepted.append(made)
                _require_accepted(taken)
                if turn is not None and answer is not None:
                    self.keys.answer_in(connection, turn, answer(taken))
        finally:
            for upload in uploads:
                upload.spool.discard()
        self.announce([one.item for one in taken.accepted if not one.reused])
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

    def _store(self, upload: Upload) -> tuple[str, str]:
        upload.spool.seek(0)
        head = upload.spool.read(_SNIFFED_BYTES)
        media_type = sniff(head, upload.spool.path, upload.filename)
        return self._blobs.store(upload.spool, keep_open=True), media_type

    def _hold_bytes(self, connection: sa.Connection, uploads: Sequence[Upload]) -> None:
        """Keep the stored files from being pruned before their documents name them."""
        hold_bytes(connection, [upload.spool.sha256 for upload in uploads])
        for upload in uploads:
            # Pruned between its storing and this lock, because nobody had named it for long.
            if self._blobs.size(upload.spool.sha256) is None:
                self._blobs.store(upload.spool, keep_open=True)

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
        if dedupe is Dedupe.NONE:
            return None
        sha256 = upload.spool.sha256
        if dedupe is Dedupe.REUSE:
            usable = newest_usable(connection, owner, sha256, order.operation)
            if usable is not None:
                document, item = usable
                return Accepted(document, item, document.id, reused=True)
        existing = newest_document(connection, owner, sha256)
        if existing is None:
            return None
        if dedupe is Dedupe.REJECT:
            return Duplicate(clean_filename(upload.filename), existing)
        # Who asked for what there is wants no finished stage computed again.
        fresh = dedupe is Dedupe.RERUN
        item, made = self._enqueue_again(connection, existing.id, order, fresh=fresh)
        return Accepted(existing, item, existing.id, reused=not made)

    def _insert(
        self,
        connection: sa.Connection,
        upload: Upload,
        sha256: str,
        media_type: str,
        owner: UserId | None,
        order: Order,
    ) -> Accepted:
        row = connection.execute(
            sa.insert(documents)
            .values(
                id=new_id(),
                owner_id=owner,
                sha256=sha256,
                size=upload.spool.size,
                filename=clean_filename(upload.filename),
                media_type=media_type,
                created_at=self._clock.now,
            )
            .returning(*documents.c)
        ).one()
        return Accepted(to_document(row), self._enqueue(connection, row.id, order, fresh=False))

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
        )


def _require_accepted(taken: Taken) -> None:
    if not taken.accepted and taken.duplicates:
        raise DuplicateDocument(
            "You have sent this file before. It was refused, as you asked.",
            taken.duplicates[0].document.id,
        )


def clean_filename(raw: str) -> str:
    """Make a name safe to show and to offer for download; it is never used as a path.

    Folders, control characters and the invisible characters that reverse text are dropped, and
    the rest is cut to 240 bytes with the extension kept.

    Args:
        raw: what the sender called the file.

    Returns:
        A name of at least one character.
    """
    name = unicodedata.normalize("NFC", raw.replace("\\", "/").rsplit("/", 1)[-1])
    name = "".join(
        char for char in name if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    )
    name = name.strip().lstrip(".") or "document"
    if len(name.encode()) <= _LONGEST_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension if stem and len(extension.encode()) <= 20 else ""  # no real extension is longer
    kept = (stem if tail else name).encode()[: _LONGEST_NAME_BYTES - len(tail.encode())]
    return kept.decode(errors="ignore") + tail
