"""Rows of the domain as the JSON that the API and the live streams promise."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime

from flask import request, url_for

from jobs.model import (
    JSON,
    OPEN_STATUSES,
    Artifact,
    Attempt,
    Document,
    Event,
    ItemId,
    Label,
    QueueItem,
    Status,
)
from jobs.queries import COUNTED_TO, DocumentRow, ItemRow
from jobs.read_options import options_json
from jobs.states import label as label_of
from jobs.uploads import Accepted
from jobs.waiting import Reason, Waiting
from webapp.services import services
from webapp.uploads import Refused
from webapp.wording import waiting_reason

POLL_SECONDS = 2
BUSY_POLL_SECONDS = 5
_ACCEPTED_LINKS = {
    "self": "api.document",
    "job": "api.job",
    "text": "api.document_text",
    "markdown": "api.document_markdown",
    "original": "api.document_original",
}
_STAND_IN = "00000000-0000-0000-0000-000000000000"


def waiting_of(item: QueueItem) -> Waiting | None:
    """Explain why an item waits; ``None`` when it has ended."""
    return services().waiting.explain(item) if item.status in OPEN_STATUSES else None


def retry_after(item: QueueItem) -> str | None:
    """Say after how many seconds it is worth asking again; ``None`` for an ended item."""
    if item.status not in OPEN_STATUSES:
        return None
    return str(POLL_SECONDS if item.status is Status.IN_PROGRESS else BUSY_POLL_SECONDS)


def link(endpoint: str, made_id: str) -> str:
    """Return the path of what has an id of ours.

    ``url_for`` looks for the rule and escapes each part anew; a path with an id differs in nothing else.

    Args:
        endpoint: a route of the API whose only part is ``document_id`` or ``item_id``.
        made_id: a UUID, which needs no escaping.
    """
    return _path_around(endpoint, request.script_root).format(made_id)


@functools.lru_cache(maxsize=64)
def _path_around(endpoint: str, script_root: str) -> str:
    del script_root
    if endpoint == "api.job":
        path = url_for(endpoint, item_id=_STAND_IN)
    else:
        path = url_for(endpoint, document_id=_STAND_IN)
    return path.replace(_STAND_IN, "{}")


def accepted_json(one: Accepted) -> dict[str, JSON]:
    """Present an accepted upload; these members are the API's oldest promise.

    A file that was sent before says so by ``duplicate_of``, when that was, and whether its job is an old one.
    """
    body: dict[str, JSON] = {
        "id": one.document.id,
        "job_id": one.item.id,
        "status": one.item.status.value,
        "filename": one.document.filename,
        "sha256": one.document.sha256,
        "size": one.document.size,
        "links": {
            name: link(endpoint, one.item.id if name == "job" else one.document.id)
            for name, endpoint in _ACCEPTED_LINKS.items()
        },
    }
    if one.duplicate_of is not None:
        body |= {
            "duplicate_of": one.duplicate_of,
            "reused": one.reused,
            "created_at": _instant(one.document.created_at),
        }
    return body


def refused_json(one: Refused) -> dict[str, JSON]:
    """Present a file that was not accepted."""
    body: dict[str, JSON] = {"filename": one.filename, "code": one.code, "detail": one.detail}
    if one.document_id is not None:
        body["document_id"] = one.document_id
        body["links"] = {"document": url_for("api.document", document_id=one.document_id)}
    return body


def job_json(
    item: QueueItem, now: datetime, waiting: Waiting | None = None, brief: Reason | None = None
) -> dict[str, JSON]:
    """Present a queue item as a job.

    Args:
        item: the item.
        now: the database's time.
        waiting: why it waits, where its place was counted.
        brief: why it waits, in a list.
    """
    reason = None if brief is None else brief.sentence
    if waiting is not None:
        reason = waiting_reason(waiting)
    shown = label_of(item, now)
    return {
        "id": item.id,
        "document_id": item.document_id,
        "operation": item.operation,
        "status": item.status.value,
        "label": shown.value,
        "stage": item.stage,
        "progress": round(item.progress, 4),
        "page": item.page if item.status is Status.IN_PROGRESS else None,
        "page_count": item.page_count if item.status is Status.IN_PROGRESS else None,
        "priority": item.priority,
        "attempt": item.attempt,
        "failures": item.failures,
        "max_failures": item.max_failures,
        "crashes": item.crashes,
        "error": None
        if item.error_code is None
        else {"code": item.error_code, "message": item.error_message},
        "cancel_requested": item.cancel_requested_at is not None,
        "due_at": _instant(item.due_at) if item.status is Status.PENDING else None,
        "created_at": _instant(item.created_at),
        "finished_at": _instant(item.finished_at),
        "queue": item.queue,
        "options": options_json(item.options),
        "position": None if waiting is None else waiting.position,
        "waiting_reason": reason,
        "links": {
            "self": url_for("api.job", item_id=item.id),
            "document": url_for("api.document", document_id=item.document_id),
            "events": url_for("api.job_events", item_id=item.id),
            "stream": url_for("live.item_stream", item_id=item.id),
            "websocket": url_for("live.item_socket", item_id=item.id),
            "attempts": url_for("api.job_attempts", item_id=item.id),
            "why": url_for("api.job_why", item_id=item.id),
            "page": url_for("pages.job", item_id=item.id),
        },
    }


def item_row_json(row: ItemRow, now: datetime, reasons: Mapping[ItemId, Reason]) -> dict[str, JSON]:
    """Present a line of the job list, with why it waits, by the item's id."""
    return {**job_json(row.item, now, brief=reasons.get(row.item.id)), "filename": row.filename}


def document_json(document: Document) -> dict[str, JSON]:
    """Present a document without its job and results."""
    return {
        "id": document.id,
        "filename": document.filename,
        "sha256": document.sha256,
        "size": document.size,
        "media_type": document.media_type,
        "created_at": _instant(document.created_at),
        "links": {
            "self": url_for("api.document", document_id=document.id),
            "text": url_for("api.document_text", document_id=document.id),
            "markdown": url_for("api.document_markdown", document_id=document.id),
            "tables": url_for("api.document_tables", document_id=document.id),
            "chunks": url_for("api.document_chunks", document_id=document.id),
            "original": url_for("api.document_original", document_id=document.id),
            "result": url_for("api.document_result", document_id=document.id),
            "reprocess": url_for("api.reprocess_document", document_id=document.id),
            "children": url_for("api.document_children", document_id=document.id),
            "retry_pages": url_for("api.retry_pages", document_id=document.id),
            "page": url_for("pages.document", document_id=document.id),
        },
    }


def document_row_json(row: DocumentRow, now: datetime, reasons: Mapping[ItemId, Reason]) -> dict[str, JSON]:
    """Present a line of the document list, with why it waits, by the item's id."""
    return {
        **document_json(row.document),
        "title": row.title,
        "page_count": row.page_count,
        "job": None if row.item is None else job_json(row.item, now, brief=reasons.get(row.item.id)),
    }


def artifact_json(artifact: Artifact) -> dict[str, JSON]:
    """Present what is known of a stage's product, without the product."""
    return {
        "engine": artifact.engine,
        "engine_version": artifact.engine_version,
        "created_at": _instant(artifact.created_at),
        "meta": artifact.meta,
    }


def attempt_json(attempt: Attempt, *, with_traceback: bool) -> dict[str, JSON]:
    """Present an attempt; its traceback is for admins only."""
    shown: dict[str, JSON] = {
        "attempt": attempt.attempt,
        "started_at": _instant(attempt.started_at),
        "ended_at": _instant(attempt.ended_at),
        "seconds": None
        if attempt.ended_at is None
        else round((attempt.ended_at - attempt.started_at).total_seconds(), 3),
        "outcome": attempt.outcome,
        "stage": attempt.stage,
        "error": None
        if attempt.error_code is None
        else {"code": attempt.error_code, "message": attempt.error_message},
    }
    if with_traceback:
        shown |= {
            "worker": attempt.worker,
            "host": attempt.host,
            "pid": attempt.pid,
            "peak_memory_bytes": attempt.peak_memory_bytes,
            "traceback": attempt.traceback,
        }
    return shown


def event_json(event: Event) -> dict[str, JSON]:
    """Present an event; poll, server-sent events and WebSocket all send this."""
    return {
        "seq": event.seq,
        "kind": event.kind,
        "at": _instant(event.at),
        "attempt": event.attempt,
        "job_id": event.item_id,
        "document_id": event.document_id,
        "data": event.data,
    }


def segment_counts(counts: dict[str, int]) -> list[tuple[str, str, str]]:
    """Return the list's segments: value of the filter, word, count in words."""
    words = {
        "": ("All", counts["all"]),
        Label.RUNNING.value: ("Running", counts[Label.RUNNING]),
        Label.WAITING.value: ("Waiting", counts[Label.WAITING]),
        Label.RETRYING.value: ("Retrying", counts[Label.RETRYING]),
        Label.COMPLETED.value: ("Completed", counts[Label.COMPLETED]),
        Label.FAILED.value: ("Failed", counts[Label.FAILED]),
        Label.QUARANTINED.value: ("Quarantined", counts[Label.QUARANTINED]),
        Label.CANCELLED.value: ("Cancelled", counts[Label.CANCELLED]),
        Label.SCHEDULED.value: ("Scheduled", counts[Label.SCHEDULED]),
    }
    rare = {Label.RETRYING.value, Label.QUARANTINED.value, Label.SCHEDULED.value}
    return [
        (key, word, f"{COUNTED_TO:,}+" if count > COUNTED_TO else f"{count:,}")
        for key, (word, count) in words.items()
        if count or key not in rare
    ]


def reasons_of(rows: Sequence[DocumentRow] | Sequence[ItemRow]) -> dict[ItemId, Reason]:
    """Explain briefly why the jobs of a page wait; those that do not are left out."""
    return services().waiting.briefly(row.item for row in rows if row.item is not None)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
