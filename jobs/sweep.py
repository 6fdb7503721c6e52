"""The periodic pass that repairs what anybody forgot: rescues expired leases, rings for due items.

It may run anywhere, any number of times at once: every change is guarded in SQL.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from jobs.delivery import Delivery
from jobs.errors import DeliveryError
from jobs.model import JSON, Status
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings

_BATCH = 200
_MOST_PER_SWEEP = 5_000

log = structlog.get_logger()


@dataclass(slots=True)
class SweepStatistics:
    """What one sweep did."""

    suspected: int = 0
    rescued: int = 0
    quarantined: int = 0
    announced: int = 0

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
    statistics.announced = announce_due(service, delivery)
    if service.begin_sweep("forget_workers", 3600.0):
        service.forget_workers()
    if any(getattr(statistics, name) for name in statistics.__slots__):
        log.info("sweep", **statistics.to_json())
    return statistics


def announce_due(service: DocumentQueueService, delivery: Delivery) -> int:
    """Ring for every due item that was not announced lately and has no message in the list.

    Args:
        service: the queue.
        delivery: the bell.

    Returns:
        For how many the bell was rung; a silent Redis ends the pass without an error.
    """
    rung = 0
    for _ in range(_MOST_PER_SWEEP // _BATCH):
        items = service.due_to_announce(_BATCH)
        if not items:
            break
        try:
            missing = delivery.announce_missing(items)
        except DeliveryError:
            log.warning("announce_failed", items=len(items))
            break
        service.mark_announced([item.id for item in items])
        rung += missing
        if missing == 0:
            # Redis remembers them all: the rest of the line is most likely there as well.
            break
    return rung
