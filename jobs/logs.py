"""Structured logging: static event names, data in keywords, ids instead of objects, no content.

Use ``structlog.get_logger()``; bind ``request_id``, or ``item_id``, ``attempt`` and ``worker``, once
per unit of work. Never log a file name, document text or a secret.
"""

from __future__ import annotations

import logging
import sys

import structlog

from jobs.settings import Settings


def configure(settings: Settings) -> None:
    """Send every log line of this process, the standard library's included, through one formatter.

    Args:
        settings: ``log_level`` and ``log_format``; ``auto`` is console on a terminal, JSON otherwise.
    """
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These print a job's description, every request or every poll at INFO; ours is one line per attempt.
    for noisy in ("rq.worker", "rq_scheduler.scheduler", "alembic", "httpx2", "openai", "werkzeug"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
