"""The periodic pass that repairs what anybody forgot: rescues expired leases, rings for due items.

It may run anywhere, any number of times at once: every change is guarded in SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
import structlog

from jobs import retention
from jobs.blobs import BlobStore
from jobs.bulk import BulkOperations
from jobs.delivery import Delivery
from jobs.errors import DeliveryError
from jobs.model import JSON, Status
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings

# So many bells in a queue's list are enough: each makes a worker look for the best item of the line,
# whichever it is, and the next sweep rings again.
_BELLS = 1_000
_BULK_SECONDS = 1.0
_PRUNE_EVERY_SECONDS = 60.0
_STAGE_BATCH = 1_000
_MOST_STAGED = 20_000

log = structlog.get_logger()


@dataclass(slots=True)
class SweepStatistics:
    """What one sweep did."""

    suspected: int = 0
    staged: int = 0
    rescued: int = 0
    quarantined: int = 0
    announced: int = 0
    worked: int = 0
    pruned: int = 0

    def to_json(self) -> dict[str, JSON]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def run(settings: Settings, engine: sa.Engine, delivery: Delivery, *, force: bool = False) -> SweepStatistics:
    """Sweep once, unless somebody did a moment ago.

    Args:
        settings: intervals.
        engine: the database.
        delivery: the bell.
        force: sweep even right after another sweep.

    Returns:
        What was done; all zero when it was not our turn.
    """
    service = DocumentQueueService(engine, settings)
    statistics = SweepStatistics()
    # Several clocks ask for the sweep; a little less than the interval keeps two of them from alternating.
    if not service.begin_sweep("sweep", 0.0 if force else settings.sweep_seconds * 0.8):
        return statistics
    statistics.suspected = service.mark_suspects()
    rescued = service.rescue()
    statistics.rescued = len(rescued)
    statistics.quarantined = sum(item.status is Status.FAILED for item in rescued)
    statistics.staged = stage(service)
    statistics.worked = BulkOperations(engine, settings, service).work(_BULK_SECONDS)
    statistics.announced = announce_due(service, delivery, settings)
    service.fold_counts()
    service.forget_claims()
    service.forget_partial_results()
    if service.begin_sweep("forget_workers", 3600.0):
        service.forget_workers()
    if service.begin_sweep("prune", _PRUNE_EVERY_SECONDS):
        done = retention.prune(engine, settings, service, BlobStore(settings.data_dir))
        statistics.pruned = done.items + done.documents
    if any(getattr(statistics, name) for name in statistics.__slots__):
        log.info("sweep", **statistics.to_json())
    return statistics


def stage(service: DocumentQueueService) -> int:
    """Put the items that came due into their lines.

    Args:
        service: the queue.

    Returns:
        How many; a flood of them is spread over several sweeps.
    """
    staged = 0
    while staged < _MOST_STAGED:
        moved = service.stage_due(_STAGE_BATCH)
        staged += moved
        if moved < _STAGE_BATCH:
            break
    return staged


def announce_due(service: DocumentQueueService, delivery: Delivery, settings: Settings) -> int:
    """See to it that every queue has bells for the head of its line.

    Args:
        service: the queue.
        delivery: the bell.
        settings: the queues, and how long a bell is trusted.

    Returns:
        For how many the bell was rung; a silent Redis ends the pass without an error.
    """
    rung = 0
    for queue in settings.queue_names:
        try:
            rung += _announce_queue(service, delivery, queue, settings.announce_again_seconds)
        except DeliveryError:
            log.warning("announce_failed", queue=queue)
            break
    return rung


def _announce_queue(service: DocumentQueueService, delivery: Delivery, queue: str, again: float) -> int:
    bells = delivery.queue_length(queue)
    # A full list needs no look at the line.
    items = [] if bells >= _BELLS else service.due_to_announce(queue, _BELLS)
    if bells >= len(items):
        return 0
    # A bell that was rung a moment ago may be on its way from the list to a worker.
    lately = service.now() - timedelta(seconds=again)
    silent = [item for item in items if item.announced_at is None or item.announced_at < lately]
    missing = delivery.announce_missing(silent)
    service.mark_announced([item.id for item in silent])
    return missing
