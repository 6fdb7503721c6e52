"""The feed of every event, for programs that keep up with all of their documents."""

from __future__ import annotations

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, Forbidden

from jobs.model import JSON
from webapp.access import current_user
from webapp.api import blueprint
from webapp.presenters import event_json
from webapp.services import services

DEFAULT_LIMIT, LARGEST_LIMIT = 200, 1000


@blueprint.get("/events")
def events() -> ResponseReturnValue:
    """Return the events after a cursor, in the order of their commits, each exactly once.

    Without a cursor the oldest that are kept come first; ``cursor=latest`` begins with what happens from
    now on. Ask again with ``next_cursor``: at once while ``more`` is true, after a moment when it is not.
    An admin gets everybody's with ``all=1``.
    """
    user = current_user()
    everybody = request.args.get("all", "").lower() in {"1", "true", "yes", "on"}
    if everybody and not user.is_admin:
        raise Forbidden("Only an admin may read everybody's events.")
    limit = _limit()
    try:
        found, next_cursor = services().feed.read(
            request.args.get("cursor"), owner=None if everybody else user.id, limit=limit
        )
    except ValueError as error:
        raise BadRequest(str(error)) from error
    shown: list[JSON] = [event_json(event) for event in found]
    return jsonify({"events": shown, "next_cursor": next_cursor, "more": len(found) == limit})


def _limit() -> int:
    raw = request.args.get("limit", str(DEFAULT_LIMIT))
    if not raw.isdecimal() or not 1 <= int(raw[:6]) <= LARGEST_LIMIT:
        raise BadRequest(f"The limit is a number from 1 to {LARGEST_LIMIT}.")
    return int(raw)
