"""What comes in and what becomes of it: the values that :mod:`jobs.intake` takes and gives."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime

from jobs.blobs import Spool
from jobs.errors import UnsupportedOperation
from jobs.extraction import USUAL, ReadOptions
from jobs.model import UPLOAD_OPERATIONS, Document, DocumentId, QueueItem

_LONGEST_NAME_BYTES = 240


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
        options: of the reading.
        first_page: with which page the operation ``images`` begins, from 1.
    """

    operation: str = "process"
    priority: int = 0
    queue: str | None = None
    delay_seconds: float = 0.0
    due_at: datetime | None = None
    options: ReadOptions = USUAL
    first_page: int = 1


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


def require_upload_operation(name: str) -> None:
    """Refuse what only a document's own actions may order.

    Raises:
        UnsupportedOperation: the name is none of :data:`jobs.model.UPLOAD_OPERATIONS`.
    """
    if name not in UPLOAD_OPERATIONS:
        raise UnsupportedOperation(
            f"The operation {name!r} cannot be asked for; choose one of {', '.join(UPLOAD_OPERATIONS)}."
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
