"""This service: ``enqueue N``, ``work``: real workers, whose stages do nothing."""

from __future__ import annotations

import sys

from jobs import database, logs, operations
from jobs.delivery import Delivery, web_connection
from jobs.operations import StageInput, StageOutput
from jobs.queue_service import DocumentQueueService
from jobs.settings import load_settings
from jobs.worker_pool import WorkerPool
from tests.support.items import add_document

COMMAND = [sys.executable, __file__, "worker"]


class Nothing:
    """A stage that does nothing."""

    engine = "bench"
    engine_version = "1"

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, stage_input: StageInput) -> StageOutput:
        del stage_input
        return StageOutput(body={}, meta={})


def main() -> None:
    settings = load_settings()
    if sys.argv[1] == "enqueue":
        database.upgrade(settings)
        engine = database.make_engine(settings)
        service, delivery = (
            DocumentQueueService(engine, settings),
            Delivery(web_connection(settings), settings),
        )
        items = [
            service.enqueue(add_document(engine, settings, content=b"%d" % number), "extract")
            for number in range(int(sys.argv[2]))
        ]
        delivery.announce(items)
        return
    from jobs import rq_worker, runner

    for module in (operations, runner, rq_worker):
        module.make_stages = lambda _settings: {name: Nothing(name) for name in ("extract", "analyze")}
    if sys.argv[1] == "worker":
        sys.argv[1:2] = []
        rq_worker.main()
        return
    logs.configure(settings)
    WorkerPool(settings, command=COMMAND).run()


if __name__ == "__main__":
    main()
