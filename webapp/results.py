"""The products of a document's stages, read out of their artifacts."""

from __future__ import annotations

from flask import url_for

from jobs.extraction import Extraction
from jobs.model import JSON, Artifact, Document
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
