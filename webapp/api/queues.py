"""Queues: what waits and runs in each, pause and resume."""

from __future__ import annotations

from flask import jsonify, url_for
from flask.typing import ResponseReturnValue

from jobs.model import JSON
from jobs.queue_overview import QueueOverview
from webapp.access import admin_only
from webapp.api import blueprint
from webapp.bodies import known_queue, members, reason_of
from webapp.repairs import pause_queue, resume_queue
from webapp.services import services


@blueprint.get("/queues")
def queues() -> ResponseReturnValue:
    """Show every queue; counts and the pause's reason only, so that everybody may know why they wait."""
    rows: list[JSON] = [_queue_json(one) for one in services().queue_overview()]
    return jsonify({"queues": rows})


@blueprint.post("/queues/<queue_name>/pause")
@admin_only
def queue_pause(queue_name: str) -> ResponseReturnValue:
    """Let nothing of a queue be started any more; what runs goes on. The reason is required."""
    name = known_queue(queue_name)
    pause_queue(name, reason_of(members("reason"), required=True))
    return _one(name)


@blueprint.post("/queues/<queue_name>/resume")
@admin_only
def queue_resume(queue_name: str) -> ResponseReturnValue:
    """Let a queue go on, at once."""
    name = known_queue(queue_name)
    members()
    resume_queue(name)
    return _one(name)


def _one(name: str) -> ResponseReturnValue:
    return jsonify(next(_queue_json(one) for one in services().queue_overview() if one.state.name == name))


def _queue_json(one: QueueOverview) -> dict[str, JSON]:
    name = one.state.name
    return {
        **one.to_json(),
        "links": {
            "pause": url_for("api.queue_pause", queue_name=name),
            "resume": url_for("api.queue_resume", queue_name=name),
        },
    }
