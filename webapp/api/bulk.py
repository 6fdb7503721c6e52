"""Bulk operations: a dry run, the start, the progress, the stop."""

from __future__ import annotations

from flask import jsonify, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from jobs.bulk import BulkOperation, Preview
from jobs.model import JSON
from webapp.access import owner_filter
from webapp.api import blueprint
from webapp.bodies import members
from webapp.listing import ListArguments
from webapp.repairs import start_bulk, stop_bulk
from webapp.services import services


@blueprint.post("/bulk-operations")
def start_bulk_operation() -> ResponseReturnValue:
    """Count what a bulk operation would meet, or start it.

    An admin reaches every job, a member those of their own documents.
    """
    if not request.is_json:
        raise BadRequest("Send a JSON object with kind and filter.")
    said = members("kind", "filter", "arguments", "reason", "dry_run")
    dry_run = said.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise BadRequest("dry_run is true or false.")
    kind, chosen, arguments = said.get("kind"), said.get("filter"), said.get("arguments")
    if dry_run:
        return jsonify(_preview_json(services().bulk.preview(kind, chosen, arguments, owner_filter())))
    operation = start_bulk(kind, chosen, arguments, said.get("reason"), owner_filter())
    headers = {"Location": url_for("api.bulk_operation", operation_id=operation.id), "Retry-After": "1"}
    return jsonify(operation_json(operation)), 202, headers


@blueprint.get("/bulk-operations")
def bulk_operations() -> ResponseReturnValue:
    """List the newest bulk operations: all of them for an admin, their own for a member."""
    limit = ListArguments.from_request().limit
    rows: list[JSON] = [operation_json(one) for one in services().bulk.list(limit, owner_filter())]
    return jsonify({"bulk_operations": rows})


@blueprint.get("/bulk-operations/<operation_id>")
def bulk_operation(operation_id: str) -> ResponseReturnValue:
    """Show how far a bulk operation is; ``Retry-After`` while it runs."""
    operation = services().bulk.get(operation_id, owner_filter())
    response = jsonify(operation_json(operation))
    if operation.is_running:
        response.headers["Retry-After"] = "1"
    return response


@blueprint.post("/bulk-operations/<operation_id>/cancel")
def bulk_operation_cancel(operation_id: str) -> ResponseReturnValue:
    """Stop a bulk operation; what it has changed stays changed."""
    return jsonify(operation_json(stop_bulk(operation_id, owner_filter())))


def operation_json(operation: BulkOperation) -> dict[str, JSON]:
    """Present a bulk operation."""
    return {
        "id": operation.id,
        "kind": operation.kind.value,
        "filter": operation.filter,
        "arguments": operation.arguments,
        "reason": operation.reason,
        "requested_by": operation.requested_by,
        "state": operation.state,
        "matching": operation.matching,
        "done": operation.done,
        "skipped": operation.skipped,
        "percent": operation.percent,
        "created_at": operation.created_at.isoformat(),
        "updated_at": operation.updated_at.isoformat(),
        "finished_at": None if operation.finished_at is None else operation.finished_at.isoformat(),
        "links": {
            "self": url_for("api.bulk_operation", operation_id=operation.id),
            "cancel": url_for("api.bulk_operation_cancel", operation_id=operation.id),
        },
    }


def _preview_json(preview: Preview) -> dict[str, JSON]:
    return {
        "matching": preview.matching,
        "eligible": preview.eligible,
        "excluded": [{"reason": reason, "count": count} for reason, count in preview.excluded],
        "capped": preview.capped,
        "eligible_capped": preview.eligible_capped,
    }
