"""Why a job waits."""

from __future__ import annotations

from flask import jsonify
from flask.typing import ResponseReturnValue

from webapp.access import current_user, owner_filter
from webapp.api import blueprint
from webapp.services import services


@blueprint.get("/jobs/<item_id>/why")
def job_why(item_id: str) -> ResponseReturnValue:
    """Tell why a job waits: every reason, its place in line, the workers, the expected start.

    Of a running job it tells what holds it; the worker's name is for admins only.
    """
    item = services().queries.item(item_id, owner=owner_filter())
    return jsonify(services().waiting.explain(item).to_json(with_worker=current_user().is_admin))
