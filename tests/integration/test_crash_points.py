"""A crash before and after every commit of every flow: what is left converges to the same end.

Each flow is run in a process that is killed at its n-th commit, for every n that it has. Then whoever got no
answer asks again, another process sweeps and works the queue off, and the end must be that of a
flow that nothing happened to.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from jobs import accounts, database, sweep
from jobs.blobs import BlobStore
from jobs.bulk import BulkOperations
from jobs.delivery import Delivery, web_connection
from jobs.errors import AlreadyQueued, IllegalTransition, KeyInFlight, Permanent, Transient
from jobs.idempotency import Answer
from jobs.intake import Intake
from jobs.model import Failed, Released
from jobs.operations import StageOutput
from jobs.queue_service import DocumentQueueService
from jobs.runner import Runner
from jobs.settings import Settings
from jobs.tables import (
    artifacts,
    attempts,
    documents,
    events,
    idempotency_keys,
    queue_items,
    results,
    slots,
)
from jobs.uploads import Order, Upload
from tests.support.crash import KILLED, die_at_commit, run_in_child
from tests.support.items import add_document, expire_lease, make_due

_MOST_COMMITS = 60


@dataclass
class World:
    """What one flow is about, known to every process that takes part.

    Attributes:
        number: makes the contents differ from those of every other flow on this database.
    """

    settings: Settings
    number: int
    owner: str
    item_ids: list[str] = field(default_factory=list)

    def content(self, which: int = 0) -> bytes:
        return f"Flow {self.number}, file {which}.".encode()

    @property
    def hashes(self) -> list[str]:
        return [hashlib.sha256(self.content(which)).hexdigest() for which in range(3)]


class Process:
    """What a process of the service has: an engine of its own, and everything that is built on it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.engine = database.make_engine(world.settings)
        self.service = DocumentQueueService(self.engine, world.settings)
        self.blobs = BlobStore(world.settings.data_dir)
        self.delivery = Delivery(web_connection(world.settings), world.settings)
        self.intake = Intake(self.engine, world.settings, self.blobs, self.service, self.delivery)
        self.stages = {name: CheapStage(name, self) for name in ("extract", "analyze")}
        self.runner = Runner(self.engine, world.settings, "worker-1", stages=self.stages)
        self.bulk = BulkOperations(self.engine, world.settings, self.service)

    def item(self) -> str:
        return self.world.item_ids[0]

    def statuses(self) -> dict[str, str]:
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.select(queue_items.c.id, queue_items.c.status)
                .join(documents, documents.c.id == queue_items.c.document_id)
                .where(documents.c.sha256.in_(self.world.hashes))
            )
            return {row.id: row.status for row in rows}


@dataclass
class CheapStage:
    """A stage that does what stands in ``extract`` or ``analyze`` of the data folder, or nothing.

    ``permanent`` fails for good, ``transient`` fails once, ``cancel`` lets a person cancel it meanwhile.
    """

    name: str
    process: Process
    engine: str = "cheap"
    engine_version: str = "1"

    def run(self, stage_input: Any) -> StageOutput:
        script = self.process.world.settings.data_dir / self.name
        word = script.read_text() if script.exists() else ""
        if word == "permanent":
            raise Permanent("It cannot be read.", code="unreadable")
        if word == "transient":
            script.unlink()
            raise Transient("Not now.", code="busy")
        if word == "cancel":
            cancel(self.process)
            # The renewal that comes with one of these tells that a cancel was asked for.
            for share in range(100):
                stage_input.report(share / 100)
                time.sleep(0.02)
        return StageOutput(body={"text": self.name}, meta={"title": self.name})


# What is there before: made by the test itself, and never crashed.


def nothing(process: Process) -> None:
    del process


def waiting(process: Process) -> None:
    enqueue_file(process, 0)


def two_waiting(process: Process) -> None:
    enqueue_file(process, 0)
    enqueue_file(process, 1)


def script(**words: str) -> Callable[[Process], None]:
    def prepare(process: Process) -> None:
        waiting(process)
        for stage, word in words.items():
            (process.world.settings.data_dir / stage).write_text(word)

    return prepare


def held(process: Process) -> None:
    waiting(process)
    process.service.claim(process.item(), "dead")


def held_by_the_dead(process: Process) -> None:
    held(process)
    expire_lease(process.engine, process.item())


def two_failed(process: Process) -> None:
    two_waiting(process)
    for item_id in process.world.item_ids:
        lease = process.service.claim(item_id, "w")
        process.service.settle(lease, Failed("bad", "Bad.", permanent=True))


def failed(process: Process) -> None:
    waiting(process)
    lease = process.service.claim(process.item(), "w")
    process.service.settle(lease, Failed("bad", "Bad.", permanent=True))


def ended(process: Process) -> None:
    waiting(process)
    process.runner.run(process.item())


def enqueue_file(process: Process, which: int) -> None:
    world = process.world
    document_id = add_document(process.engine, world.settings, world.content(which), owner_id=world.owner)
    world.item_ids.append(process.service.enqueue(document_id).id)


# Flows: what the process does that dies.


def upload(process: Process) -> None:
    """As the web does it, under an Idempotency-Key."""
    world = process.world
    key, fingerprint = f"key-{world.number}", "f" * 64
    turn = process.intake.keys.begin(world.owner, key, fingerprint)
    if isinstance(turn, Answer):
        return
    spool = process.intake.new_spool()
    spool.write(world.content())
    process.intake.take(
        [Upload("note.txt", spool)], Order(), owner=world.owner, turn=turn,
        answer=lambda taken: Answer(202, {}, str(len(taken.accepted))),
    )  # fmt: skip


def upload_plainly(process: Process) -> None:
    spool = process.intake.new_spool()
    spool.write(process.world.content())
    process.intake.accept([Upload("note.txt", spool)], owner=process.world.owner)


def work(process: Process) -> None:
    process.runner.run(process.item())


def work_next(process: Process) -> None:
    process.runner.run_next("documents", process.item())


def work_queue(process: Process) -> None:
    process.runner.process_queue(10)


def fail_and_work_again(process: Process) -> None:
    work(process)
    make_due(process.engine, process.item())
    work(process)


def retry(process: Process) -> None:
    process.service.retry(process.item(), "ann")
    work(process)


def cancel(process: Process) -> None:
    process.service.cancel(process.item(), "ann")


def rescue(process: Process) -> None:
    process.service.mark_suspects()
    expire_lease(process.engine, process.item())
    process.service.rescue()


def sweep_twice(process: Process) -> None:
    for _ in range(2):
        sweep.run(process.world.settings, process.engine, process.delivery, force=True)
        expire_lease(process.engine, process.item())


def report_death(process: Process) -> None:
    process.service.report_horse_death("dead", "killed by signal 9")


def release(process: Process) -> None:
    lease = process.service.claim(process.item(), "stopping")
    process.service.settle(lease, Released("stopping"))


def release_held(process: Process) -> None:
    process.service.release_held("dead", "stopping")


def change_priority(process: Process) -> None:
    process.service.change_priority(process.item(), 9, "ann")


def enqueue_again(process: Process) -> None:
    with process.engine.connect() as connection:
        document_id = connection.execute(
            sa.select(queue_items.c.document_id).where(queue_items.c.id == process.item())
        ).scalar_one()
    process.service.enqueue(document_id, fresh=True)


def clear(process: Process) -> None:
    process.service.clear_ended(0, "ann")


def bulk_retry(process: Process) -> None:
    by = f"ann-{process.world.number}"
    if by not in [operation.requested_by for operation in process.bulk.list()]:
        process.bulk.start("retry", {"status": "failed"}, by=by, reason="The disk was full.")
    process.bulk.work(seconds=60, slice_size=1)


# What is done again by whoever got no answer.


def upload_again(process: Process) -> None:
    try:
        upload(process)
    except KeyInFlight:
        # The turn of a request that died ends by itself after a while.
        with process.engine.begin() as connection:
            connection.execute(sa.update(idempotency_keys).values(locked_until=idempotency_keys.c.created_at))
        upload(process)


def retry_again(process: Process) -> None:
    with contextlib.suppress(IllegalTransition):
        process.service.retry(process.item(), "ann")


def cancel_again(process: Process) -> None:
    with contextlib.suppress(IllegalTransition):
        cancel(process)


def enqueue_if_missing(process: Process) -> None:
    if len(process.statuses()) < 2:
        with contextlib.suppress(AlreadyQueued):
            enqueue_again(process)


@dataclass(frozen=True)
class Flow:
    """One flow.

    Attributes:
        prepare: makes what is there before.
        act: what the process does that dies.
        again: what is asked for once more by whoever may not have had an answer.
        end: the state of every item at the end.
        stages: which results there are at the end.
        documents: how many there are at the end.
    """

    prepare: Callable[[Process], None]
    act: Callable[[Process], None]
    again: Callable[[Process], None] = nothing
    end: tuple[str, ...] = ("completed",)
    stages: tuple[str, ...] = ("analyze", "extract")
    documents: int = 1


FLOWS = {
    "submit": Flow(nothing, upload, upload_again),
    "claim and work off": Flow(waiting, work),
    "claim the next and work it off": Flow(waiting, work_next),
    "work a queue off": Flow(
        two_waiting, work_queue, end=("completed", "completed"),
        stages=("analyze", "analyze", "extract", "extract"), documents=2,
    ),
    "fail, wait, work off": Flow(script(extract="transient"), fail_and_work_again),
    "fail in the second stage, wait, work off": Flow(script(analyze="transient"), fail_and_work_again),
    "fail for good": Flow(script(extract="permanent"), work, end=("failed",), stages=()),
    "retry and work off": Flow(failed, retry, retry_again),
    "rescue": Flow(held_by_the_dead, rescue),
    "sweep": Flow(held_by_the_dead, sweep_twice),
    "report a dead horse": Flow(held, report_death),
    "claim and release": Flow(waiting, release),
    "release what a stopping worker holds": Flow(held, release_held),
    "cancel while it waits": Flow(waiting, cancel, cancel_again, end=("cancelled",), stages=()),
    "cancel while it runs": Flow(
        script(extract="cancel"), work, cancel_again, end=("cancelled",), stages=()
    ),
    "change the priority": Flow(waiting, change_priority, change_priority),
    "enqueue again": Flow(
        ended, enqueue_again, enqueue_if_missing, end=("completed", "completed"),
        stages=("analyze", "analyze", "extract", "extract"),
    ),
    "clear": Flow(ended, clear, clear, end=(), stages=("analyze", "extract")),
    "retry in bulk": Flow(
        two_failed, bulk_retry, bulk_retry, end=("completed", "completed"),
        stages=("analyze", "analyze", "extract", "extract"), documents=2,
    ),
}  # fmt: skip


@pytest.fixture
def new_world(engine, settings):
    owner = accounts.ensure_admin(engine).id
    numbers = iter(range(1_000))

    def _new(flow: Flow) -> World:
        for stage in ("extract", "analyze"):
            (settings.data_dir / stage).unlink(missing_ok=True)
        # A flow that clears what ended, or asks how many run, should see its own items only.
        world = World(settings, next(numbers), owner)
        process = Process(world)
        process.service.clear_ended(0, "the test")
        flow.prepare(process)
        process.engine.dispose()
        # No connection of this process may cross the fork.
        engine.dispose()
        return world

    return _new


@pytest.mark.parametrize("name", FLOWS)
def test_a_crash_after_any_commit_converges_to_the_same_end(new_world, engine, name):
    crash_everywhere(new_world, engine, FLOWS[name], before=False)


# Before a commit the database is as after the one before it; what else there is differs: files, and bells.
@pytest.mark.parametrize("name", ["submit", "claim and work off", "sweep", "retry in bulk"])
def test_a_crash_before_any_commit_converges_to_the_same_end(new_world, engine, name):
    crash_everywhere(new_world, engine, FLOWS[name], before=True)


def crash_everywhere(new_world, engine, flow, *, before):
    for number in range(1, _MOST_COMMITS):
        world = new_world(flow)
        code = run_in_child(partial(act, world, flow, number, before))
        assert code in {0, KILLED}, f"at commit {number}"
        assert run_in_child(partial(recover, world, flow)) == 0, f"at commit {number}"
        assert end_state(engine, world) == expected(flow), f"at commit {number}"
        if code == 0:
            assert number > 1, "the flow commits nothing"
            return
    pytest.fail("the flow does not end")


def test_without_an_idempotency_key_a_repeat_makes_a_second_document(new_world, engine):
    """What the key is for, and a sign that the tests above can fail."""
    flow = Flow(nothing, upload_plainly, upload_plainly)
    world = new_world(flow)
    assert run_in_child(partial(act, world, flow, 1, before=False)) == KILLED
    assert run_in_child(partial(recover, world, flow)) == 0
    assert end_state(engine, world)["documents"] == 2


def test_the_crash_is_at_the_commit_that_was_asked_for(new_world, engine):
    """Before its only commit a cancel did not happen, after it it did."""
    flow = FLOWS["cancel while it waits"]
    for before, status in ((True, "pending"), (False, "cancelled")):
        world = new_world(flow)
        assert run_in_child(partial(act, world, flow, 1, before)) == KILLED
        with engine.connect() as connection:
            found = connection.execute(
                sa.select(queue_items.c.status).where(queue_items.c.id == world.item_ids[0])
            )
            assert found.scalar_one() == status


def act(world: World, flow: Flow, number: int, before: bool) -> None:
    process = Process(world)
    die_at_commit(process.engine, number, before=before)
    flow.act(process)


def recover(world: World, flow: Flow) -> None:
    """What follows a crash: the same request again, sweeps, and another worker."""
    process = Process(world)
    flow.again(process)
    for _ in range(10):
        open_items = [
            item_id for item_id, status in process.statuses().items() if status in {"pending", "in_progress"}
        ]
        if not open_items:
            return
        # Time goes by: leases run out, are marked, stay silent for a heartbeat; backoffs end.
        for step in (process.service.mark_suspects, process.service.rescue):
            for item_id in open_items:
                expire_lease(process.engine, item_id)
            step()
        for item_id in open_items:
            make_due(process.engine, item_id)
        process.runner.process_queue(10)
    raise AssertionError("it does not come to an end")


def expected(flow: Flow) -> dict[str, Any]:
    return {
        "items": sorted(flow.end),
        "documents": flow.documents,
        "bytes": "whole",
        "results": sorted(flow.stages),
        "completed events": [1] * flow.end.count("completed"),
        "open attempts": 0,
        "slots": 0,
        "ledger": "balanced",
    }


def end_state(engine: sa.Engine, world: World) -> dict[str, Any]:
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(documents.c.id, documents.c.sha256).where(documents.c.sha256.in_(world.hashes))
        ).all()
        ids = [row.id for row in found]
        items = connection.execute(
            sa.select(queue_items.c.id, queue_items.c.status).where(queue_items.c.document_id.in_(ids))
        ).all()
        completed = connection.execute(
            sa.select(sa.func.count())
            .where(events.c.kind == "completed", events.c.item_id.in_([row.id for row in items]))
            .group_by(events.c.item_id)
        ).scalars()
        stages = connection.execute(
            sa.select(results.c.stage)
            .join(artifacts, artifacts.c.id == results.c.artifact_id)
            .where(results.c.document_id.in_(ids))
        ).scalars()
        blobs = BlobStore(world.settings.data_dir)
        whole = all(
            hashlib.sha256(blobs.path(row.sha256).read_bytes()).hexdigest() == row.sha256 for row in found
        )
        stats = DocumentQueueService(engine, world.settings).get_queue_stats()
        return {
            "items": sorted(row.status for row in items),
            "documents": len(found),
            "bytes": "whole" if whole else "broken",
            "results": sorted(stages),
            "completed events": list(completed),
            "open attempts": count(connection, attempts, attempts.c.ended_at.is_(None)),
            "slots": count(connection, slots, sa.true()),
            "ledger": "balanced" if stats["accepted"] == stats["total"] + stats["purged"] else stats,
        }


def count(connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one()
