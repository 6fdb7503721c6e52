"""rq-dashboard under ``/rq``, for admins, to look and not to touch.

The database is the truth, so every button of the dashboard that changes Redis would lie; they are refused.
Nothing it reads is unpickled, what it shows is escaped, and none of its errors is a 500.
"""

from __future__ import annotations

import json
from typing import Any

import redis
import rq_dashboard
import rq_dashboard.web as dashboard_web
from flask import Flask, Response, current_app, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from jobs.delivery import DocumentJob
from webapp.problems import problem_response

PREFIX = "/rq"
# Where the dashboard changes something; one of them even by GET.
CHANGING_ENDPOINTS = frozenset(
    f"rq_dashboard.{name}"
    for name in ("delete_job_view", "requeue_job_view", "requeue_all", "empty_queue", "compact_queue")
)
_STATUS_OF_ERROR = {"NoSuchJobError": 404, "LookupError": 404, "InvalidJobOperation": 409}
_SENTENCES = {
    404: "Redis knows nothing of this (any more). The queue page shows what the database knows.",
    409: "This is not possible in the present state.",
    422: "The dashboard cannot show this entry.",
    503: "Redis unreachable: new jobs are accepted and start when it is back.",
}


class JsonSerializer:
    """Reads what Redis holds as JSON; never unpickles."""

    @staticmethod
    def dumps(value: object) -> bytes:
        """Encode."""
        return json.dumps(value).encode()

    @staticmethod
    def loads(raw: bytes) -> object:
        """Decode."""
        return json.loads(raw)


class SafeWorkers:
    """Stands in for RQ's worker class in the dashboard, so that a worker's job is read as JSON too."""

    def __init__(self, worker_class: Any) -> None:
        self._worker_class = worker_class

    def all(self, connection: redis.Redis) -> list[Any]:
        """List the workers that Redis knows of."""
        found: list[Any] = self._worker_class.all(
            connection=connection, job_class=DocumentJob, serializer=JsonSerializer
        )
        return found


def install(app: Flask) -> None:
    """Mount the dashboard."""
    if not isinstance(dashboard_web.Worker, SafeWorkers):
        dashboard_web.Worker = SafeWorkers(dashboard_web.Worker)
    dashboard_web.Job = DocumentJob
    dashboard_web.config.serializer = JsonSerializer
    # Its own connections have no time limit: a hung Redis would hold a web thread for a minute.
    dashboard_web.from_url = _connect
    services = app.extensions["docqueue"]
    app.redis_conn = services.delivery.connection  # type: ignore[attr-defined]  # where the dashboard looks
    app.config.update(
        RQ_DASHBOARD_REDIS_URL=(services.settings.redis_url,),
        RQ_DASHBOARD_DISABLE_DELETE=True,
        RQ_DASHBOARD_SHOW_FULL_ARGS=False,
        RQ_DASHBOARD_POLL_INTERVAL=5000,
    )
    app.before_request(_refuse_changes)
    _handle_errors()
    app.register_blueprint(rq_dashboard.blueprint, url_prefix=PREFIX)


def _connect(*_args: object, **_options: object) -> tuple[None, redis.Redis]:
    return None, current_app.extensions["docqueue"].delivery.connection


def _refuse_changes() -> None:
    if request.blueprint != "rq_dashboard":
        return
    if request.endpoint in CHANGING_ENDPOINTS or request.method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(["GET", "HEAD"], "The dashboard only looks. Use the queue page to repair.")


def _handle_errors() -> None:
    """Answer the dashboard's known accidents with what they mean; once for each process."""
    handlers = rq_dashboard.blueprint.error_handler_spec[None][None]
    if Exception not in handlers:
        handlers[Exception] = _answer


def _answer(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        status, detail = error.code or 500, str(error.description)
    else:
        status = _status_of(error)
        detail = _SENTENCES[status]
    if "/data/" in request.path:
        response = problem_response(status, detail, "dashboard")
    else:
        page = render_template("error.html", status=status, title="rq-dashboard", detail=detail, members={})
        response = Response(page, status, mimetype="text/html")
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = "GET, HEAD"
    return response


def _status_of(error: Exception) -> int:
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError):
        return 503
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((_STATUS_OF_ERROR[name] for name in names if name in _STATUS_OF_ERROR), 422)
