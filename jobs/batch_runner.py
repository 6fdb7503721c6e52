"""Works a queue's line off, batch by batch, until it is empty.

A batch is claimed in one statement and settled in few. How many items it has follows what items of late took:
short ones come by the hundred, a long one comes alone, and one that turns out to be slow keeps none waiting.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
import structlog

from jobs.database import is_passing
from jobs.errors import LeaseLost
from jobs.heartbeat import Keeper
from jobs.model import Checkpoint, Completed, Lease, Outcome, QueueItem, Status
from jobs.queue_service import DocumentQueueService
from jobs.runner import Runner
from jobs.settings import Settings

log = structlog.get_logger()

MOST_AT_ONCE = 1_000
# What a batch should take, by what items took of late.
_BATCH_SECONDS = 0.05
# An item that runs for so long keeps no others waiting.
_SLOW_SECONDS = 0.25
# How long a finished item may wait for others to be settled with it.
_SETTLE_WITHIN_SECONDS = 0.005
# How much the newest item counts in the mean.
_WEIGHT = 0.2
_SETTLE_AGAIN_SECONDS = (0.2, 1.0, 3.0)


class Supervisor(Protocol):
    """Who watches over the process that works."""

    @property
    def stopping(self) -> bool:
        """Whether nothing more shall be begun."""

    @property
    def pausing(self) -> bool:
        """Whether to come back after the batch in hand."""

    @property
    def share(self) -> int:
        """How many items one worker may take at once, so that the others have their part."""

    def claimed(self, leases: Sequence[Lease]) -> None:
        """Take note of a batch."""

    def begins(self, lease: Lease, seconds: int) -> None:
        """Take note of what runs now, and for how long it may."""

    def ends(self) -> None:
        """Take note that it runs no more."""

    def settled(self, leases: Sequence[Lease]) -> None:
        """Take note of attempts that are over."""


class Pace:
    """How many items make a batch: as many as lately took a twentieth of a second."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._size = 1

    def note(self, seconds: float) -> None:
        """Take in how long an item took."""
        # One long item is enough to be careful; it takes several short ones to be bold.
        if self._mean is None or seconds > self._mean:
            self._mean = seconds
        else:
            self._mean += _WEIGHT * (seconds - self._mean)

    def size(self, share: int) -> int:
        """Return how many to take next, at most ``share`` and at most twice as many as before."""
        if self._mean is None:
            return 1
        fitting = int(_BATCH_SECONDS / max(self._mean, 1e-6))
        self._size = max(1, min(fitting, 2 * self._size, MOST_AT_ONCE))
        return max(1, min(self._size, share))


@dataclass(frozen=True, slots=True)
class _Finished:
    """An attempt that finished every stage: those that are not written down, and how long it took."""

    lease: Lease
    ended: list[Checkpoint]
    seconds: float


class BatchRunner:
    """One process's way to work.

    Args:
        runner: works one item off.
        service: the queue.
        settings: limits and intervals.
        worker: this worker's name, written into leases.
        supervisor: who is told what runs.
        ring: called with items that wait again, now or later; it must not raise.
    """

    def __init__(
        self,
        runner: Runner,
        service: DocumentQueueService,
        settings: Settings,
        worker: str,
        supervisor: Supervisor,
        ring: Callable[[Sequence[QueueItem]], None],
    ) -> None:
        self._runner = runner
        self._service = service
        self._worker = worker
        self._supervisor = supervisor
        self._ring = ring
        self._keeper = Keeper(service, settings, self._spare_neighbours)
        self._pace = Pace()
        self._waiting: deque[Lease] = deque()
        self._waiting_lock = threading.Lock()
        self._finished: list[_Finished] = []
        self._first_finished_at = 0.0
        self._began_at = float("inf")

    def drain(self, queue: str) -> int:
        """Work the line off until it is empty or the supervisor asks to come back.

        Args:
            queue: the queue's name.

        Returns:
            How many items were begun.
        """
        begun = 0
        while True:
            size = self._pace.size(self._supervisor.share)
            leases = self._service.claim_many(queue, self._worker, size)
            if leases:
                begun += self._work_off(leases)
            elif not self._service.stage_due():
                return begun
            if self._supervisor.pausing:
                return begun

    def close(self) -> None:
        """End the thread that keeps the leases."""
        self._keeper.close()

    def _work_off(self, leases: list[Lease]) -> int:
        self._keeper.keep(leases)
        self._supervisor.claimed(leases)
        self._waiting.extend(leases)
        begun = 0
        try:
            while (lease := self._next()) is not None:
                begun += 1
                self._work(lease)
            return begun
        finally:
            self._settle_finished()
            self._hand_back("the worker stops")

    def _next(self) -> Lease | None:
        with self._waiting_lock:
            if not self._waiting or self._supervisor.stopping:
                return None
            return self._waiting.popleft()

    def _work(self, lease: Lease) -> None:
        began = self._began_at = time.monotonic()
        self._begins(lease)
        heartbeat = self._keeper.begin(lease)
        heartbeat.before_stage = self._settle_finished
        heartbeat.is_settled_with_stages = True
        try:
            outcome = self._runner.outcome_of(lease, heartbeat)
        except LeaseLost:
            self._lost(lease, began)
            self._supervisor.ends()
            return
        finally:
            self._pace.note(time.monotonic() - began)
        if isinstance(outcome, Completed):
            self._finish(lease, heartbeat.take_ended(), began)
        else:
            self._settle(lease, outcome, began)
        # Not before: an attempt that cannot be written down ends this process, and is to blame.
        self._supervisor.ends()

    def _finish(self, lease: Lease, ended: list[Checkpoint], began: float) -> None:
        now = time.monotonic()
        if not self._finished:
            self._first_finished_at = began
        self._finished.append(_Finished(lease, ended, now - began))
        if now - self._first_finished_at >= _SETTLE_WITHIN_SECONDS:
            self._settle_finished()

    def _settle_finished(self) -> None:
        """Settle what is finished, in one commit; ask again after a lost connection."""
        finished, self._finished = self._finished, []
        if not finished:
            return
        leases = [one.lease for one in finished]
        try:
            completed = self._settle_group(finished)
        except sa.exc.SQLAlchemyError as error:
            if isinstance(error, sa.exc.OperationalError) and is_passing(error):
                raise
            log.warning("settled_one_by_one", items=len(leases), error=type(error).__name__)
            completed = self._settle_one_by_one(finished)
        self._keeper.drop(leases)
        self._supervisor.settled(leases)
        for one in finished:
            if one.lease.item.id in completed:
                self._runner.log_attempt(one.lease, Completed(), one.seconds)
            else:
                self._runner.log_lost(one.lease, one.seconds)

    def _settle_group(self, finished: list[_Finished]) -> set[str]:
        leases = [one.lease for one in finished]
        ended = {one.lease.item.id: one.ended for one in finished if one.ended}
        peak = self._runner.memory.so_far()
        for wait in _SETTLE_AGAIN_SECONDS:
            try:
                with self._keeper.writing:
                    return self._service.settle_many(leases, ended=ended, peak_memory_bytes=peak)
            except sa.exc.OperationalError:
                log.warning("settle_retried", items=len(leases))
                time.sleep(wait)
        with self._keeper.writing:
            return self._service.settle_many(leases, ended=ended, peak_memory_bytes=peak)

    def _settle_one_by_one(self, finished: list[_Finished]) -> set[str]:
        """Settle each by itself, so that one that cannot be written down does not keep the others."""
        completed = set()
        for one in finished:
            self._begins(one.lease)
            with contextlib.suppress(LeaseLost):
                if one.ended:
                    self._service.checkpoint_all(one.lease, one.ended)
                completed.add(self._runner.settle(one.lease, Completed()).id)
        return {str(item_id) for item_id in completed}

    def _begins(self, lease: Lease) -> None:
        self._supervisor.begins(lease, self._service.policy(lease.item.operation).timeout_seconds)

    def _settle(self, lease: Lease, outcome: Outcome, began: float) -> None:
        self._settle_finished()
        try:
            item = self._runner.settle(lease, outcome)
        except LeaseLost:
            self._lost(lease, began)
            return
        self._keeper.drop([lease])
        self._supervisor.settled([lease])
        self._runner.log_attempt(lease, outcome, time.monotonic() - began, item)
        if item.status is Status.PENDING:
            self._ring([item])

    def _lost(self, lease: Lease, began: float) -> None:
        self._keeper.drop([lease])
        self._supervisor.settled([lease])
        self._runner.log_lost(lease, time.monotonic() - began)

    def _spare_neighbours(self) -> None:
        """Keep nobody waiting behind a slow item; called by the keeper's thread."""
        if self._waiting and time.monotonic() - self._began_at > _SLOW_SECONDS:
            self._hand_back("the item before it is slow")

    def _hand_back(self, reason: str) -> None:
        """Let others have what this process has not begun."""
        with self._waiting_lock:
            leases = list(self._waiting)
            self._waiting.clear()
        if not leases:
            return
        try:
            with self._keeper.writing:
                items = self._service.hand_back(leases, reason)
        except sa.exc.SQLAlchemyError:
            # Their leases run out, uncounted, as nothing renews them any more.
            log.warning("hand_back_failed", items=len(leases))
            items = []
        self._keeper.drop(leases)
        self._supervisor.settled(leases)
        self._ring(items)
