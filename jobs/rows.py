"""Database rows as the domain's values; shared by every module that reads the tables."""

from __future__ import annotations

import json
import zlib
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from jobs.model import (
    JSON,
    Artifact,
    Attempt,
    Document,
    DocumentId,
    Event,
    ItemId,
    PageImage,
    PartialResult,
    QueueItem,
    Role,
    Status,
    User,
    UserId,
)
from jobs.tables import documents, queue_items

ITEM_COLUMNS = (
    queue_items.c.id,
    queue_items.c.document_id,
    queue_items.c.owner_id,
    queue_items.c.operation,
    queue_items.c.status,
    queue_items.c.priority,
    queue_items.c.fresh,
    queue_items.c.due_at,
    queue_items.c.created_at,
    queue_items.c.updated_at,
    queue_items.c.finished_at,
    queue_items.c.announced_at,
    queue_items.c.attempt,
    queue_items.c.failures,
    queue_items.c.crashes,
    queue_items.c.max_failures,
    queue_items.c.stage,
    queue_items.c.progress,
    queue_items.c.cancel_requested_at,
    queue_items.c.error_code,
    queue_items.c.error_message,
    queue_items.c.worker,
    queue_items.c.lease_id,
    queue_items.c.queue,
    queue_items.c.turn,
    queue_items.c.deferred,
    queue_items.c.superseded,
    queue_items.c.started_at,
    queue_items.c.options,
    queue_items.c.page,
    queue_items.c.page_count,
)
"""The columns of a :class:`jobs.model.QueueItem`, in its order."""
_STATUS_AT = [column.name for column in ITEM_COLUMNS].index("status")
# A tenth larger than by default, in a quarter of the time: a long document takes half a second less.
_COMPRESSION = 2
_STATUSES = {status.value: status for status in Status}


def to_item(row: sa.Row[*tuple[Any, ...]]) -> QueueItem:
    """Make a queue item of a row that begins with :data:`ITEM_COLUMNS`."""
    # By position: thousands are made in a second. Ids are strings already.
    values: list[Any] = [*row[: len(ITEM_COLUMNS)]]
    values[_STATUS_AT] = _STATUSES[values[_STATUS_AT]]
    return QueueItem._make(values)


DOCUMENT_COLUMNS = tuple(documents.c[field.name] for field in fields(Document))
"""The columns of a :class:`jobs.model.Document`, in its order."""


def to_document(row: sa.Row[*tuple[Any, ...]]) -> Document:
    """Make a document of a row of the ``documents`` table."""
    return Document(
        id=DocumentId(row.id),
        owner_id=None if row.owner_id is None else UserId(row.owner_id),
        sha256=row.sha256,
        size=row.size,
        filename=row.filename,
        media_type=row.media_type,
        created_at=row.created_at,
    )


def to_claimed_document(row: sa.Row[*tuple[Any, ...]]) -> Document | None:
    """Make a document of what follows :data:`ITEM_COLUMNS` in a row, as :data:`DOCUMENT_COLUMNS`, if any."""
    values = row[len(ITEM_COLUMNS) :]
    return Document(*values) if values else None


def to_user(row: sa.Row[*tuple[Any, ...]]) -> User:
    """Make a user of a row of the ``users`` table."""
    return User(id=UserId(row.id), name=row.name, role=Role(row.role))


def to_event(row: sa.Row[*tuple[Any, ...]]) -> Event:
    """Make an event of a row of the ``events`` table."""
    return Event(
        seq=row.seq,
        item_id=ItemId(row.item_id),
        document_id=DocumentId(row.document_id),
        owner_id=None if row.owner_id is None else UserId(row.owner_id),
        kind=row.kind,
        at=row.at,
        attempt=row.attempt,
        data=row.data,
    )


def to_attempt(row: sa.Row[*tuple[Any, ...]]) -> Attempt:
    """Make an attempt of a row of the ``attempts`` table."""
    return Attempt(
        item_id=ItemId(row.item_id),
        attempt=row.attempt,
        worker=row.worker,
        host=row.host,
        pid=row.pid,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        stage=row.stage,
        error_code=row.error_code,
        error_message=row.error_message,
        traceback=row.traceback,
        peak_memory_bytes=row.peak_memory_bytes,
    )


def to_artifact(row: sa.Row[*tuple[Any, ...]]) -> Artifact:
    """Make an artifact, with its body, of a row of the ``artifacts`` table."""
    return Artifact(
        id=row.id,
        stage=row.stage,
        cache_key=row.cache_key,
        engine=row.engine,
        engine_version=row.engine_version,
        body=unpack(row.body),
        meta=row.meta,
        created_at=row.created_at,
    )


def to_page_image(row: sa.Row[*tuple[Any, ...]]) -> PageImage:
    """Make a picture of a row of the ``page_images`` table."""
    return PageImage(row.page, row.size, row.width, row.height, row.media_type, row.data)


def to_partial_result(row: sa.Row[*tuple[Any, ...]]) -> PartialResult:
    """Make a partial result of a row of the ``partial_results`` table."""
    texts = {int(page): str(text) for page, text in unpack(row.body).items()}
    return PartialResult(page=row.page, page_count=row.page_count, texts=texts)


def pack(body: dict[str, JSON]) -> bytes:
    """Compress a JSON object for storage."""
    plain = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return zlib.compress(plain, _COMPRESSION)


def unpack(packed: bytes) -> dict[str, JSON]:
    """Undo :func:`pack`."""
    body: dict[str, JSON] = json.loads(zlib.decompress(packed))
    return body
