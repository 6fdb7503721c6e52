"""What every request and answer goes through: size limits, same-origin and CSRF checks, headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import Forbidden, LengthRequired

from webapp.access import current_identity
from webapp.services import services

P = ParamSpec("P")
R = TypeVar("R")

SMALL_BODY_BYTES = 64 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A file that somebody uploaded must never act as a page of ours.
FOREIGN_FILE_POLICY = "sandbox; default-src 'none'"
# rq-dashboard's own pages are built of inline scripts and eval; only its prefix gets this.
DASHBOARD_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# The endpoints that say themselves how long their answers may be kept.
_CACHED = frozenset({"static", "rq_dashboard.static", "api.page_image"})
_UPLOAD = "docqueue_upload"

csrf = CSRFProtect()


def accepts_files(view: Callable[P, R]) -> Callable[P, R]:
    """Let a route take whole files; every other route takes 64 KiB at most."""
    setattr(view, _UPLOAD, True)
    return view


def limit_body() -> None:
    """Set how much this request may send.

    Raises:
        LengthRequired: a body of unknown length goes to a route that takes small bodies only.
    """
    view = current_app.view_functions.get(request.endpoint or "")
    settings = services().settings
    if view is not None and getattr(view, _UPLOAD, False):
        # The limit for each file is kept by its spool, so that one large file does not refuse its neighbours.
        request.max_content_length = settings.max_upload_bytes * settings.max_files_per_upload + 1024 * 1024
        request.max_form_parts = settings.max_files_per_upload + 16
        return
    request.max_content_length = SMALL_BODY_BYTES
    if request.headers.get("Transfer-Encoding"):
        raise LengthRequired("Send this request with a Content-Length.")


def refuse_foreign_origins() -> None:
    """Refuse a request that another site's page made with the user's cookie.

    Browsers say where an unsafe request or a WebSocket comes from. ``Sec-Fetch-Site`` is asked first;
    ``Origin`` stands in where it is missing, except for the ``null`` that our own no-referrer policy
    makes of it. The CSRF token is checked in any case.

    Raises:
        Forbidden: the request comes from elsewhere.
    """
    upgrading = request.headers.get("Upgrade", "").lower() == "websocket"
    if request.method in SAFE_METHODS and not upgrading:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in {"same-origin", "none"}:
        raise Forbidden("This request came from another site.")
    origin = request.headers.get("Origin")
    if origin is None or (origin == "null" and not upgrading):
        return
    if urlsplit(origin).netloc.lower() != request.host.lower():
        raise Forbidden("This request came from another site.")


def check_csrf() -> None:
    """Check the CSRF token of whoever is known by a cookie; a browser never sends an API key by itself.

    Raises:
        CSRFError: the token is missing or wrong.
    """
    if request.method in SAFE_METHODS or request.endpoint is None:
        return
    identity = current_identity()
    if identity is not None and identity.by_key:
        return
    if request.blueprint == "probes":
        return
    csrf.protect()


def set_headers(response: Response) -> Response:
    """Put the security headers on an answer; what a view has set already stays."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _policy())
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    headers["X-Frame-Options"] = "DENY"
    if services().settings.secure_cookies:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint not in _CACHED or response.status_code not in {200, 304}:
        headers["Cache-Control"] = "no-store"
    return response


def _policy() -> str:
    return DASHBOARD_POLICY if request.blueprint == "rq_dashboard" else PAGE_POLICY


def install(app: Flask) -> None:
    """Register the checks, in the order in which they must run, and the headers."""
    csrf.init_app(app)
    app.before_request(limit_body)
    app.before_request(refuse_foreign_origins)
    app.before_request(check_csrf)
    app.after_request(set_headers)
