"""Deleting a document, with all that is known of it."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from webapp.access import current_user, owner_filter
from webapp.api import blueprint
from webapp.services import services


@blueprint.delete("/documents/<document_id>")
def delete_document(document_id: str) -> ResponseReturnValue:
    """Delete a document, its jobs and its results; 409 while one of its jobs is not over."""
    found = services().queries.document(document_id, owner=owner_filter())
    services().delete_document(found.id, current_user().name)
    return "", 204
