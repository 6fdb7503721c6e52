"""One id and one log line for each request, and its figures for Prometheus."""

from __future__ import annotations

import secrets
import time

import structlog
from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram

log = structlog.get_logger()

_QUIET = frozenset({"probes.healthz", "probes.readyz", "probes.metrics", "static", "rq_dashboard.static"})


class RequestFigures:
    """How many requests each route has answered, and how long that took.

    Args:
        registry: where the figures are collected from.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(
            "docqueue_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "docqueue_http_request_seconds", "Time to the answer's headers.", ("route",), registry=registry
        )

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


def begin() -> None:
    """Give the request an id that its log lines, its answer and its error page carry."""
    g.request_id = secrets.token_hex(8)
    g.began = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def end(response: Response) -> Response:
    """Write the request's one line; never a name, a query string or a body."""
    seconds = time.perf_counter() - g.began
    route = "none" if request.url_rule is None else request.url_rule.rule
    response.headers["X-Request-Id"] = g.request_id
    identity = g.get("identity")
    write = log.debug if request.endpoint in _QUIET else log.info
    write(
        "request",
        method=request.method,
        route=route,
        status=response.status_code,
        duration_ms=round(seconds * 1000, 1),
        user_id=None if identity is None else identity.user.id,
    )
    figures: RequestFigures = g.figures
    method = (
        request.method if request.method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} else "other"
    )
    figures.add(method, route, response.status_code, seconds)
    return response


def install(app: Flask, registry: CollectorRegistry) -> None:
    """Register the hooks; the log line is written last, because these hooks run in reverse."""
    figures = RequestFigures(registry)

    def with_figures() -> None:
        g.figures = figures
        begin()

    app.before_request(with_figures)
    app.after_request(end)
