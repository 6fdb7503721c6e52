"""Bulk operations as pages: the dry run that asks, the start, the progress, the stop."""

from __future__ import annotations

import json

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from jobs.bulk import BulkKind
from jobs.errors import IllegalTransition
from jobs.model import JSON, Status
from webapp.admin import blueprint
from webapp.bodies import priority_of
from webapp.repairs import start_bulk, stop_bulk
from webapp.services import services
from webapp.wording import BULK_WORDS, bulk_scope


@blueprint.get("/queue/retry-failed")
def confirm_retry_failed() -> ResponseReturnValue:
    """Ask before every failed item is retried, and say how many that is."""
    return _dialog(BulkKind.RETRY, {"status": Status.FAILED.value}, {})


@blueprint.post("/bulk/preview")
def bulk_dialog() -> ResponseReturnValue:
    """Ask before the chosen items, or all that the list means, are changed; and count them."""
    chosen = _chosen()
    if not chosen:
        flash("Choose some jobs first, or all that match.", "error")
        return redirect(_list(), 303)
    kind = request.form.get("kind", "")
    if kind not in set(BulkKind):
        raise BadRequest(f"The kind is one of {', '.join(BulkKind)}.")
    return _dialog(BulkKind(kind), chosen, _arguments(kind))


@blueprint.post("/bulk")
def bulk_start() -> ResponseReturnValue:
    """Start what the dialog asked about, and show its progress."""
    try:
        chosen = json.loads(request.form.get("filter", ""))
    except ValueError:
        raise BadRequest("The filter cannot be read.") from None
    kind = request.form.get("kind", "")
    operation = start_bulk(kind, chosen, _arguments(kind), request.form.get("reason"), None)
    return redirect(url_for("admin.bulk_operation", operation_id=operation.id), 303)


@blueprint.get("/bulk/<operation_id>")
def bulk_operation(operation_id: str) -> ResponseReturnValue:
    """Show how far a bulk operation is."""
    operation = services().bulk.get(operation_id)
    return render_template(
        "bulk.html", operation=operation, words=BULK_WORDS[operation.kind], scope=bulk_scope(operation.filter)
    )


@blueprint.post("/bulk/<operation_id>/cancel")
def bulk_stop(operation_id: str) -> ResponseReturnValue:
    """Stop a bulk operation; what it has changed stays changed."""
    try:
        stop_bulk(operation_id, None)
    except IllegalTransition as error:
        flash(error.public_message)
    return redirect(url_for("admin.bulk_operation", operation_id=operation_id), 303)


def _dialog(kind: BulkKind, chosen: dict[str, JSON], arguments: dict[str, JSON]) -> str:
    return render_template(
        "bulk_dialog.html",
        kind=kind,
        words=BULK_WORDS[kind],
        filter=json.dumps(chosen),
        scope=bulk_scope(chosen),
        arguments=arguments,
        preview=services().bulk.preview(kind, chosen, arguments),
        back=_list(chosen),
    )


def _chosen() -> dict[str, JSON]:
    """Read which jobs are meant: the ticked rows, or every job that the list's filter means."""
    if request.form.get("scope") == "matching":
        named: dict[str, JSON] = {}
        if request.form.get("status"):
            named["status"] = request.form["status"]
        if request.form.get("q"):
            named["text"] = request.form["q"]
        return named or {"all": True}
    ids: list[JSON] = [*request.form.getlist("id")]
    return {"ids": ids} if ids else {}


def _arguments(kind: str) -> dict[str, JSON]:
    return {"priority": priority_of(request.form)} if kind == BulkKind.CHANGE_PRIORITY else {}


def _list(chosen: dict[str, JSON] | None = None) -> str:
    """Return where the list is that the jobs were chosen from."""
    status = request.form.get("status") or (chosen or {}).get("status")
    return url_for("admin.queue", status=status, q=request.form.get("q") or None)
