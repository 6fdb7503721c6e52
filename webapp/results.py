"""The products of a document's stages, read out of their artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from flask import url_for

from jobs.extraction import Extraction
from jobs.extraction.markdown import to_plain
from jobs.model import JSON, Artifact, Document, QueueItem, Status
from webapp.presenters import artifact_json, document_json, retry_after
from webapp.problems import Problem
from webapp.services import services


def extraction_of(document: Document) -> Extraction:
    """Return what was read from a document.

    Raises:
        Problem: 404 ``not_ready``; it names the job, its status and when to ask again.
    """
    artifact = services().queries.artifact(document.id, "extract")
    if artifact is None:
        raise _not_ready(document)
    return Extraction.from_json(artifact.body)


@dataclass(frozen=True, slots=True)
class Text:
    """Extracted text, plain and as Markdown.

    Attributes:
        page: of a text that is not whole yet, how many pages it has; ``None`` for a whole one.
        page_count: how many it will have.
    """

    text: str
    markdown: str
    page: int | None = None
    page_count: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What tells a program that this is not all."""
        return {} if self.page is None else {"X-Pages": f"{self.page}/{self.page_count}", "Retry-After": "2"}


def extracted_text(document: Document, *, partial: bool = False) -> Text:
    """Return a document's text.

    Args:
        document: the document.
        partial: while there is no whole text, the pages that are read by now will do.

    Raises:
        Problem: 404 ``not_ready``; it names the job, its status and when to ask again.
    """
    artifact = services().queries.artifact(document.id, "extract")
    if artifact is not None:
        return Text(str(artifact.body.get("text") or ""), str(artifact.body.get("markdown") or ""))
    found = partial_text(services().queries.newest_item(document.id)) if partial else None
    if found is None:
        raise _not_ready(document)
    return found


def partial_text(item: QueueItem | None) -> Text | None:
    """Return the pages that a running item has read so far; ``None`` when there are none yet."""
    if item is None or item.status is not Status.IN_PROGRESS:
        return None
    found = services().queries.partial_result(item.id)
    if found is None:
        return None
    pages = [text.strip() for text in found.texts.values() if text.strip()]
    return Text(
        "\n\n".join(to_plain(text) for text in pages), "\n\n".join(pages), found.page, found.page_count
    )


def require_failed_pages(document: Document) -> None:
    """Make sure that there are pages to read again.

    Raises:
        Problem: 409 ``no_failed_pages``; every page was read, or nothing has been read yet.
    """
    artifact = services().queries.artifact(document.id, "extract")
    if artifact is None or not artifact.body.get("failed_pages"):
        raise Problem(409, "No page of this document has failed.", code="no_failed_pages")


def whole_result(document: Document) -> dict[str, JSON]:
    """Return everything that was found out about a document.

    Raises:
        Problem: 404 ``not_ready``; nothing has been found out yet.
    """
    found = services().queries.results(document.id)
    if not found:
        raise _not_ready(document)
    return {
        "document": document_json(document),
        "extraction": _product(found.get("extract")),
        "analysis": _product(found.get("analyze")),
    }


def _product(artifact: Artifact | None) -> JSON:
    return None if artifact is None else {**artifact_json(artifact), "result": artifact.body}


def _not_ready(document: Document) -> Problem:
    """Tell that a resource is not there yet.

    404 and not 409: the thing asked for does not exist (yet), and nothing is in conflict. ``code`` tells
    this from a document that does not exist at all.
    """
    item = services().queries.newest_item(document.id)
    if item is None:
        return Problem(404, "This document has no result, and no job works on one.", code="not_ready")
    again = retry_after(item)
    sentence = f"There is no result yet: the job is {item.status.value.replace('_', ' ')}."
    if again is None:
        reason = f" {item.error_message}" if item.error_message else ""
        sentence = f"There is no result: the job is {item.status.value}.{reason}"
    members: dict[str, JSON] = {
        "job_id": item.id,
        "job_status": item.status.value,
        "links": {"job": url_for("api.job", item_id=item.id)},
    }
    headers = {} if again is None else {"Retry-After": again}
    return Problem(404, sentence, code="not_ready", members=members, headers=headers)
