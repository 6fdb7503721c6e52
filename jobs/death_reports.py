"""What a worker, or the pool of workers, tells the database about a death."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import structlog
from rq.exceptions import StopRequested

from jobs import database
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings

log = structlog.get_logger()


@contextlib.contextmanager
def lend_service(settings: Settings) -> Iterator[DocumentQueueService]:
    """Lend the queue service for one call; its connection is closed before any fork.

    Trouble with the database is logged only: the lease brings back what could not be reported.
    """
    engine = database.make_engine(settings, pooled=False)
    try:
        yield DocumentQueueService(engine, settings)
    except StopRequested:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the worker must go on
        log.warning("report_failed", error=repr(error)[:300])
    finally:
        engine.dispose()


def new_worker_name() -> str:
    """Return ``<host>-<pool's pid>-<random>``, short enough for its column."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{os.urandom(4).hex()}"


def report_dead_worker(settings: Settings, name: str, reason: str) -> None:
    """Give back what a worker held that can no longer do so itself.

    Args:
        settings: which database.
        name: the dead worker.
        reason: how it ended, for people.
    """
    with lend_service(settings) as service:
        for item in service.report_horse_death(name, reason):
            log.warning("worker_died_holding", worker=name, item_id=item.id, reason=reason)
        service.worker_gone(name)
