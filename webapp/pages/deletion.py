"""Deleting a document: the question first, then the deed."""

from __future__ import annotations

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from jobs.errors import IllegalTransition
from jobs.model import OPEN_STATUSES
from webapp.access import current_user, owner_filter
from webapp.pages import blueprint
from webapp.services import services


@blueprint.get("/documents/<document_id>/delete")
def confirm_delete(document_id: str) -> ResponseReturnValue:
    """Ask before a document is deleted, and say what goes with it."""
    found = services().queries.document(document_id, owner=owner_filter())
    items = services().queries.items_of(found.id)
    return render_template(
        "confirm_delete.html",
        document=found,
        jobs=len(items),
        children=services().queries.count_children(found.id),
        is_open=any(item.status in OPEN_STATUSES for item in items),
        grace_hours=services().settings.bytes_grace_hours,
    )


@blueprint.post("/documents/<document_id>/delete")
def delete_document(document_id: str) -> ResponseReturnValue:
    """Delete a document with its jobs and results."""
    found = services().queries.document(document_id, owner=owner_filter())
    try:
        services().delete_document(found.id, current_user().name)
    except IllegalTransition as error:
        flash(error.public_message, "error")
        return redirect(url_for("pages.document", document_id=found.id), 303)
    flash("The document was deleted.")
    return redirect(url_for("pages.documents"), 303)
