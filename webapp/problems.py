"""Errors as answers: ``application/problem+json`` (RFC 9457) for programs, a page for people."""

from __future__ import annotations

import json
from http import HTTPStatus

import structlog
from flask import Flask, Response, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from jobs.errors import (
    AlreadyQueued,
    DeliveryError,
    DocQueueError,
    DocumentNotFound,
    DuplicateDocument,
    EmptyUpload,
    IllegalTransition,
    ItemNotFound,
    KeyInFlight,
    KeyReused,
    StorageFull,
    UploadTooLarge,
)
from jobs.model import JSON
from webapp.access import is_for_programs

log = structlog.get_logger()

_STATUS_OF: tuple[tuple[type[DocQueueError], HTTPStatus], ...] = (
    (EmptyUpload, HTTPStatus.BAD_REQUEST),
    (UploadTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (StorageFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (DuplicateDocument, HTTPStatus.CONFLICT),
    (KeyInFlight, HTTPStatus.CONFLICT),
    (KeyReused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (DocumentNotFound, HTTPStatus.NOT_FOUND),
    (ItemNotFound, HTTPStatus.NOT_FOUND),
    (AlreadyQueued, HTTPStatus.CONFLICT),
    (IllegalTransition, HTTPStatus.CONFLICT),
    (DeliveryError, HTTPStatus.SERVICE_UNAVAILABLE),
)
# An answer is made in less than a second, as a rule; everything else takes somebody's repair.
_RETRY_AFTER = {KeyInFlight.code: "1"}
_KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Content-Range", "Location")
_SENTENCES = {
    400: "The request could not be understood.",
    403: "You may not see or do this.",
    404: "There is nothing here, or it is not yours.",
    405: "This address does not take that kind of request.",
    413: "That is more than this address takes.",
    500: "Something went wrong on our side. Nothing that was accepted is lost.",
    503: "This cannot be answered at the moment. Accepted documents are safe; try again shortly.",
}


class Problem(HTTPException):
    """An error with members of its own.

    Args:
        status: the HTTP status.
        detail: one sentence for people.
        code: machine-readable cause, snake_case.
        members: further members of the problem object.
        headers: further headers.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str,
        members: dict[str, JSON] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = status
        self.problem_code = code
        self.members = members or {}
        self.extra_headers = headers or {}


def status_of(error: DocQueueError) -> HTTPStatus:
    """Return the HTTP status that tells of one of our own errors."""
    for kind, status in _STATUS_OF:
        if isinstance(error, kind):
            return status
    return HTTPStatus.BAD_REQUEST


def problem_response(status: int, detail: str, code: str, members: dict[str, JSON] | None = None) -> Response:
    """Make a problem object's answer.

    Args:
        status: the HTTP status.
        detail: one sentence for people.
        code: machine-readable cause, snake_case.
        members: further members.
    """
    body: dict[str, JSON] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": g.get("request_id"),
        **(members or {}),
    }
    return Response(json.dumps(body, ensure_ascii=False), status, mimetype="application/problem+json")


def answer(status: int, detail: str, code: str, members: dict[str, JSON] | None = None) -> Response:
    """Answer with a problem object or a page, whichever the route's readers understand."""
    if is_for_programs():
        return problem_response(status, detail, code, members)
    page = render_template(
        "error.html", status=status, title=HTTPStatus(status).phrase, detail=detail, members=members or {}
    )
    return Response(page, status, mimetype="text/html")


def install(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(HTTPException, _handle_http)
    app.register_error_handler(DocQueueError, _handle_own)
    app.register_error_handler(Exception, _handle_unforeseen)


def _handle_http(error: HTTPException) -> ResponseReturnValue:
    given = error.get_response()
    status = given.status_code
    if status < 400:
        return given  # a redirect that routing raised
    code, members, headers = _snake(HTTPStatus(status).phrase), None, {}
    detail = _SENTENCES.get(status) or str(error.description or HTTPStatus(status).phrase)
    if isinstance(error, Problem):
        code, members, headers = error.problem_code, error.members, error.extra_headers
        detail = str(error.description)
    elif type(error).description != error.description and error.description:
        detail = str(error.description)
    made = answer(status, detail, code, members)
    for name in _KEPT_HEADERS:
        if name in given.headers:
            made.headers[name] = given.headers[name]
    if status == HTTPStatus.UNAUTHORIZED:
        made.headers["WWW-Authenticate"] = 'Bearer realm="docqueue"'
    made.headers.update(headers)
    return made


def _handle_own(error: DocQueueError) -> ResponseReturnValue:
    members: dict[str, JSON] = {}
    if isinstance(error, AlreadyQueued):
        members["job_id"] = error.item_id
    if isinstance(error, DuplicateDocument):
        members["document_id"] = error.document_id
        members["links"] = {"document": url_for("api.document", document_id=error.document_id)}
    made = answer(status_of(error), error.public_message, error.code, members)
    if error.retryable:
        made.headers["Retry-After"] = _RETRY_AFTER.get(error.code, "30")
    return made


def _handle_unforeseen(error: Exception) -> ResponseReturnValue:
    outage = _is_database_outage(error)
    log.error("request_failed", route=str(request.url_rule), outage=outage, exc_info=error)
    if outage:
        # The error page would ask the database who is signed in, and fail in its turn.
        g.setdefault("identity", None)
    status = 503 if outage else 500
    made = answer(status, _SENTENCES[status], "database_unavailable" if outage else "internal_error")
    if outage:
        made.headers["Retry-After"] = "5"
    return made


def _is_database_outage(error: Exception) -> bool:
    """Tell an unreachable or overloaded database from a mistake of ours, without knowing the SQL library."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return type(error).__module__.startswith("sqlalchemy.") and bool(
        names & {"OperationalError", "TimeoutError"}
    )


def _snake(phrase: str) -> str:
    return phrase.lower().replace(" ", "_").replace("-", "_").replace("'", "")
