"""Works one item off: claim, stages, outcome, settle.

The one place in the program that catches every exception: whatever a stage raises becomes an
outcome of its attempt, written under the attempt's fence.
"""

from __future__ import annotations

import contextlib
import random
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import structlog

from jobs.blobs import BlobStore
from jobs.child_documents import ChildDocuments
from jobs.database import is_passing
from jobs.errors import Cancelled, LeaseLost, Permanent, ProcessingError, Throttled, Transient
from jobs.heartbeat import Heartbeat, Keeper, OutOfTime
from jobs.ids import new_id
from jobs.model import (
    IMAGES_OPERATION,
    JSON,
    RETRY_PAGES,
    Artifact,
    CancelAcknowledged,
    Checkpoint,
    Completed,
    Document,
    Failed,
    Lease,
    Outcome,
    QueueItem,
    Released,
    Snoozed,
    Status,
)
from jobs.operations import OPERATIONS, Stage, StageInput, cache_key, make_stages, resource_of
from jobs.peak_memory import PeakMemory
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from jobs.read_options import key_parts, unpack_options
from jobs.settings import Settings

log = structlog.get_logger()

# How long to leave a database alone that could not be written in the middle of an attempt.
_DATABASE_AWAY_SECONDS = 5.0
# How long to wait for somebody who asked us to wait and did not say how long.
_THROTTLED_SECONDS = 15.0


# Seconds to the context that keeps them.
TimeLimit = Callable[[int], AbstractContextManager[object]]


class ReleaseRequested(BaseException):
    """The worker stops: put the item back, uncounted. Raised into the runner by a signal handler."""


@dataclass(slots=True)
class QueueStatistics:
    """What :meth:`Runner.process_queue` did."""

    processed: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    rescued: int = 0

    def count(self, item: QueueItem) -> None:
        """Add one worked item by the state that it came to."""
        self.processed += 1
        match item.status:
            case Status.COMPLETED:
                self.completed += 1
            case Status.FAILED:
                self.failed += 1
            case Status.CANCELLED:
                self.cancelled += 1
            case _:
                self.retried += 1

    def to_json(self) -> dict[str, JSON]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Runner:
    """Runs attempts in this process.

    Args:
        engine: the database.
        settings: limits and intervals.
        worker: this worker's name, written into leases.
        timeout_errors: exception types by which the surroundings say that time is up (RQ's).
        time_limit: makes a context that raises one of these after so many seconds, for one attempt. Without
            it the limit is kept where work reports progress and where a stage begins.
        stages: the stages by name; those of the settings when ``None``.

    Attributes:
        memory: what the attempt that began last has taken.
    """

    def __init__(
        self,
        engine: sa.Engine,
        settings: Settings,
        worker: str,
        *,
        timeout_errors: tuple[type[Exception], ...] = (),
        time_limit: TimeLimit | None = None,
        stages: dict[str, Stage] | None = None,
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._timeout_errors: tuple[type[Exception], ...] = (OutOfTime, *timeout_errors)
        self._time_limit = time_limit or (lambda _seconds: contextlib.nullcontext())
        self._service = DocumentQueueService(engine, settings)
        self._queries = Queries(engine)
        self._blobs = BlobStore(settings.data_dir)
        self._children = ChildDocuments(settings, self._service, self._blobs)
        self._stages = stages or make_stages(settings)
        self.memory = PeakMemory()
        # Bound once: it is used for every item, however short.
        self._log = log.bind(worker=worker)

    def run(self, item_id: str) -> QueueItem | None:
        """Claim an item and work it off.

        Args:
            item_id: the item.

        Returns:
            The item after its attempt, or ``None`` when there was nothing to claim or the lease was lost.
        """
        lease = self._service.claim(item_id, self._worker)
        if lease is None:
            log.debug("nothing_to_claim", item_id=item_id)
            return None
        return self._attempt(lease)

    def run_next(self, queue: str, item_id: str) -> QueueItem | None:
        """Answer a bell: claim the best item of a queue's line and work it off.

        A bell names an item, yet only says that there is work: the database knows what is best by now.
        There are as many bells as items, so each gets its turn.

        Args:
            queue: the queue that the bell hung in.
            item_id: the item that it was rung for; it may have come due a moment ago.

        Returns:
            The item after its attempt, or ``None`` when there was nothing to claim or the lease was lost.
        """
        lease = self._service.claim_next(queue, self._worker, preferred=item_id)
        if lease is None:
            log.debug("nothing_to_claim", item_id=item_id)
            return None
        return self._attempt(lease)

    def process_queue(self, limit: int) -> QueueStatistics:
        """Take due items from the database, best first, and work them off here and now.

        Args:
            limit: at most this many.

        Returns:
            What was done.
        """
        statistics = QueueStatistics()
        self._service.mark_suspects()
        statistics.rescued = len(self._service.rescue())
        tries = 0
        waiting = list(self._settings.queue_names)
        while waiting and tries < limit:
            self._service.stage_due()
            for queue in list(waiting):
                lease = self._service.claim_next(queue, self._worker) if tries < limit else None
                if lease is None:
                    waiting.remove(queue)
                    continue
                tries += 1
                ended = self._attempt(lease)
                if ended is not None:
                    statistics.count(ended)
        return statistics

    def _attempt(self, lease: Lease) -> QueueItem | None:
        started = time.monotonic()
        try:
            with Keeper(self._service, self._settings) as keeper:
                keeper.keep([lease])
                outcome = self.outcome_of(lease, keeper.begin(lease))
            item = self.settle(lease, outcome)
        except LeaseLost:
            self.log_lost(lease, time.monotonic() - started)
            return None
        self.log_attempt(lease, outcome, time.monotonic() - started, item)
        return item

    def log_attempt(
        self, lease: Lease, outcome: Outcome, seconds: float, item: QueueItem | None = None
    ) -> None:
        """Log how an attempt ended; without ``item`` it is completed."""
        self._log.info(
            "attempt",
            item_id=lease.item.id,
            attempt=lease.attempt,
            operation=lease.item.operation,
            outcome=type(outcome).__name__.lower(),
            status=Status.COMPLETED.value if item is None else item.status.value,
            code=None if item is None else item.error_code,
            seconds=round(seconds, 3),
        )

    def log_lost(self, lease: Lease, seconds: float) -> None:
        """Log that an attempt's result was dropped, because the item is somebody else's."""
        log.warning(
            "lease_lost",
            item_id=lease.item.id,
            attempt=lease.attempt,
            worker=self._worker,
            seconds=round(seconds, 3),
        )

    def outcome_of(self, lease: Lease, heartbeat: Heartbeat) -> Outcome:
        """Run the stages and turn whatever happens into an outcome."""
        operation = OPERATIONS[lease.item.operation]
        if not operation.stages:
            return Completed()
        limit = self._service.policy(operation.name).timeout_seconds
        try:
            with self._time_limit(limit), self._keeping_what_ended(heartbeat):
                self._run_stages(lease, heartbeat)
        except LeaseLost:
            raise
        except ReleaseRequested:
            return Released("the worker was stopped")
        except Cancelled:
            return CancelAcknowledged()
        except Throttled as error:
            return self._snoozed(error)
        except ProcessingError as error:
            return _failed(error)
        except self._timeout_errors:
            return Failed(
                code="timeout",
                message=f"Took longer than {limit} s.",
                permanent=False,
                traceback=traceback.format_exc(),
            )
        except Exception as error:  # noqa: BLE001  # the one broad handler: an unknown error is a failed attempt
            if not isinstance(error, sa.exc.OperationalError) or not is_passing(error):
                return Failed(
                    code="internal",
                    message="Something went wrong inside the service. An operator can see the details.",
                    permanent=False,
                    traceback=traceback.format_exc(),
                )
            # The database's trouble, not the document's.
            log.warning(
                "database_away", item_id=lease.item.id, attempt=lease.attempt, error=str(error.orig)[:300]
            )
            return Snoozed(
                _DATABASE_AWAY_SECONDS * random.uniform(1.0, 1.5),  # noqa: S311  # no secret
                "The database could not be used for a moment.",
                code="database_away",
            )
        return Completed()

    def _run_stages(self, lease: Lease, heartbeat: Heartbeat) -> None:
        item = lease.item
        operation = OPERATIONS[item.operation]
        self.memory.begin()
        document = lease.document or self._queries.document(item.document_id, owner=None)
        done: dict[str, Artifact] = {}
        options = unpack_options(item.options, self._settings)
        asked = key_parts(options, self._settings)
        first_page = self._queries.first_drawn_page(item.id) if item.operation == IMAGES_OPERATION else 1
        for name in operation.stages:
            stage = self._stages[name]
            base = self._base(item) if name == "extract" else None
            key = cache_key(stage, document, done, first_page, asked, base)
            needed = resource_of(name, self._settings)
            # What others are asked for may take long, and may cost: nothing is left to be written then.
            heartbeat.enter(name, at_once=needed is not None)
            if base is not None and not base.body.get("failed_pages"):
                kept: Artifact | None = base
            else:
                kept = self._kept(item, stage, key, fresh=item.fresh and name in operation.own)
            if kept is None:
                if needed is not None:
                    self._service.enter_stage(lease, needed.key, needed.most)
                work = StageInput(
                    document,
                    self._path_of(document),
                    dict(done),
                    heartbeat.report,
                    first_page,
                    options,
                    show_pages=heartbeat.show_pages,
                    base=base,
                )
                done[name] = self._compute(stage, work, key, heartbeat)
            else:
                done[name] = kept
            children = self._children.of(done[name], item)
            heartbeat.end(
                Checkpoint(
                    name,
                    done[name],
                    reused=kept is not None,
                    companion=children,
                    had_partial=heartbeat.had_partial,
                ),
                at_once=needed is not None or children is not None,
            )
        if not heartbeat.is_settled_with_stages:
            heartbeat.write_down()

    @contextlib.contextmanager
    def _keeping_what_ended(self, heartbeat: Heartbeat) -> Iterator[None]:
        """Keep the stages that ended, and say which ran, when one does not end well."""
        try:
            yield
        except LeaseLost:
            raise
        except BaseException:
            try:
                heartbeat.write_down()
            except sa.exc.SQLAlchemyError:
                log.warning("stages_not_kept", item_id=heartbeat.lease.item.id)
            raise

    def _base(self, item: QueueItem) -> Artifact | None:
        """Return the extraction that an item is to mend, ``None`` for one that reads the whole document."""
        if item.operation != RETRY_PAGES:
            return None
        return self._queries.unfinished_pages(item.id, item.document_id)

    def _kept(self, item: QueueItem, stage: Stage, key: str, *, fresh: bool) -> Artifact | None:
        """Return the artifact that makes computing needless; none whose members' bytes are gone.

        A fresh item takes only what its own earlier attempts left.
        """
        if fresh:
            own = self._queries.result_of(item.id, stage.name)
            kept = own if own is not None and own.cache_key == key else None
        else:
            kept = self._queries.kept_artifact(key)
        if kept is None or stage.name != IMAGES_OPERATION:
            return kept if kept is not None and self._children.has_bytes_of(kept) else None
        # With its pictures, in case that it is pruned before its reuse is written down.
        images = self._queries.images_of(kept.id)
        return replace(kept, images=images) if images else None

    def _path_of(self, document: Document) -> Path:
        path = self._blobs.path(document.sha256)
        if not path.exists():
            raise Permanent("The uploaded bytes are missing from the store.", code="bytes_missing")
        return path

    def _compute(self, stage: Stage, work: StageInput, key: str, heartbeat: Heartbeat) -> Artifact:
        with self._children.keeper() as members:
            output = stage.run(replace(work, members=members))
            heartbeat.check()
            members.store()
        return Artifact(
            id=new_id(),
            stage=stage.name,
            cache_key=key,
            engine=stage.engine,
            engine_version=stage.engine_version,
            body=output.body,
            meta=output.meta,
            created_at=work.document.created_at,
            images=output.images,
        )

    def _snoozed(self, error: Throttled) -> Snoozed:
        """Wait as long as was asked, a little spread out, and let the others wait as well."""
        cap = self._settings.backoff_cap_seconds
        seconds = min(cap, _THROTTLED_SECONDS if error.retry_after is None else error.retry_after)
        if error.key is not None:
            self._service.throttle(error.key, seconds, error.public_message)
        return Snoozed(seconds * random.uniform(1.0, 1.2), error.public_message)  # noqa: S311  # no secret

    def settle(self, lease: Lease, outcome: Outcome) -> QueueItem:
        """Settle; after a lost connection ask again, which changes nothing if it had landed."""
        peak = self.memory.so_far()
        for wait in (0.2, 1.0, 3.0):
            try:
                return self._service.settle(lease, outcome, peak_memory_bytes=peak)
            except sa.exc.OperationalError:
                log.warning("settle_retried", item_id=lease.item.id, attempt=lease.attempt)
                time.sleep(wait)
        return self._service.settle(lease, outcome, peak_memory_bytes=peak)


def _failed(error: ProcessingError) -> Failed:
    return Failed(
        code=error.code,
        message=error.public_message,
        permanent=not error.retryable,
        traceback=traceback.format_exc(),
        retry_after=error.retry_after if isinstance(error, Transient) else None,
    )
