"""The queue as its operator sees it: what runs, what waits and why, what failed, and the repairs."""

from __future__ import annotations

import structlog
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from jobs.model import Status
from webapp.access import current_user
from webapp.listing import ListArguments
from webapp.services import services

RETRIES_AT_ONCE = 1000
DEFAULT_DAYS = 30
_LONGEST_DAYS = 36_500

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
log = structlog.get_logger()


@blueprint.get("/queue")
def queue() -> ResponseReturnValue:
    """Show counts, workers and the list of items."""
    arguments = ListArguments.from_request()
    chosen = request.args.get("status", "")
    status = chosen if chosen in set(Status) else None
    page = services().queries.items(
        status=status, text=arguments.text, before=arguments.cursor, limit=arguments.limit
    )
    failed = [row.item.id for row in page.rows if row.item.status is Status.FAILED]
    return render_template(
        "queue.html",
        page=page,
        chosen=status or "",
        text=arguments.text or "",
        first_page=arguments.cursor is None,
        stats=services().service.get_queue_stats(),
        workers=services().queries.workers(),
        attempts={item_id: services().queries.attempts(item_id) for item_id in failed},
        redis_up=services().delivery.ping(),
        days=DEFAULT_DAYS,
    )


@blueprint.get("/queue/retry-failed")
def confirm_retry_failed() -> ResponseReturnValue:
    """Ask before every failed item is retried, and say how many that is."""
    count = services().service.get_queue_stats()["failed"] or 0
    return render_template("confirm_retry.html", count=count, at_once=RETRIES_AT_ONCE)


@blueprint.post("/queue/retry-failed")
def retry_failed() -> ResponseReturnValue:
    """Retry every failed item, the newest thousand at once."""
    items = services().service.retry_all_failed(current_user().name, RETRIES_AT_ONCE)
    services().intake.announce(items)
    flash(f"{len(items)} failed {'job is' if len(items) == 1 else 'jobs are'} waiting again.")
    return redirect(url_for("admin.queue"), 303)


@blueprint.get("/queue/clear")
def confirm_clear() -> ResponseReturnValue:
    """Ask before ended items are cleared, and say how many and what goes with them."""
    days = _days(request.args.get("days"))
    return render_template("confirm_clear.html", days=days, count=services().service.count_clearable(days))


@blueprint.post("/queue/clear")
def clear() -> ResponseReturnValue:
    """Delete items that ended long ago."""
    days = _days(request.form.get("days"))
    cleared = services().service.clear_ended(days, current_user().name)
    log.info("queue_cleared", older_than_days=days, cleared=cleared, user_id=current_user().id)
    flash(f"{cleared} ended {'job was' if cleared == 1 else 'jobs were'} cleared.")
    return redirect(url_for("admin.queue"), 303)


def _days(raw: str | None) -> float:
    """Read an age in days, 30 when none is given.

    Raises:
        BadRequest: it is not a number from 0 to 36,500.
    """
    try:
        days = float(raw) if raw else float(DEFAULT_DAYS)
    except ValueError:
        days = -1.0
    if not 0 <= days <= _LONGEST_DAYS:
        raise BadRequest("The age is a number of days from 0 to 36,500.")
    return days
