"""The real worker pool with cheap stages: a document's bytes say what is to be done with it.

``python -m tests.chaos.worker pool`` is ``worker.py``; with a name it is ``python -m jobs.rq_worker NAME``.
Claim, heartbeat, checkpoints, settling, RQ and the pool are the real ones. Only what a stage computes is
replaced, because reading a real file starts an interpreter, which two processors cannot do often enough.

``CHAOS_GUARD=off`` takes the attempt and the lease id out of the token, to prove that the verdict notices.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from jobs import database, logs, operations, rq_worker, supervision
from jobs.model import Lease, Status
from jobs.operations import Stage, StageInput, StageOutput
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings
from jobs.tables import queue_items
from jobs.worker_pool import WorkerPool
from tests.chaos.documents import POISON, WORK, Task

COMMAND = [sys.executable, "-m", "tests.chaos.worker"]
# Longer than the short documents, shorter than the long ones: a rolling restart finds both kinds.
STOP_SECONDS = 1.5
_SLICE_SECONDS = 0.05
_WORTH_A_REPORT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Extract:
    """Works as long as the document says, in slices, so that a pause of the process is no work."""

    name: str = "extract"
    engine: str = "chaos"
    engine_version: str = "1"

    def run(self, stage_input: StageInput) -> StageOutput:
        task = Task.read(stage_input.path.read_bytes())
        left = seconds = task.milliseconds / 1000
        while left > 0:
            time.sleep(min(left, _SLICE_SECONDS))
            left -= _SLICE_SECONDS
            # A short document has nothing to tell, and each report is a transaction.
            if task.verb == WORK and seconds > _WORTH_A_REPORT_SECONDS:
                stage_input.report(min(1.0, 1 - left / seconds))
        if task.verb == POISON:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), signal.SIGSEGV)
        return StageOutput(body={"key": task.key}, meta={"key": task.key})


@dataclass(frozen=True, slots=True)
class Analyze:
    """Repeats what the first stage found."""

    name: str = "analyze"
    engine: str = "chaos"
    engine_version: str = "1"

    def run(self, stage_input: StageInput) -> StageOutput:
        key = stage_input.done["extract"].body["key"]
        return StageOutput(body={"key": key}, meta={"key": key})


class UnfencedService(DocumentQueueService):
    """The service as most queues are: whoever finds the item in progress may change it."""

    def _token(self, lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
        return (queue_items.c.id == lease.item.id, queue_items.c.status == Status.IN_PROGRESS)

    def _tokens(self, leases: Sequence[Lease]) -> tuple[sa.ColumnElement[bool], ...]:
        ids = [lease.item.id for lease in leases]
        return (queue_items.c.id.in_(ids), queue_items.c.status == Status.IN_PROGRESS)


def make_stages(_settings: Settings) -> dict[str, Stage]:
    return {"extract": Extract(), "analyze": Analyze()}


def install(environ: Mapping[str, str]) -> None:
    """Put the stages in place, before the runner takes its own."""
    operations.make_stages = make_stages
    from jobs import runner, warm_horse

    # Whoever took the names before.
    for module in (runner, rq_worker):
        module.make_stages = make_stages
    if environ.get("CHAOS_GUARD") == "off":
        runner.DocumentQueueService = warm_horse.DocumentQueueService = UnfencedService


def main() -> None:
    install(os.environ)
    if sys.argv[1] != "pool":
        # Redis goes away more often in a run than it should in years: look for it again sooner.
        rq_worker.DocumentWorker.max_connection_wait_time = 1.0
        rq_worker.main()
        return
    settings = load_settings()
    logs.configure(settings)
    database.upgrade(settings)
    # A worker that was killed a second time within 20 s would be started again later and later: right for
    # a program that cannot run, but here it is the monkey's doing, and minutes have to do for weeks.
    supervision.HEALTHY_AFTER_SECONDS = 1.0
    WorkerPool(settings, stop_seconds=STOP_SECONDS, command=COMMAND).run()


if __name__ == "__main__":
    main()
