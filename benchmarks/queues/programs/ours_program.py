"""This service: real workers, whose jobs do nothing. ``pool`` keeps them running, ``worker`` is one.

With ``BENCH_STAGES=1`` the operation has one stage, whose artifact is kept; otherwise it has none, so that a
job is its durable rows. The first line of a job can be seen in a stage only: latency is measured with one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path

import commands
import sqlalchemy as sa
import stamps

from jobs import accounts, database, logs, operations
from jobs.database import Clock
from jobs.delivery import Delivery, web_connection
from jobs.ids import new_id
from jobs.model import DocumentId
from jobs.operations import Operation, StageInput, StageOutput
from jobs.queue_service import DocumentQueueService, NewItem
from jobs.settings import Settings, load_settings
from jobs.tables import documents
from jobs.worker_pool import WorkerPool
from tests.support.items import add_document

COMMAND = [sys.executable, __file__, "worker"]
HAS_STAGE = os.environ["BENCH_STAGES"] == "1" or os.environ["BENCH_WORKLOAD"] == "latency"


class Nothing:
    """A stage that does nothing."""

    engine = "bench"
    engine_version = "1"

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, stage_input: StageInput) -> StageOutput:
        stamps.started(int(Path(stage_input.document.filename).stem))
        return StageOutput(body={}, meta={})


class Sender:
    """Queues documents that were accepted before."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._engine = database.make_engine(settings)
        self._service = DocumentQueueService(self._engine, settings)
        self._delivery = Delivery(web_connection(settings), settings)
        self._documents = [""]
        self._owner = accounts.ensure_admin(self._engine).id
        if HAS_STAGE:
            self._documents += [
                add_document(self._engine, settings, content=b"%d" % number, filename=f"{number}.txt")
                for number in range(1, count + 1)
            ]
        else:
            self._documents += _add_rows_of_documents(self._engine, count)

    def send(self, _workload: str, number: int) -> None:
        with self._engine.begin() as connection:
            (item,) = self._service.enqueue_many_in(connection, [self._new(number)])
        stamps.committed(number)
        self._delivery.announce([item])

    def _new(self, number: int) -> NewItem:
        return NewItem(DocumentId(self._documents[number]), self._owner, "extract", 0)

    def send_many(self, _workload: str, numbers: range) -> None:
        with self._engine.begin() as connection:
            items = self._service.enqueue_many_in(connection, [self._new(number) for number in numbers])
        self._delivery.announce(items)


def _add_rows_of_documents(engine: sa.Engine, count: int) -> list[str]:
    """Insert documents whose bytes nobody reads."""
    owner, now = accounts.ensure_admin(engine).id, Clock(engine.dialect.name).now
    rows = [
        {
            "id": new_id(), "owner_id": owner, "sha256": hashlib.sha256(b"%d" % number).hexdigest(),
            "size": 1, "filename": f"{number}.txt", "media_type": "text/plain",
        }
        for number in range(1, count + 1)
    ]  # fmt: skip
    with engine.begin() as connection:
        for first in range(0, count, commands.BATCH):
            connection.execute(
                sa.insert(documents).values(created_at=now), rows[first : first + commands.BATCH]
            )
    return [row["id"] for row in rows]


def use_operation() -> None:
    """Let the operation have no stage, or one that does nothing."""
    from jobs import rq_worker, runner

    names = ("extract",) if HAS_STAGE else ()
    operations.OPERATIONS["extract"] = Operation("extract", names, frozenset(names))
    operations.OPERATIONS["process"] = Operation("process", names, frozenset(names))
    for module in (operations, runner, rq_worker):
        module.make_stages = lambda _settings: {name: Nothing(name) for name in ("extract", "analyze")}


def main() -> None:
    settings = load_settings()
    if sys.argv[1] not in {"pool", "worker"}:
        database.upgrade(settings)
        sender = Sender(settings, int(sys.argv[-1]))
        asyncio.run(commands.serve(sender.send, sender.send_many))
        return
    use_operation()
    if sys.argv[1] == "worker":
        from jobs import rq_worker

        sys.argv[1:2] = []
        rq_worker.main()
        return
    logs.configure(settings)
    WorkerPool(settings, command=COMMAND).run()


if __name__ == "__main__":
    main()
