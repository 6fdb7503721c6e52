"""Uploading documents, listing them, having one worked again."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from jobs.errors import AlreadyQueued, ItemNotFound
from jobs.model import OPEN_STATUSES, Label
from jobs.queries import DocumentRow
from jobs.uploads import Accepted
from webapp.access import owner_filter
from webapp.again import retry_pages_order
from webapp.listing import ListArguments
from webapp.orders import ORDER_FIELDS, parse_order
from webapp.pages import blueprint
from webapp.presenters import reasons_of, segment_counts
from webapp.security import accepts_files
from webapp.services import services
from webapp.uploads import accept_uploads, duplicate_words

RECENT_ROWS = 10


@blueprint.get("/")
def home() -> ResponseReturnValue:
    """Show the upload form and the latest documents."""
    page = services().queries.documents(owner=owner_filter(), limit=RECENT_ROWS)
    settings = services().settings
    return render_template(
        "home.html",
        rows=page.rows,
        reasons=reasons_of(page.rows),
        largest=settings.max_upload_bytes,
        most_files=settings.max_files_per_upload,
        root=request.url_root,
        presets=services().presets,
    )


@blueprint.post("/documents")
@accepts_files
def upload_document() -> ResponseReturnValue:
    """Take files from the plain form and show their jobs."""
    accepted, refused = accept_uploads()
    for one in refused:
        flash(f"{one.filename} was refused: {one.detail}", "error")
    if len(accepted) == 1:
        words = duplicate_words(accepted[0])
        if words is not None:
            flash(words)
        return redirect(url_for("pages.job", item_id=accepted[0].item.id), 303)
    return redirect(
        url_for(
            "pages.accepted",
            jobs=_ids(accepted),
            reused=_ids([one for one in accepted if one.reused]),
            again=_ids([one for one in accepted if one.duplicate_of is not None and not one.reused]),
        ),
        303,
    )


@blueprint.get("/accepted")
def accepted() -> ResponseReturnValue:
    """List the jobs that an upload has just made, and those of files that had been sent before."""
    rows = []
    fates = {name: set(request.args.get(name, "").split(",")) for name in ("reused", "again")}
    limit = services().settings.max_files_per_upload
    for item_id in request.args.get("jobs", "").split(",")[:limit]:
        try:
            item = services().queries.item(item_id, owner=owner_filter())
        except ItemNotFound:
            continue
        document = services().queries.document(item.document_id, owner=None)
        rows.append(DocumentRow(document, item, None, None))
    is_open = any(row.item is not None and row.item.status in OPEN_STATUSES for row in rows)
    return render_template("accepted.html", rows=rows, is_open=is_open, reasons=reasons_of(rows), **fates)


@blueprint.get("/documents")
def documents() -> ResponseReturnValue:
    """List documents, newest first."""
    arguments = ListArguments.from_request()
    chosen = request.args.get("label", "")
    label = chosen if chosen in set(Label) else None
    page = services().queries.documents(
        owner=owner_filter(), label=label, text=arguments.text, before=arguments.cursor, limit=arguments.limit
    )
    return render_template(
        "documents.html",
        page=page,
        reasons=reasons_of(page.rows),
        segments=segment_counts(services().queries.counts(owner_filter())),
        chosen=label or "",
        text=arguments.text or "",
        first_page=arguments.cursor is None,
    )


@blueprint.post("/documents/<document_id>/reprocess")
def reprocess_document(document_id: str) -> ResponseReturnValue:
    """Queue a document again and show its new job, or the one that is already there."""
    found = services().queries.document(document_id, owner=owner_filter())
    order = parse_order({name: request.form.get(name) for name in ORDER_FIELDS})
    try:
        item = services().intake.reprocess(found.id, order, fresh=not request.form.get("reuse"))
    except AlreadyQueued as error:
        flash("This document is already in the queue for that; here is its job.")
        return redirect(url_for("pages.job", item_id=error.item_id), 303)
    return redirect(url_for("pages.job", item_id=item.id), 303)


@blueprint.post("/documents/<document_id>/retry-pages")
def retry_pages(document_id: str) -> ResponseReturnValue:
    """Queue the pages that could not be read and show the new job, or the one that is already there."""
    found = services().queries.document(document_id, owner=owner_filter())
    order = retry_pages_order(found, {})
    try:
        item = services().intake.reprocess(found.id, order, fresh=False)
    except AlreadyQueued as error:
        flash("The failed pages of this document are already being read again; here is the job.")
        return redirect(url_for("pages.job", item_id=error.item_id), 303)
    return redirect(url_for("pages.job", item_id=item.id), 303)


def _ids(accepted: list[Accepted]) -> str | None:
    # Two files with the same bytes may share a job.
    return ",".join(dict.fromkeys(one.item.id for one in accepted)) or None
