"""What RQ calls, and what a cron line may call. Arguments are ids only.

``process_document`` and ``sweep`` are the two functions that :data:`jobs.delivery.ALLOWED` lets a
message name. ``process_document_queue`` needs no Redis at all.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import sqlalchemy as sa
import structlog
from rq import get_current_job
from rq.timeouts import BaseTimeoutException, JobTimeoutException, get_default_death_penalty_class

from jobs import sweep as sweeping
from jobs.database import make_engine
from jobs.delivery import Delivery, web_connection
from jobs.errors import DeliveryError
from jobs.model import JSON, QueueItem, Status
from jobs.queue_service import DocumentQueueService
from jobs.runner import Runner
from jobs.settings import Settings, load_settings

log = structlog.get_logger()


def process_document(document_id: str, item_id: str) -> None:
    """Work the best item of the line off; the body of an RQ job.

    Args:
        document_id: the document, for people who look at RQ; the database decides.
        item_id: the queue item that the bell was rung for.
    """
    del document_id
    settings = _settings()
    with _engine(settings) as engine:
        job = get_current_job()
        worker = (job.worker_name if job is not None else None) or _process_name()
        queue = job.origin if job is not None and job.origin in settings.queue_names else settings.queue_name
        service = DocumentQueueService(engine, settings)
        service.worker_seen(worker, socket.gethostname(), _worker_pid(), "busy", queue)
        runner = Runner(
            engine, settings, worker, timeout_errors=(BaseTimeoutException,), time_limit=time_limit
        )
        item = runner.run_next(queue, item_id)
        if item is not None and item.status is Status.PENDING:
            _ring_again(settings, item)
        if item is not None and settings.max_running_per_owner:
            _ring_for_next(settings, service, queue)


def sweep() -> None:
    """Sweep once; the body of the periodic RQ job."""
    settings = _settings()
    with _engine(settings) as engine:
        sweeping.run(settings, engine, Delivery(web_connection(settings), settings))


def process_document_queue(limit: int = 100) -> dict[str, JSON]:
    """Take due items from the database, best first, and work them off in this process.

    It has its own database session and needs no Redis, so a cron line alone can run the service.

    Args:
        limit: at most this many items.

    Returns:
        ``processed, completed, failed, retried, cancelled, rescued``: how many of each.
    """
    settings = _settings()
    with _engine(settings) as engine:
        return Runner(engine, settings, _process_name()).process_queue(limit).to_json()


def _ring_again(settings: Settings, item: QueueItem) -> None:
    """Hand the next try to rq-scheduler; if Redis is away the sweep keeps the promise."""
    try:
        Delivery(web_connection(settings), settings).announce_later(item)
    except DeliveryError:
        log.warning("retry_not_scheduled", item_id=item.id)


def _ring_for_next(settings: Settings, service: DocumentQueueService, queue: str) -> None:
    """Ring for what could not be claimed while its owner was busy: those bells are used up."""
    try:
        Delivery(web_connection(settings), settings).announce(service.due_to_announce(queue, 1))
    except DeliveryError:
        log.warning("next_not_announced", queue=queue)


@functools.cache
def _settings() -> Settings:
    return load_settings()


@contextlib.contextmanager
def _engine(settings: Settings) -> Iterator[sa.Engine]:
    """An engine of this process's own: a connection carried across RQ's fork would be shared."""
    engine = make_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def _worker_pid() -> int:
    # RQ puts a work horse into a process group of its own; what has none is a worker that does not fork.
    return os.getppid() if os.getpgrp() == os.getpid() else os.getpid()


def time_limit(seconds: int) -> AbstractContextManager[object]:
    """RQ's own alarm, with the limit of the item that was claimed instead of the bell's."""
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return get_default_death_penalty_class()(seconds, JobTimeoutException)


def _process_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
