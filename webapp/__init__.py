"""HTTP: pages, API, live streams and probes. No SQL, no RQ.

The parts, each a blueprint independent of the others::

    pages   what people see             api     what programs call
    admin   the queue's operation       live    server-sent events and WebSocket
    probes  health, metrics, cron       dashboard   rq-dashboard, made safe

They share :mod:`webapp.access` (who may), :mod:`webapp.security` (limits, CSRF, headers),
:mod:`webapp.problems` (errors), :mod:`webapp.presenters` and :mod:`webapp.wording`.
"""

from __future__ import annotations

from flask import Flask
from prometheus_client import CollectorRegistry
from werkzeug.middleware.proxy_fix import ProxyFix

from jobs import database, logs
from jobs.settings import Settings, load_or_create_secret_key, load_settings, prepare_data_dir
from webapp import (
    access,
    admin,
    api,
    context,
    dashboard,
    live,
    pages,
    probes,
    problems,
    request_log,
    security,
)
from webapp.services import make_services
from webapp.uploads import UploadRequest, discard_spools


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application.

    Args:
        settings: what to run with; ``None`` reads the environment and configures logging too, as a
            process of its own needs it.

    Raises:
        ConfigurationError: a setting is wrong, or the database or data folder cannot be used.
    """
    if settings is None:
        settings = load_settings()
        logs.configure(settings)
    prepare_data_dir(settings)
    database.upgrade(settings)
    app = Flask(__name__)
    app.request_class = UploadRequest
    _configure(app, settings)
    composed = make_services(settings)
    app.extensions["docqueue"] = composed
    registry = CollectorRegistry()
    registry.register(probes.QueueCollector(composed))
    app.extensions["docqueue_registry"] = registry
    request_log.install(app, registry)
    app.before_request(access.guard)
    security.install(app)
    app.teardown_request(discard_spools)
    problems.install(app)
    context.install(app)
    live.install(app, registry)
    for part in (pages, api, admin, live, probes):
        app.register_blueprint(part.blueprint)
    dashboard.install(app)
    return app


def _configure(app: Flask, settings: Settings) -> None:
    app.config.update(
        SECRET_KEY=load_or_create_secret_key(settings),
        # Flask's own signed cookie carries the CSRF secret and flash messages, never who is signed in.
        SESSION_COOKIE_NAME="__Host-docqueue-form" if settings.secure_cookies else "docqueue-form",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        # The origin is checked by webapp.security; our own no-referrer policy leaves no Referer to check.
        WTF_CSRF_SSL_STRICT=False,
        TEMPLATES_AUTO_RELOAD=False,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
