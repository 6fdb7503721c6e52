"""Many items at once: claimed in one statement, settled in one commit; each for itself when one dies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import datetime

import pytest
import sqlalchemy as sa

from jobs.batch_runner import MOST_AT_ONCE, BatchRunner, Pace
from jobs.errors import LeaseLost, Permanent
from jobs.ids import new_id
from jobs.model import Artifact, Checkpoint, Completed, Failed, Status
from jobs.operations import OPERATIONS, Operation
from jobs.queue_service import DocumentQueueService
from jobs.runner import Runner
from jobs.tables import artifacts, attempts, claims, events, queue_items, results
from tests.support.items import add_document, expire_lease, raw_item


@pytest.fixture
def line(engine, settings, service):
    """Ten items, as the line has them."""
    for number in range(10):
        service.enqueue(add_document(engine, settings, b"%d" % number), priority=number % 2)
    return [item.id for item in service.get_pending_items(10)]


def rows(engine, table, *where):
    with engine.connect() as connection:
        return connection.execute(sa.select(table).where(*where)).all()


def counted(engine, item_id):
    row = raw_item(engine, item_id)
    return row["status"], row["attempt"], row["crashes"], row["failures"]


def test_a_batch_is_the_head_of_the_line_in_its_order(service, engine, line, monkeypatch):
    monkeypatch.setattr("jobs.queue_service.batches.SHARE_OF_THE_LONGEST_WAITING", 0.0)
    leases = service.claim_many("documents", "w", 7)
    assert [lease.item.id for lease in leases] == line[:7]
    assert len({lease.lease_id for lease in leases}) == 1
    for lease in leases:
        row = raw_item(engine, lease.item.id)
        assert (row["status"], row["attempt"], row["worker"]) == ("in_progress", 1, "w")
        assert row["started_at"] is None
        assert [
            (one.attempt, one.lease_id, one.outcome)
            for one in rows(engine, attempts, attempts.c.item_id == lease.item.id)
        ] == [(1, lease.lease_id, None)]
        told = rows(engine, events, events.c.item_id == lease.item.id, events.c.kind == "started")
        assert [(one.attempt, one.lease_id, one.data["worker"]) for one in told] == [(1, lease.lease_id, "w")]
    assert [lease.item.id for lease in service.claim_many("documents", "w", 7)] == line[7:]
    assert service.claim_many("documents", "w", 7) == []


def test_the_longest_waiting_have_their_share_of_the_batches(service, engine, line, monkeypatch):
    monkeypatch.setattr("jobs.queue_service.batches.SHARE_OF_THE_LONGEST_WAITING", 1.0)
    leases = service.claim_many("documents", "w", 4)
    due = [lease.item.due_at for lease in leases]
    assert due == sorted(due)
    assert {lease.item.id for lease in leases} != set(line[:4])


def test_nothing_of_a_paused_queue_is_claimed(service, line):
    service.pause_queue("documents", "ann", "wait")
    assert service.claim_many("documents", "w", 5) == []
    service.resume_queue("documents", "ann")
    assert len(service.claim_many("documents", "w", 5)) == 5


def test_two_that_claim_at_once_never_hold_the_same_item(engine, settings, service, line):
    taken, gate = [], threading.Barrier(4)

    def claim(number):
        gate.wait()
        taken.extend(DocumentQueueService(engine, settings).claim_many("documents", f"w{number}", 4))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(Counter(lease.item.id for lease in taken).values()) == 1


def test_many_are_settled_as_one_and_again_without_effect(service, engine, line):
    leases = service.claim_many("documents", "w", 6)
    done = {lease.item.id for lease in leases}
    assert service.settle_many(leases, peak_memory_bytes=7) == done
    before = rows(engine, events)
    assert service.settle_many(leases) == done
    assert rows(engine, events) == before
    for lease in leases:
        assert counted(engine, lease.item.id) == ("completed", 1, 0, 0)
        row = raw_item(engine, lease.item.id)
        assert (row["lease_id"], row["worker"], row["progress"]) == (None, None, 1.0)
        assert row["finished_at"] is not None
        (attempt,) = rows(engine, attempts, attempts.c.item_id == lease.item.id)
        assert (attempt.outcome, attempt.peak_memory_bytes) == ("completed", 7)
        kinds = [one.kind for one in rows(engine, events, events.c.item_id == lease.item.id)]
        assert kinds == ["accepted", "started", "completed"]


def test_a_lease_that_was_lost_is_left_out_and_its_item_untouched(service, engine, line):
    leases = service.claim_many("documents", "w", 3)
    expire_lease(engine, leases[0].item.id)
    service.mark_suspects()
    expire_lease(engine, leases[0].item.id)
    assert len(service.rescue()) == 1
    second = service.claim(leases[0].item.id, "other")
    assert second is not None
    assert service.settle_many(leases) == {lease.item.id for lease in leases[1:]}
    assert counted(engine, leases[0].item.id) == ("in_progress", 2, 0, 0)
    assert service.settle(second, Completed()).status is Status.COMPLETED
    with pytest.raises(LeaseLost):
        service.settle(leases[0], Failed("x", "x", permanent=True))


def test_one_renewal_keeps_all_and_tells_who_is_lost_or_cancelled(service, engine, line):
    leases = service.claim_many("documents", "w", 4)
    for lease in leases:
        expire_lease(engine, lease.item.id)
    service.cancel(leases[1].item.id, "ann")
    service.report_horse_death("nobody", "x")
    kept = service.renew_many(leases)
    assert kept.held == {lease.item.id for lease in leases}
    assert kept.cancelled == {leases[1].item.id}
    assert service.mark_suspects() == 0
    service.settle(leases[2], Completed())
    assert service.look_after(leases).held == kept.held - {leases[2].item.id}
    assert service.renew_many(leases).held == kept.held - {leases[2].item.id}


def test_what_was_not_begun_goes_back_uncounted_and_what_is_cancelled_ends(service, engine, line):
    leases = service.claim_many("documents", "w", 4)
    service.cancel(leases[3].item.id, "ann")
    back = service.hand_back(leases, "the item before it is slow")
    assert [item.id for item in back] == [lease.item.id for lease in leases[:3]]
    for lease in leases[:3]:
        assert counted(engine, lease.item.id) == ("pending", 1, 0, 0)
        (attempt,) = rows(engine, attempts, attempts.c.item_id == lease.item.id)
        assert attempt.outcome == "released"
        told = rows(engine, events, events.c.item_id == lease.item.id)[-1]
        assert (told.kind, told.data["status"]) == ("released", "pending")
        assert datetime.fromisoformat(told.data["due_at"]) == service.read_item(lease.item.id).due_at
    assert counted(engine, leases[3].item.id) == ("cancelled", 1, 0, 0)
    again = {lease.item.id: lease.attempt for lease in service.claim_many("documents", "w", 10)}
    assert [again[lease.item.id] for lease in leases[:3]] == [2, 2, 2]


def test_when_the_horse_dies_only_what_ran_counts_a_crash(service, engine, line):
    leases = service.claim_many("documents", "w", 5)
    service.renew(leases[0], stage="extract")
    service.renew(leases[1], stage="extract")
    taken = service.report_horse_death("w", "killed by signal 9", running=leases[1].item.id)
    assert len(taken) == 5
    assert [counted(engine, lease.item.id)[2] for lease in leases] == [0, 1, 0, 0, 0]
    assert {counted(engine, lease.item.id)[0] for lease in leases} == {"pending"}


def test_when_the_worker_dies_what_had_begun_counts_a_crash(service, engine, line):
    leases = service.claim_many("documents", "w", 5)
    service.renew(leases[0], stage="extract")
    service.report_horse_death("w", "the worker was killed")
    assert [counted(engine, lease.item.id)[2] for lease in leases] == [1, 0, 0, 0, 0]


def test_when_the_machine_dies_what_had_begun_counts_a_crash(service, engine, line):
    leases = service.claim_many("documents", "w", 5)
    service.renew(leases[2], stage="extract")
    for lease in leases:
        expire_lease(engine, lease.item.id)
    service.mark_suspects()
    for lease in leases:
        expire_lease(engine, lease.item.id)
    assert len(service.rescue()) == 5
    assert [counted(engine, lease.item.id)[2] for lease in leases] == [0, 0, 1, 0, 0]


class Watching:
    """A supervisor that remembers."""

    def __init__(self, share=MOST_AT_ONCE):
        self.stopping = self.pausing = False
        self.share = share
        self.batches, self.began, self.over = [], [], []
        self.running = None

    def claimed(self, leases):
        self.batches.append(len(leases))

    def begins(self, lease, seconds):
        assert seconds > 0
        self.began.append(lease.item.id)
        self.running = lease.item.id

    def ends(self):
        self.running = None

    def settled(self, leases):
        self.over += [lease.item.id for lease in leases]


class Quick(Runner):
    """Does nothing, but what a test says of an item."""

    special: dict = {}  # noqa: RUF012

    def _run_stages(self, lease, heartbeat):
        action = self.special.get(lease.item.id)
        if action is not None:
            action(lease, heartbeat)


@pytest.fixture
def batch_runner(engine, settings, service):
    made = []

    def _make(supervisor, special=None, ring=lambda _items: None):
        runner = Quick(engine, settings, "w")
        runner.special = special or {}
        made.append(BatchRunner(runner, service, settings, "w", supervisor, ring))
        return made[-1]

    yield _make
    for one in made:
        one.close()


@pytest.fixture
def long_line(engine, settings, service):
    for number in range(60):
        service.enqueue(add_document(engine, settings, b"%d" % number))
    return [item.id for item in service.get_pending_items(60)]


def test_batches_grow_while_items_are_short_and_everything_is_settled(engine, long_line, batch_runner):
    watching = Watching()
    assert batch_runner(watching).drain("documents") == 60
    assert watching.batches[:4] == [1, 2, 4, 8]
    assert sorted(watching.began) == sorted(watching.over) == sorted(long_line)
    assert {counted(engine, item_id) for item_id in long_line} == {("completed", 1, 0, 0)}


def test_nobody_takes_more_than_a_share(long_line, batch_runner):
    watching = Watching(share=3)
    batch_runner(watching).drain("documents")
    assert max(watching.batches) == 3


def made(stage):
    return Artifact(
        id=new_id(), stage=stage, cache_key=stage, engine="e", engine_version="1", body={"text": stage},
        meta={}, created_at=None,
    )  # fmt: skip


def test_stages_are_written_with_the_settlement_in_one_commit_or_not_at_all(service, engine, line):
    leases = service.claim_many("documents", "w", 3)
    expire_lease(engine, leases[0].item.id)
    service.mark_suspects()
    expire_lease(engine, leases[0].item.id)
    assert len(service.rescue()) == 1
    ended = {
        lease.item.id: [Checkpoint(stage, made(stage), reused=False) for stage in ("extract", "analyze")]
        for lease in leases
    }
    done = {lease.item.id for lease in leases[1:]}
    for _ in range(2):
        # Again after a lost answer: nothing is written twice.
        assert service.settle_many(leases, ended=ended) == done
        found = rows(engine, results)
        assert sorted((one.item_id, one.stage) for one in found) == sorted(
            (item_id, stage) for item_id in done for stage in ("extract", "analyze")
        )
        kept = {one.artifact.id for item_id in done for one in ended[item_id]}
        assert {one.id for one in rows(engine, artifacts)} == kept == {one.artifact_id for one in found}
    for item_id in done:
        told = rows(engine, events, events.c.item_id == item_id)
        assert [one.kind for one in told[-3:]] == ["stage_completed", "stage_completed", "completed"]
        (attempt,) = rows(engine, attempts, attempts.c.item_id == item_id)
        assert (attempt.outcome, attempt.stage) == ("completed", "analyze")


def test_a_slow_item_hands_the_others_back_while_it_runs(engine, long_line, batch_runner):
    back, seen = [], threading.Event()

    def ring(items):
        back.extend(item.id for item in items)
        seen.set()

    def slow(_lease, _heartbeat):
        assert seen.wait(10)

    watching = Watching()
    runner = batch_runner(watching, {long_line[20]: slow}, ring)
    runner.drain("documents")
    assert back
    assert long_line[20] not in back
    assert {counted(engine, item_id)[0] for item_id in long_line} == {"completed"}
    assert {counted(engine, item_id)[1:] for item_id in back} == {(2, 0, 0)}
    assert all(counted(engine, item_id)[1] == 1 for item_id in set(long_line) - set(back))


def test_a_stop_in_the_middle_hands_the_rest_back(engine, long_line, batch_runner):
    watching = Watching()

    def stop(_lease, _heartbeat):
        watching.stopping = watching.pausing = True

    batch_runner(watching, {long_line[20]: stop}).drain("documents")
    found = Counter(counted(engine, item_id)[0] for item_id in long_line)
    assert found["in_progress"] == 0
    assert counted(engine, long_line[20])[0] == "completed"
    assert found["completed"] == len(watching.began)


def test_one_that_fails_or_is_lost_does_not_touch_its_neighbours(engine, service, long_line, batch_runner):
    def fail(_lease, _heartbeat):
        raise Permanent("It is broken.", code="broken")

    def lose(lease, heartbeat):
        if lease.attempt == 1:
            service.report_horse_death("w", "taken for dead", running=lease.item.id)
        heartbeat.enter("extract")

    batch_runner(Watching(), {long_line[9]: fail, long_line[25]: lose}).drain("documents")
    assert counted(engine, long_line[9]) == ("failed", 1, 0, 1)
    assert counted(engine, long_line[25])[2] == 1
    others = set(long_line) - {long_line[9], long_line[25]}
    assert {counted(engine, item_id)[0::3] for item_id in others} == {("completed", 0)}


def test_nothing_is_said_to_run_any_more_when_the_last_attempt_lost_its_lease(
    engine, settings, service, batch_runner
):
    item = service.enqueue(add_document(engine, settings))

    def lose(lease, heartbeat):
        service.pause_queue("documents", "ann", "so that it is not taken again")
        service.report_horse_death("w", "taken for dead", running=lease.item.id)
        heartbeat.enter("extract")

    watching = Watching()
    batch_runner(watching, {item.id: lose}).drain("documents")
    assert watching.began == watching.over == [item.id]
    assert watching.running is None


def test_a_batch_follows_what_items_took_of_late():
    pace = Pace()
    assert pace.size(100) == 1
    for _ in range(20):
        pace.note(0.000_01)
        size = pace.size(10_000)
    assert size == MOST_AT_ONCE
    assert pace.size(7) == 7
    pace.note(0.025)
    assert pace.size(10_000) == 2
    pace.note(3.0)
    assert pace.size(10_000) == 1


def test_an_operation_without_stages_reads_nothing(monkeypatch, engine, settings, service, line):
    monkeypatch.setitem(OPERATIONS, "process", Operation("process", (), frozenset()))
    runner = BatchRunner(
        Runner(engine, settings, "w"), service, settings, "w", Watching(), lambda _items: None
    )
    began = time.monotonic()
    assert runner.drain("documents") == 10
    assert time.monotonic() - began < 60
    runner.close()
    assert {counted(engine, item_id)[0] for item_id in line} == {"completed"}


def test_a_rehearsal_touches_nothing(service, engine, line):
    tables = (queue_items, attempts, events, claims)
    before = [rows(engine, table) for table in tables]
    service.rehearse("w")
    assert [rows(engine, table) for table in tables] == before
    assert len(service.claim_many("documents", "w", 2)) == 2
