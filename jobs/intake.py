"""Accepts uploads: the bytes durable first, then the rows, then the bell.

The order is the promise: fsync(file) → rename → fsync(folder) → commit → answer. What was
answered cannot be lost; what was not answered left at most an unnamed file behind.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from jobs.blobs import BlobStore, Spool
from jobs.database import Clock
from jobs.delivery import Delivery
from jobs.errors import DeliveryError, UploadTooLarge
from jobs.extraction import sniff
from jobs.ids import new_id
from jobs.model import Document, QueueItem, UserId
from jobs.queue_service import DocumentQueueService
from jobs.rows import to_document
from jobs.settings import Settings
from jobs.tables import documents

_LONGEST_NAME_BYTES = 240
_SNIFFED_BYTES = 65_536

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that arrived: what it was called, and its bytes."""

    filename: str
    spool: Spool


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored document and the item that will work on it."""

    document: Document
    item: QueueItem


class Intake:
    """The way in.

    Args:
        engine: the database.
        settings: size limits.
        blobs: where the bytes go.
        service: the queue.
        delivery: the bell.
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

    def new_spool(self) -> Spool:
        """Begin to receive a file.

        Raises:
            StorageFull: no temporary file can be made.
        """
        return self._blobs.new_spool(self._settings.max_upload_bytes)

    def accept(
        self,
        uploads: Sequence[Upload],
        *,
        owner: UserId | None,
        operation: str = "process",
        priority: int = 0,
    ) -> list[Accepted]:
        """Store files and queue them, all or none.

        Args:
            uploads: complete uploads; their spools are used up.
            owner: whose documents they become.
            operation: what is to be done with them.
            priority: higher goes first.

        Returns:
            A document and an item for each upload, in order, committed and announced.

        Raises:
            UploadTooLarge: one of them is larger than ``MAX_UPLOAD_BYTES``; none was stored.
            UnsupportedOperation: the operation's name is unknown; none was stored.
            StorageFull: the disk is full; none was stored.
        """
        for upload in uploads:
            if upload.spool.too_large:
                raise UploadTooLarge(f"The file is larger than {self._settings.max_upload_bytes} bytes.")
        stored = [(upload, *self._store(upload)) for upload in uploads]
        with self._engine.begin() as connection:
            accepted = [
                self._insert(connection, upload, sha256, media_type, owner, operation, priority)
                for upload, sha256, media_type in stored
            ]
        self.announce([one.item for one in accepted])
        return accepted

    def announce(self, items: Sequence[QueueItem]) -> bool:
        """Ring for committed items, as well as it goes.

        Args:
            items: pending items.

        Returns:
            Whether Redis took the message; if not, the next sweep rings.
        """
        try:
            self._delivery.announce(items)
        except DeliveryError:
            log.warning("announce_failed", items=len(items))
            self._service.mark_unannounced([item.id for item in items])
            return False
        return True

    def _store(self, upload: Upload) -> tuple[str, str]:
        upload.spool.seek(0)
        head = upload.spool.read(_SNIFFED_BYTES)
        sha256 = self._blobs.store(upload.spool)
        return sha256, sniff(head, self._blobs.path(sha256), upload.filename)

    def _insert(
        self,
        connection: sa.Connection,
        upload: Upload,
        sha256: str,
        media_type: str,
        owner: UserId | None,
        operation: str,
        priority: int,
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
        item = self._service.enqueue_in(connection, row.id, operation, priority)
        return Accepted(to_document(row), item)


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
