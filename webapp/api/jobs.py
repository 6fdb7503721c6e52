"""Jobs: watch, retry and cancel them; and the queue's figures."""

from __future__ import annotations

from flask import Response, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from jobs.model import JSON, QueueItem, Status
from webapp.access import current_user, owner_filter
from webapp.again import order_with_password
from webapp.api import blueprint
from webapp.api.answers import queued_again
from webapp.bodies import members, priority_of, reason_of
from webapp.idempotency import idempotent, respond
from webapp.listing import ListArguments, parse_after
from webapp.presenters import (
    attempt_json,
    event_json,
    item_row_json,
    job_json,
    reasons_of,
    retry_after,
    waiting_of,
)
from webapp.services import services

EVENTS_AT_ONCE = 500


@blueprint.get("/jobs")
def jobs() -> ResponseReturnValue:
    """List jobs, newest first."""
    arguments = ListArguments.from_request()
    status = request.args.get("status") or None
    if status is not None and status not in set(Status):
        raise BadRequest(f"The status is one of {', '.join(Status)}.")
    page = services().queries.items(
        owner=owner_filter(),
        status=status,
        text=arguments.text,
        before=arguments.cursor,
        limit=arguments.limit,
    )
    now = services().queries.now()
    reasons = reasons_of(page.rows)
    rows: list[JSON] = [item_row_json(row, now, reasons) for row in page.rows]
    return jsonify({"jobs": rows, **arguments.next_link("api.jobs", page)})


@blueprint.get("/jobs/<item_id>")
def job(item_id: str) -> ResponseReturnValue:
    """Show a job; ``Retry-After`` while it is open, an entity tag for cheap polling."""
    item = _item(item_id)
    response = jsonify(job_json(item, services().queries.now(), waiting_of(item)))
    again = retry_after(item)
    if again is not None:
        response.headers["Retry-After"] = again
    response.add_etag()
    return response.make_conditional(request)


@blueprint.post("/jobs/<item_id>/retry")
def job_retry(item_id: str) -> ResponseReturnValue:
    """Put a failed or cancelled job back; a reason may be given."""
    item = services().service.retry(_item(item_id).id, current_user().name, reason_of(members("reason")))
    services().intake.announce([item])
    return _accepted(item)


@blueprint.post("/jobs/<item_id>/cancel")
def job_cancel(item_id: str) -> ResponseReturnValue:
    """Cancel a job: at once while it waits, at its next step while it runs; a reason may be given."""
    item = _item(item_id)
    return _accepted(services().service.cancel(item.id, current_user().name, reason_of(members("reason"))))


@blueprint.post("/jobs/<item_id>/password")
@idempotent
def job_password(item_id: str) -> ResponseReturnValue:
    """Try once more, with a password, what a job could not do; answers with the new job."""
    item = _item(item_id)
    order = order_with_password(item, members("password"))
    return respond(queued_again(item.document_id, order, fresh=False))


@blueprint.patch("/jobs/<item_id>")
def job_change(item_id: str) -> ResponseReturnValue:
    """Change the priority of a waiting job; a reason may be given."""
    item = _item(item_id)
    said = members("priority", "reason")
    item = services().service.change_priority(
        item.id, priority_of(said), current_user().name, reason_of(said)
    )
    return jsonify(job_json(item, services().queries.now(), waiting_of(item)))


@blueprint.get("/jobs/<item_id>/events")
def job_events(item_id: str) -> ResponseReturnValue:
    """Return a job's events after the last one seen; ``last_seq`` is what to ask with next."""
    item = _item(item_id)
    after = parse_after()
    found = services().queries.events(item.id, after=after, limit=EVENTS_AT_ONCE)
    events: list[JSON] = [event_json(event) for event in found]
    last = found[-1].seq if found else after
    return jsonify({"events": events, "last_seq": last, "more": len(found) == EVENTS_AT_ONCE})


@blueprint.get("/jobs/<item_id>/attempts")
def job_attempts(item_id: str) -> ResponseReturnValue:
    """Return a job's attempts, newest first; tracebacks for admins only."""
    item = _item(item_id)
    shown: list[JSON] = [
        attempt_json(attempt, with_traceback=current_user().is_admin)
        for attempt in services().queries.attempts(item.id)
    ]
    return jsonify({"attempts": shown})


@blueprint.get("/queue/stats")
def queue_stats() -> ResponseReturnValue:
    """Return the queue's figures; counts only, so that every user may see how busy it is."""
    return jsonify(services().service.get_queue_stats())


def _item(item_id: str) -> QueueItem:
    return services().queries.item(item_id, owner=owner_filter())


def _accepted(item: QueueItem) -> tuple[Response, int, dict[str, str]]:
    now = services().queries.now()
    headers = {"Location": url_for("api.job", item_id=item.id)}
    return jsonify(job_json(item, now, waiting_of(item))), 202, headers
