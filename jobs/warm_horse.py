"""The work horse that stays: forked once, it works many items off, watched by the worker that forked it.

What a document needs is loaded before the first one comes: the program, a connection, the engines. The worker
kills it when an item is overdue, and tells the database when it dies; it is replaced after some time anyway,
so that nothing can grow in it for ever.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis
import sqlalchemy as sa
import structlog
from rq.timeouts import JobTimeoutException

from jobs import extraction
from jobs.batch_runner import BatchRunner
from jobs.database import is_passing, make_engine
from jobs.delivery import Delivery, web_connection
from jobs.errors import DeliveryError
from jobs.horse_link import CLAIMED, IDLE, SETTLED, HorseLink
from jobs.model import Lease, QueueItem
from jobs.queue_service import DocumentQueueService
from jobs.runner import Runner
from jobs.settings import Settings
from jobs.tasks import time_limit

log = structlog.get_logger()

# How a horse tells its worker why it ended.
EXIT_RAISED, EXIT_TIMED_OUT, EXIT_DATABASE_AWAY = 70, 71, 72

# So long a horse waits for the engines at most before it takes its first item.
_LOADING_SECONDS = 10.0
_MOST_ITEMS = 100_000
_MOST_SECONDS = 3600.0
# It may grow by so much over what it had at its start.
_MOST_GROWTH_BYTES = 512 * 1024 * 1024


class WarmHorse:
    """The horse's side; also what :class:`jobs.batch_runner.BatchRunner` reports to.

    Args:
        settings: the validated settings.
        name: of the worker, as it stands in leases.
        queue: the queue whose line is worked off.
        link: to the worker.
    """

    def __init__(self, settings: Settings, name: str, queue: str, link: HorseLink) -> None:
        self._settings = settings
        self._name = name
        self._queue = queue
        self._link = link
        self._engine = make_engine(settings)
        self._service = DocumentQueueService(self._engine, settings)
        self._delivery = Delivery(web_connection(settings), settings)
        runner = Runner(
            self._engine, settings, name, timeout_errors=(JobTimeoutException,), time_limit=time_limit
        )
        self._batches = BatchRunner(runner, self._service, settings, name, self, self._ring)
        self._begun = 0
        self._retire_at = time.monotonic() + _MOST_SECONDS
        self._most_bytes = _resident_bytes() + _MOST_GROWTH_BYTES

    def run(self) -> None:
        """Answer bells until the worker lets go, or it is time for another horse."""
        self._warm_up()
        try:
            for _ in self._link.rings():
                self._batches.drain(self._queue)
                if self._settings.max_running_per_owner:
                    self._ring(self._service.due_to_announce(self._queue, 1))
                self._link.say(IDLE)
                if self._is_worn_out():
                    return
        finally:
            self._batches.close()
            self._delivery.connection.close()
            self._engine.dispose()

    def _warm_up(self) -> None:
        """Open and make what the first item would wait for; if the database is away, that one will tell.

        The engines load in a process of their own. Where that cannot be had, each document waits for its own.
        No item is taken before: others may have it meanwhile.
        """
        if not extraction.prepare(wait_seconds=_LOADING_SECONDS):
            log.warning("engines_not_loaded")
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._service.rehearse(self._name)

    def _is_worn_out(self) -> bool:
        return (
            self._begun >= _MOST_ITEMS
            or time.monotonic() >= self._retire_at
            or _resident_bytes() > self._most_bytes
        )

    def _ring(self, items: Sequence[QueueItem]) -> None:
        """Ring for what waits again; if Redis is away the sweep keeps the promise."""
        try:
            due = [item for item in items if not item.deferred]
            if due:
                self._delivery.announce(due)
            for item in items:
                if item.deferred:
                    self._delivery.announce_later(item)
        except DeliveryError:
            log.warning("retry_not_scheduled", items=len(items))

    # What the batch runner reports to.

    @property
    def stopping(self) -> bool:
        """Whether nothing more shall be begun."""
        return self._link.stopping

    @property
    def pausing(self) -> bool:
        """Whether to come back after this batch."""
        return self._link.pausing or self._is_worn_out()

    @property
    def share(self) -> int:
        """How many items may be taken at once."""
        return self._link.share

    def claimed(self, leases: Sequence[Lease]) -> None:
        """Tell the worker which jobs have begun."""
        self._link.say(CLAIMED, [job_id_of(lease) for lease in leases])

    def begins(self, lease: Lease, seconds: int) -> None:
        """Write down what runs."""
        self._begun += 1
        self._link.begins(lease.item.id, seconds)

    def ends(self) -> None:
        """Write down that nothing runs."""
        self._link.ends()

    def settled(self, leases: Sequence[Lease]) -> None:
        """Tell the worker which jobs have ended."""
        self._link.say(SETTLED, [job_id_of(lease) for lease in leases])


def job_id_of(lease: Lease) -> str:
    """Name the RQ job that was rung for an attempt."""
    item = lease.item
    return f"{item.document_id}-{item.operation}-{item.id[-8:]}-{lease.attempt}"


@contextlib.contextmanager
def telling_exit() -> Iterator[None]:
    """End this process at the end of the block, with a code that says how it came to it."""
    code = EXIT_RAISED
    try:
        yield
        code = os.EX_OK
    except JobTimeoutException:
        code = EXIT_TIMED_OUT
    except sa.exc.OperationalError as error:
        code = EXIT_DATABASE_AWAY if is_passing(error) else EXIT_RAISED
        log.warning("horse_ends", error=str(error.orig)[:300])
    except redis.RedisError as error:
        log.warning("horse_ends", error=str(error)[:300])
    except Exception:
        log.exception("horse_ends")
    finally:
        os._exit(code)


def _resident_bytes() -> int:
    """Return how much memory this process has now; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
