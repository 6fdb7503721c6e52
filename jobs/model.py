"""The words of the domain as types; no I/O, no clock."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, NewType, Protocol

DocumentId = NewType("DocumentId", str)
ItemId = NewType("ItemId", str)
UserId = NewType("UserId", str)

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


class Status(enum.StrEnum):
    """The stored state of a queue item."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_STATUSES = (Status.PENDING, Status.IN_PROGRESS)
ENDED_STATUSES = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


RETRY_PAGES = "retry_pages"
"""Read again what failed of a document, and make a whole of it with what is kept."""

OPERATION_NAMES = ("process", "extract", "analyze", "images", RETRY_PAGES)
"""What can be done with a document; :mod:`jobs.operations` says how."""

UPLOAD_OPERATIONS = ("process", "extract", "analyze")
"""Those of them that an upload or a reprocess may ask for; the others are a document's own actions."""

IMAGES_OPERATION = "images"
"""Draws pages to be looked at; such an item never stands for its document while there is another."""


LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100


class Label(enum.StrEnum):
    """What people are shown; derived from the row, never stored."""

    WAITING = "waiting"
    SCHEDULED = "scheduled"
    RETRYING = "retrying"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


class Role(enum.StrEnum):
    """What a user may do: members see their own documents, admins operate the queue."""

    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """A person or program that signs in."""

    id: UserId
    name: str
    role: Role

    @property
    def is_admin(self) -> bool:
        """Whether this user may operate the queue and see every document."""
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class Document:
    """An uploaded file: its bytes' hash and what was said of it at upload."""

    id: DocumentId
    owner_id: UserId | None
    sha256: str
    size: int
    filename: str
    media_type: str
    created_at: datetime


class QueueItem(NamedTuple):
    """One durable row of the queue, as last read; a tuple, because a worker makes thousands in a second."""

    id: ItemId
    document_id: DocumentId
    owner_id: UserId | None
    operation: str
    status: Status
    priority: int
    fresh: bool
    due_at: datetime
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    announced_at: datetime | None
    attempt: int
    failures: int
    crashes: int
    max_failures: int
    stage: str | None
    progress: float
    cancel_requested_at: datetime | None
    error_code: str | None
    error_message: str | None
    worker: str | None
    lease_id: str | None
    queue: str = "documents"
    turn: int = 0
    deferred: bool = False
    superseded: bool = False
    started_at: datetime | None = None
    options: str | None = None
    page: int | None = None
    page_count: int | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one attempt to change its item. Only a claim makes one.

    The token is ``(item.id, attempt, lease_id)``; every settling statement carries it.

    Attributes:
        document: what the item is about, when the claim has read it on its way.
    """

    item: QueueItem
    attempt: int
    lease_id: str
    worker: str
    document: Document | None = None


class Companion(Protocol):
    """Rows that appear with a checkpoint, or not at all."""

    def hold(self, connection: Any) -> None:
        """Take the locks that come before the item's, in the checkpoint's transaction."""

    def write(self, connection: Any, lease_id: str) -> None:
        """Write the rows; the item is this attempt's and locked."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stage that ended.

    Attributes:
        stage: its name.
        artifact: its product.
        reused: whether the artifact was already stored.
        companion: what is written with it, ``None`` for most.
        had_partial: whether pages of it were kept before, which are needed no more.
    """

    stage: str
    artifact: Artifact
    reused: bool
    companion: Companion | None = None
    had_partial: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    """The attempt finished every stage."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt raised.

    Attributes:
        permanent: whether another try cannot help.
        retry_after: seconds the other side asked to wait, or ``None``.
    """

    code: str
    message: str
    permanent: bool
    traceback: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Snoozed:
    """Put back without counting a failure; due again after ``seconds``."""

    seconds: float
    reason: str
    code: str = "throttled"


@dataclass(frozen=True, slots=True)
class Released:
    """Put back at once, uncounted, because the worker stops."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelAcknowledged:
    """The runner saw the cancel request and stopped."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The process that held the lease died, or the lease ran out."""

    reason: str


Outcome = Completed | Failed | Snoozed | Released | CancelAcknowledged | Crashed


@dataclass(frozen=True, slots=True)
class Event:
    """An append-only fact about an item."""

    seq: int
    item_id: ItemId
    document_id: DocumentId
    owner_id: UserId | None
    kind: str
    at: datetime
    attempt: int
    data: dict[str, JSON] = field(default_factory=dict)


IMAGE_SIZES = ("thumbnail", "reading")


@dataclass(frozen=True, slots=True)
class PageImage:
    """A picture of a page.

    Attributes:
        page: which, from 1.
        size: one of :data:`IMAGE_SIZES`.
        width: in pixels.
        height: in pixels.
        media_type: what a browser takes the bytes for.
        data: the file.
    """

    page: int
    size: str
    width: int
    height: int
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a stage produced, kept by content, options and engine version.

    Attributes:
        body: the stage's whole result, JSON-serialisable.
        meta: the small part of it that lists and headings show.
        images: pictures that it consists of; only where it is about to be stored.
    """

    id: str
    stage: str
    cache_key: str
    engine: str
    engine_version: str
    body: dict[str, JSON]
    meta: dict[str, JSON]
    created_at: datetime
    images: tuple[PageImage, ...] = ()


@dataclass(frozen=True, slots=True)
class PartialResult:
    """The pages that a running item has read so far.

    Attributes:
        page: how many are read.
        page_count: how many are to be read.
        texts: their Markdown by number, in order; of a very long document the beginning.
    """

    page: int
    page_count: int
    texts: dict[int, str]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of an item."""

    item_id: ItemId
    attempt: int
    worker: str
    host: str
    pid: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    stage: str | None
    error_code: str | None
    error_message: str | None
    traceback: str | None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """What people said about a queue.

    Attributes:
        paused_at: since when nothing of it is claimed, or ``None`` while it runs.
        paused_by: who paused it.
        pause_reason: why, for everybody who waits.
    """

    name: str
    paused_at: datetime | None = None
    paused_by: str | None = None
    pause_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Throttle:
    """Until when something outside asked us to wait."""

    key: str
    until: datetime
    reason: str
