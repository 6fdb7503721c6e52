"""One job, live: where it is, why it waits, what went wrong, what can be done."""

from __future__ import annotations

from dataclasses import dataclass

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from jobs.errors import AlreadyQueued, IllegalTransition
from jobs.model import ENDED_STATUSES, IMAGES_OPERATION, OPEN_STATUSES, Event, QueueItem, Status
from jobs.operations import OPERATIONS
from jobs.read_options import options_json
from jobs.states import label as label_of
from jobs.waiting import Reason
from webapp.access import current_user, owner_filter
from webapp.again import is_locked, order_with_password
from webapp.bodies import priority_of, reason_of
from webapp.pages import blueprint
from webapp.presenters import waiting_of
from webapp.services import services
from webapp.wording import REDIS_AWAY, STAGE_NAMES, option_words, prospect

EVENTS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One station of the stage rail.

    Attributes:
        state: ``done``, ``now``, ``failed``, ``stopped`` or ``ahead``.
    """

    name: str
    word: str
    state: str


@blueprint.get("/jobs/<item_id>")
def job(item_id: str) -> ResponseReturnValue:
    """Show a job and follow it."""
    item = services().queries.item(item_id, owner=owner_filter())
    now = services().queries.now()
    events = _latest_events(item)
    results = services().queries.results(item.document_id)
    waiting = waiting_of(item)
    reasons = [] if waiting is None else list(waiting.reasons)
    if item.status is Status.PENDING and not services().delivery.ping():
        reasons.insert(0, Reason("redis_away", REDIS_AWAY, {}))
    return render_template(
        "job.html",
        item=item,
        document=services().queries.document(item.document_id, owner=None),
        label=label_of(item, now),
        reasons=reasons,
        prospect=None if waiting is None else prospect(waiting, now),
        steps=steps(item),
        attempts=services().queries.attempts(item.id),
        events=[event for event in reversed(events) if event.kind != "progress"],
        last_seq=events[-1].seq if events else 0,
        is_open=item.status in OPEN_STATUSES,
        asks_password=is_locked(item),
        options=option_words(item.operation, options_json(item.options)),
        has_result=bool(results),
        failed_pages=results["extract"].body.get("failed_pages") if "extract" in results else None,
    )


@blueprint.post("/jobs/<item_id>/retry")
def retry(item_id: str) -> ResponseReturnValue:
    """Put a failed or cancelled job back."""
    item = services().queries.item(item_id, owner=owner_filter())
    reason = reason_of(request.form)
    try:
        services().intake.announce([services().service.retry(item.id, current_user().name, reason)])
    except AlreadyQueued as error:
        flash("This document is already in the queue for that; here is its job.")
        return redirect(url_for("pages.job", item_id=error.item_id), 303)
    except IllegalTransition as error:
        flash(error.public_message, "error")
    return _back(item)


@blueprint.post("/jobs/<item_id>/password")
def give_password(item_id: str) -> ResponseReturnValue:
    """Try once more, with a password, what a job could not do; show its new job, or the pages to be drawn."""
    item = services().queries.item(item_id, owner=owner_filter())
    order = order_with_password(item, request.form)
    try:
        made = services().intake.reprocess(item.document_id, order, fresh=False)
    except AlreadyQueued as error:
        flash("This document is already in the queue for that; here is its job.")
        return redirect(url_for("pages.job", item_id=error.item_id), 303)
    if order.operation == IMAGES_OPERATION:
        page = url_for("pages.document", document_id=item.document_id, page=order.first_page)
        return redirect(page, 303)
    return redirect(url_for("pages.job", item_id=made.id), 303)


@blueprint.post("/jobs/<item_id>/cancel")
def cancel(item_id: str) -> ResponseReturnValue:
    """Cancel a job: at once while it waits, at its next step while it runs."""
    item = services().queries.item(item_id, owner=owner_filter())
    try:
        services().service.cancel(item.id, current_user().name, reason_of(request.form))
    except IllegalTransition as error:
        flash(error.public_message, "error")
    return _back(item)


@blueprint.post("/jobs/<item_id>/priority")
def change_priority(item_id: str) -> ResponseReturnValue:
    """Move a waiting job in its line."""
    item = services().queries.item(item_id, owner=owner_filter())
    priority, reason = priority_of(request.form), reason_of(request.form)
    try:
        services().service.change_priority(item.id, priority, current_user().name, reason)
    except IllegalTransition as error:
        flash(error.public_message, "error")
    return _back(item)


def steps(item: QueueItem) -> list[Step]:
    """Return the stage rail: Stored, the operation's stages, Done, each with its state.

    Args:
        item: the item; its stage is the one that ran last.
    """
    names = OPERATIONS[item.operation].stages if item.operation in OPERATIONS else ()
    reached = names.index(item.stage) if item.stage in names else -1
    middle = [
        Step(name, STAGE_NAMES.get(name, name.capitalize()), _step_state(item, place, reached))
        for place, name in enumerate(names)
    ]
    end = "done" if item.status is Status.COMPLETED else "ahead"
    return [Step("stored", "Stored", "done"), *middle, Step("done", "Done", end)]


def _step_state(item: QueueItem, place: int, reached: int) -> str:
    if item.status is Status.COMPLETED or place < reached:
        return "done"
    if place > reached:
        return "ahead"
    if item.status is Status.IN_PROGRESS:
        return "now"
    if item.status is Status.FAILED:
        return "failed"
    return "stopped" if item.status in ENDED_STATUSES or item.error_code else "ahead"


def _latest_events(item: QueueItem) -> list[Event]:
    """Return the item's events; of a very long history the newest part."""
    found: list[Event] = []
    after = 0
    while batch := services().queries.events(item.id, after=after):
        found = [*found, *batch][-5 * EVENTS_SHOWN :]
        after = batch[-1].seq
    return found


def _back(item: QueueItem) -> ResponseReturnValue:
    """Return to the page that the button was on."""
    if request.form.get("from") == "queue" and current_user().is_admin:
        return redirect(url_for("admin.queue", status=request.form.get("status") or None), 303)
    return redirect(url_for("pages.job", item_id=item.id), 303)
