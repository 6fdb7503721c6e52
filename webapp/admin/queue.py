"""The queue page, pause and resume, and the clearing of what ended."""

from __future__ import annotations

import structlog
from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from jobs.model import Status
from webapp.access import current_user
from webapp.admin import blueprint
from webapp.bodies import known_queue, reason_of
from webapp.listing import ListArguments
from webapp.presenters import reasons_of
from webapp.repairs import pause_queue, resume_queue
from webapp.services import services
from webapp.wording import BULK_WORDS

DEFAULT_DAYS = 30
RECENT_OPERATIONS = 5
_LONGEST_DAYS = 36_500

log = structlog.get_logger()


@blueprint.get("/queue")
def queue() -> ResponseReturnValue:
    """Show queues, counts, workers and the list of items."""
    arguments = ListArguments.from_request()
    chosen = request.args.get("status", "")
    status = chosen if chosen in set(Status) else None
    page = services().queries.items(
        status=status, text=arguments.text, before=arguments.cursor, limit=arguments.limit
    )
    failed = [row.item.id for row in page.rows if row.item.status is Status.FAILED]
    stats = services().service.get_queue_stats()
    return render_template(
        "queue.html",
        page=page,
        reasons=reasons_of(page.rows),
        chosen=status or "",
        text=arguments.text or "",
        first_page=arguments.cursor is None,
        stats=stats,
        workers=services().queries.workers(),
        attempts={item_id: services().queries.attempts(item_id) for item_id in failed},
        redis_up=services().delivery.ping(),
        days=DEFAULT_DAYS,
        queues=services().queue_overview(),
        operations=services().bulk.list(RECENT_OPERATIONS),
        bulk_words=BULK_WORDS,
        matching=_matching(stats, status, arguments.text),
    )


@blueprint.post("/queues/<queue_name>/pause")
def pause(queue_name: str) -> ResponseReturnValue:
    """Let nothing of a queue be started any more, and say why."""
    name = known_queue(queue_name)
    pause_queue(name, reason_of(request.form, required=True))
    flash(f"Queue {name} is paused. What runs goes on; nothing else is started.")
    return redirect(url_for("admin.queue"), 303)


@blueprint.post("/queues/<queue_name>/resume")
def resume(queue_name: str) -> ResponseReturnValue:
    """Let a queue go on, at once."""
    name = known_queue(queue_name)
    resume_queue(name)
    flash(f"Queue {name} goes on.")
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


def _matching(stats: dict[str, int | float | None], status: str | None, text: str | None) -> int | None:
    """Return how many jobs the list means; ``None`` when that would have to be counted."""
    return None if text else int(stats[status or "total"] or 0)


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
