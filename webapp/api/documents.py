"""Documents: take them in, list them, hand out what was found in them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from flask import jsonify, request, send_file
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, NotFound

from jobs.idempotency import Answer
from jobs.model import JSON, Artifact, Document, Label
from webapp.access import owner_filter
from webapp.again import retry_pages_order
from webapp.api import blueprint
from webapp.api.answers import queued_again
from webapp.bodies import members
from webapp.downloads import download
from webapp.idempotency import idempotent, respond
from webapp.listing import ListArguments
from webapp.orders import ORDER_FIELDS, parse_order
from webapp.presenters import (
    accepted_json,
    artifact_json,
    document_json,
    document_row_json,
    job_json,
    link,
    reasons_of,
    refused_json,
    retry_after,
    waiting_of,
)
from webapp.results import extracted_text, whole_result
from webapp.security import FOREIGN_FILE_POLICY, accepts_files
from webapp.services import services
from webapp.uploads import Outcome, accept_uploads

# A browser that ignored every header would still not run these.
_INERT_TYPES = (
    "text/plain",
    "application/pdf",
    "image/png",
    "image/jpeg",
    "application/vnd.",
)


@blueprint.post("/documents")
@accepts_files
@idempotent
def upload_document() -> ResponseReturnValue:
    """Take one or several files; each gets a document and a job at once."""
    return respond(_upload_answer(accept_uploads(_upload_answer)))


@blueprint.get("/documents")
def documents() -> ResponseReturnValue:
    """List documents, newest first, each with its newest job."""
    arguments = ListArguments.from_request()
    label = request.args.get("label") or None
    if label is not None and label not in set(Label):
        raise BadRequest(f"The label is one of {', '.join(Label)}.")
    page = services().queries.documents(
        owner=owner_filter(), label=label, text=arguments.text, before=arguments.cursor, limit=arguments.limit
    )
    now = services().queries.now()
    reasons = reasons_of(page.rows)
    rows: list[JSON] = [document_row_json(row, now, reasons) for row in page.rows]
    return jsonify({"documents": rows, **arguments.next_link("api.documents", page)})


@blueprint.get("/documents/<document_id>")
def document(document_id: str) -> ResponseReturnValue:
    """Show a document, its newest job and what is known of its results."""
    found = _document(document_id)
    results = services().queries.results(found.id)
    item = services().queries.newest_item(found.id)
    now = services().queries.now()
    body = document_json(found)
    body["title"] = _last_word(results.values(), "title")
    body["page_count"] = _last_word(results.values(), "page_count")
    body["language"] = _last_word(results.values(), "language")
    body["document_type"] = _last_word(results.values(), "document_type")
    body["job"] = None if item is None else job_json(item, now, waiting_of(item))
    parent = services().queries.parent_of(found.id)
    body["parent"] = None if parent is None else document_json(parent)
    body["children"] = services().queries.count_children(found.id)
    extract = results.get("extract")
    body["failed_pages"] = [] if extract is None else extract.body.get("failed_pages") or []
    body["results"] = {stage: artifact_json(artifact) for stage, artifact in results.items()}
    return jsonify(body)


@blueprint.get("/documents/<document_id>/children")
def document_children(document_id: str) -> ResponseReturnValue:
    """List what was taken out of a document, in its order there, each with its newest job."""
    found = _document(document_id)
    arguments = ListArguments.from_request()
    page = services().queries.children(found.id, after=arguments.cursor, limit=arguments.limit)
    now = services().queries.now()
    reasons = reasons_of(page.rows)
    rows: list[JSON] = [document_row_json(row, now, reasons) for row in page.rows]
    body = {"documents": rows, **arguments.next_link("api.document_children", page, document_id=found.id)}
    return jsonify(body)


@blueprint.get("/documents/<document_id>/text")
def document_text(document_id: str) -> ResponseReturnValue:
    """Hand out the extracted text; with ``partial=1`` that of the pages that are read by now."""
    found = _document(document_id)
    text = extracted_text(found, partial=bool(request.args.get("partial")))
    return download(found, text.text, "text/plain; charset=utf-8", ".txt", text.headers)


@blueprint.get("/documents/<document_id>/markdown")
def document_markdown(document_id: str) -> ResponseReturnValue:
    """Hand out the extracted text with its structure, as Markdown; ``partial=1`` as for the text."""
    found = _document(document_id)
    text = extracted_text(found, partial=bool(request.args.get("partial")))
    return download(found, text.markdown, "text/markdown; charset=utf-8", ".md", text.headers)


@blueprint.get("/documents/<document_id>/result")
def document_result(document_id: str) -> ResponseReturnValue:
    """Hand out extraction and analysis as one JSON object."""
    found = _document(document_id)
    body = json.dumps(whole_result(found), ensure_ascii=False, indent=2)
    return download(found, body, "application/json", ".json")


@blueprint.get("/documents/<document_id>/original")
def document_original(document_id: str) -> ResponseReturnValue:
    """Hand out the uploaded bytes, always as a download; ranges and conditions work."""
    found = _document(document_id)
    inert = found.media_type.startswith(_INERT_TYPES)
    try:
        response = send_file(
            services().blobs.path(found.sha256),
            mimetype=found.media_type if inert else "application/octet-stream",
            as_attachment=True,
            download_name=found.filename,
            conditional=True,
            etag=found.sha256,
            last_modified=found.created_at,
        )
    except FileNotFoundError:
        raise NotFound("The original file is no longer stored.") from None
    response.headers["Content-Security-Policy"] = FOREIGN_FILE_POLICY
    return response


@blueprint.post("/documents/<document_id>/reprocess")
@idempotent
def reprocess_document(document_id: str) -> ResponseReturnValue:
    """Queue a document again, to be computed anew unless ``fresh`` is false; answers with the new job."""
    found = _document(document_id)
    said = members("fresh", *ORDER_FIELDS)
    fresh = str(said.get("fresh", True)).lower() in {"true", "1", "yes", "on"}
    return respond(queued_again(found.id, parse_order(said), fresh=fresh))


@blueprint.post("/documents/<document_id>/retry-pages")
@idempotent
def retry_pages(document_id: str) -> ResponseReturnValue:
    """Read the pages again that could not be read, and no others; answers with the new job."""
    found = _document(document_id)
    order = retry_pages_order(found, members("priority", "queue", "password"))
    return respond(queued_again(found.id, order, fresh=False))


def _upload_answer(outcome: Outcome) -> Answer:
    accepted, refused = outcome
    body: dict[str, JSON] = {"documents": [accepted_json(one) for one in accepted]}
    if refused:
        body["refused"] = [refused_json(one) for one in refused]
    headers = {"Location": link("api.job", accepted[0].item.id)}
    again = retry_after(accepted[0].item)
    if again is not None:
        headers["Retry-After"] = again
    return Answer(202, headers, body)


def _document(document_id: str) -> Document:
    return services().queries.document(document_id, owner=owner_filter())


def _last_word(artifacts: Iterable[Artifact], key: str) -> JSON:
    """Return what the last stage that knows it says of something that several stages tell."""
    found: JSON = None
    for artifact in artifacts:
        found = artifact.meta.get(key) or found
    return found
