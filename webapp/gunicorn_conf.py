"""Gunicorn's settings, from ours: one process, many threads, nothing trusted from headers.

One process is enough, because a document's work is done by the workers; threads carry the uploads
and the live streams. More web processes on more machines may share the database.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from jobs import database, logs
from jobs.errors import ConfigurationError
from jobs.parent_death import die_with_parent
from jobs.settings import Settings, load_settings


def bind_address(settings: Settings, environ: Mapping[str, str]) -> str:
    """Say where to listen.

    An explicit HOST wins. Otherwise only this machine can connect, unless a hosting platform runs
    us, which is told by its PORT together with a PostgreSQL database: its router comes from outside.

    Args:
        settings: host, port and database.
        environ: the variables the settings were read from.

    Returns:
        ``address:port``, with an IPv6 address in brackets.
    """
    on_platform = bool(environ.get("PORT", "").strip()) and not settings.uses_sqlite
    explicit = bool(environ.get("HOST", "").strip())
    host = "0.0.0.0" if on_platform and not explicit else settings.host  # noqa: S104  # a platform's router
    return f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"


def on_starting(server: Any) -> None:
    """Bring the schema up to date, once, before any web process is forked."""
    del server
    logs.configure(_settings)
    try:
        database.upgrade(_settings)
    except ConfigurationError as error:
        sys.exit(f"docqueue: {error}")


def post_fork(server: Any, worker: Any) -> None:
    """Let no web process outlive its master: it would hold the port that the next master needs.

    And let its threads take turns quickly.
    """
    del worker
    die_with_parent(signal.SIGKILL, server.pid)
    # A thread that comes back from the disk or the database waits so long for one that computes; Python's
    # 5 ms would be added to each of a dozen answers that an upload waits for.
    sys.setswitchinterval(0.0005)


try:
    _settings = load_settings()
except ConfigurationError as _error:
    sys.exit(f"docqueue: {_error}")

bind = bind_address(_settings, os.environ)
worker_class = "gthread"
workers = 1
threads = _settings.web_threads
# Each worker makes its own database and Redis connections; none may cross a fork.
preload_app = False
timeout = 60
# Live streams end at once when asked to; uploads under way get this long. It must fit into the
# ten seconds in which `make run` promises to stop.
graceful_timeout = 6
keepalive = 5
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
# The application reads X-Forwarded-* itself, and only from as many proxies as TRUSTED_PROXIES says.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
# The application logs one line per request.
accesslog = None
errorlog = "-"
# A heartbeat file on a disk that stalls would get a healthy worker killed.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # memory, not a shared folder's file
control_socket_disable = True
proc_name = "docqueue-web"
