"""Bulk operations: what a filter means, what a dry run says, and slices that no crash repeats or loses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from jobs import accounts, database
from jobs.bulk import BulkKind, BulkOperations
from jobs.bulk.candidates import Candidates, Wanted
from jobs.bulk.request import COUNT_CAP, STATUSES_OF, parse_filter
from jobs.database import Clock
from jobs.errors import IllegalTransition, InvalidBulk, ItemNotFound
from jobs.ids import new_id
from jobs.model import Role
from jobs.queries import Queries
from jobs.tables import attempts, bulk_operations, documents, events, queue_items
from tests.support.items import add_document
from tests.support.servers import wait_until


@pytest.fixture
def bulk(engine, settings, service):
    return BulkOperations(engine, settings, service)


@pytest.fixture
def make(engine, settings, service):
    """Put items of a state into the queue: ``make("failed", 3, filename="a.txt")``."""

    def make_some(status, count=1, *, filename="note.txt", owner=None, code="broken", **enqueue):
        made = []
        for _ in range(count):
            document = add_document(engine, settings, filename=filename, owner_id=owner)
            item = service.enqueue(document, **enqueue)
            if status == "cancelled":
                service.cancel(item.id, "x")
            elif status != "pending":
                lease = service.claim(item.id, "w-1")
                if status == "completed":
                    service.mark_completed(lease)
                elif status == "failed":
                    service.mark_failed(lease, "It broke.", permanent=True, code=code)
            made.append(item.id)
        return made

    return make_some


@pytest.fixture
def mia(engine):
    return accounts.create_user(engine, "mia", None, Role.MEMBER).id


def state_of(engine, item_ids):
    statement = sa.select(queue_items.c.status).where(queue_items.c.id.in_(item_ids))
    with engine.connect() as connection:
        return sorted(connection.execute(statement).scalars())


def count_events(engine, kind):
    counted = sa.select(events.c.item_id, sa.func.count()).where(events.c.kind == kind)
    with engine.connect() as connection:
        return dict(connection.execute(counted.group_by(events.c.item_id)).all())


# What it does.


def test_a_bulk_retry_puts_everything_that_failed_back_and_says_why(bulk, engine, make, service):
    failed, done = make("failed", 5), make("completed", 2)
    operation = bulk.start("retry", {"status": "failed"}, reason="the model is back", by="anna")
    assert (operation.state, operation.matching, operation.done, operation.percent) == ("running", 5, 0, 0)
    assert state_of(engine, failed) == ["failed"] * 5, "starting changes nothing yet"
    assert bulk.work(seconds=0, slice_size=2) == 2
    assert bulk.get(operation.id).percent == 40
    assert bulk.work(seconds=60, slice_size=2) == 3
    ended = bulk.get(operation.id)
    assert (ended.state, ended.done, ended.skipped, ended.percent) == ("completed", 5, 0, 100)
    assert ended.finished_at is not None
    assert state_of(engine, failed) == ["pending"] * 5
    assert state_of(engine, done) == ["completed"] * 2
    retried = [one for one in Queries(engine).events(failed[0]) if one.kind == "retried"]
    assert [(one.data["by"], one.data["reason"]) for one in retried] == [("anna", "the model is back")]
    assert len(service.due_to_announce("documents", 10)) == 5
    with engine.connect() as connection:
        announced = connection.execute(
            sa.select(queue_items.c.announced_at).where(queue_items.c.id.in_(failed))
        )
        assert set(announced.scalars()) == {None}, "the next sweep rings for them"


def test_a_bulk_cancel_ends_what_waits_and_asks_what_runs(bulk, engine, make):
    waiting, running, done = make("pending", 2), make("in_progress", 2), make("completed")
    operation = bulk.start("cancel", {"all": True}, reason="wrong folder", by="anna")
    bulk.work(seconds=60)
    assert (bulk.get(operation.id).done, bulk.get(operation.id).matching) == (4, 4)
    assert state_of(engine, waiting) == ["cancelled"] * 2
    assert all(Queries(engine).item(one, owner=None).cancel_requested_at for one in running)
    assert state_of(engine, done) == ["completed"]
    assert set(count_events(engine, "cancel_requested")) == set(running)
    preview = bulk.preview("cancel", {"ids": running})
    assert (preview.eligible, preview.excluded) == (0, (("cancel was asked for already", 2),))


def test_a_bulk_priority_change_moves_waiting_items_only(bulk, engine, make, service):
    waiting, first = make("pending", 3), make("pending", 1, priority=50)
    running = make("in_progress")
    preview = bulk.preview("change_priority", {"all": True}, {"priority": 50})
    assert (preview.matching, preview.eligible) == (5, 3)
    assert dict(preview.excluded) == {"running": 1, "they have this priority already": 1}
    bulk.start("change_priority", {"all": True}, {"priority": 50}, by="anna")
    bulk.work(seconds=60)
    assert [item.id for item in service.get_pending_items()] == [*first, *waiting]
    assert Queries(engine).item(running[0], owner=None).priority == 0
    assert set(count_events(engine, "priority_changed")) == set(waiting)


def test_a_bulk_delete_takes_ended_items_with_their_attempts_and_events(bulk, engine, make, service):
    gone, stays = make("failed", 3) + make("cancelled", 2), make("pending")
    operation = bulk.start("delete", {"all": True}, by="anna")
    bulk.work(seconds=60, slice_size=2)
    assert bulk.get(operation.id).done == 5
    assert state_of(engine, gone) == []
    assert state_of(engine, stays) == ["pending"]
    with engine.connect() as connection:
        for table in (attempts, events):
            left = connection.execute(sa.select(table.c.item_id)).scalars()
            assert set(left) <= set(stays)
        assert len(connection.execute(sa.select(documents.c.id)).all()) == 6, "documents stay"
    stats = service.get_queue_stats()
    assert (stats["purged"], stats["accepted"]) == (5, 6)


def test_what_cannot_be_changed_when_its_turn_comes_is_skipped(bulk, engine, make, service):
    failed = make("failed", 3)
    documents_of = [Queries(engine).item(one, owner=None).document_id for one in failed]
    operation = bulk.start("retry", {"status": "failed"})
    assert operation.matching == 3
    service.enqueue(documents_of[0])
    service.retry(failed[1], "somebody")
    preview = bulk.preview("retry", {"status": "failed"})
    assert (preview.matching, preview.eligible) == (2, 1)
    assert preview.excluded == (("their document is in the queue already", 1),)
    bulk.work(seconds=60)
    ended = bulk.get(operation.id)
    assert (ended.state, ended.done, ended.skipped) == ("completed", 1, 1)
    assert count_events(engine, "retried") == {failed[1]: 1, failed[2]: 1}


def test_two_operations_of_one_document_are_not_both_put_back_twice(bulk, engine, service, make):
    (one,) = make("failed")
    document = Queries(engine).item(one, owner=None).document_id
    second = service.enqueue(document)
    service.mark_failed(service.claim(second.id, "w"), "It broke.", permanent=True)
    operation = bulk.start("retry", {"status": "failed"})
    bulk.work(seconds=60)
    assert (bulk.get(operation.id).done, bulk.get(operation.id).skipped) == (1, 1)
    assert state_of(engine, [one, second.id]) == ["failed", "pending"]


def test_items_that_came_later_are_not_meant(bulk, engine, make):
    before = make("failed", 2)
    bulk.start("delete", {"status": "failed"})
    after = make("failed", 2)
    bulk.work(seconds=60)
    assert state_of(engine, before) == []
    assert state_of(engine, after) == ["failed"] * 2


def test_an_item_that_fails_again_while_it_works_is_not_retried_again(bulk, engine, make, service):
    failed = make("failed", 4)
    operation = bulk.start("retry", {"status": "failed"})
    bulk.work(seconds=0, slice_size=2)
    service.mark_failed(service.claim(failed[0], "w"), "It broke.", permanent=True)
    bulk.work(seconds=60)
    assert bulk.get(operation.id).done == 4
    assert count_events(engine, "retried") == dict.fromkeys(failed, 1)


def test_stopping_keeps_what_was_done_and_does_no_more(bulk, engine, make):
    failed = make("failed", 4)
    operation = bulk.start("retry", {"status": "failed"}, by="anna")
    bulk.work(seconds=0, slice_size=1)
    assert bulk.cancel(operation.id, "ben").state == "cancelled"
    assert bulk.work(seconds=60) == 0
    assert (bulk.get(operation.id).done, bulk.get(operation.id).percent) == (1, 25)
    assert state_of(engine, failed) == ["failed"] * 3 + ["pending"]
    with pytest.raises(IllegalTransition):
        bulk.cancel(operation.id, "ben")


def test_large_operations_take_turns(bulk, make):
    make("failed", 4)
    make("pending", 4)
    retrying = bulk.start("retry", {"status": "failed"})
    cancelling = bulk.start("cancel", {"status": "pending"})
    bulk.work(seconds=0, slice_size=1)
    bulk.work(seconds=0, slice_size=1)
    one = bulk.advance(cancelling.id, slice_size=1)
    assert (bulk.get(retrying.id).done, one.done) == (2, 1)
    assert bulk.work(seconds=60, slice_size=1) > 0
    assert {bulk.get(one.id).state for one in (retrying, cancelling)} == {"completed"}


def test_nobody_starts_more_than_twenty(bulk, mia):
    started = [bulk.start("retry", {"all": True}, owner=mia) for _ in range(20)]
    with pytest.raises(InvalidBulk, match="20 bulk operations"):
        bulk.start("retry", {"all": True}, owner=mia)
    bulk.start("retry", {"all": True})
    bulk.cancel(started[0].id, "mia")
    bulk.start("retry", {"all": True}, owner=mia)


def test_slices_shrink_where_they_are_slow(bulk, engine, make, monkeypatch):
    failed = make("failed", 9)
    sizes = []
    real = bulk._try_slice
    monkeypatch.setattr(bulk, "_try_slice", lambda one, size: sizes.append(size) or real(one, size))
    monkeypatch.setattr("jobs.bulk.service._SLOW_SLICE_SECONDS", -1.0)
    bulk.start("retry", {"status": "failed"})
    assert bulk.work(seconds=60, slice_size=4) == 9
    assert sizes[:4] == [4, 2, 1, 1]
    assert count_events(engine, "retried") == dict.fromkeys(failed, 1)


# What is meant.


def test_every_member_of_a_filter_narrows(bulk, engine, make, mia):
    plain = make("failed", filename="Ärger.pdf")
    coded = make("failed", code="model_refused", filename="b_1%.pdf")
    extract = make("failed", operation="extract")
    hers = make("failed", owner=mia)
    quarantined = make("failed", code="quarantined")
    everything = plain + coded + extract + hers + quarantined
    document = Queries(engine).item(plain[0], owner=None).document_id

    def found(**wanted):
        with engine.connect() as connection:
            read, _ = parse_filter(wanted, None)
            now = Clock(engine.dialect.name).read(connection)
            part = Candidates(engine.dialect.name).take(
                connection, Wanted(BulkKind.RETRY, read, {}, now), None, 100
            )
            assert part.is_last
            preview = bulk.preview("retry", wanted)
            assert (preview.matching, preview.eligible) == (len(part.item_ids),) * 2
            assert not preview.capped
            return sorted(part.item_ids)

    middle = Queries(engine).item(extract[0], owner=None).created_at.isoformat()
    assert found(all=True) == sorted(everything)
    assert found(status="failed") == sorted(everything)
    assert found(status="cancelled") == []
    assert found(label="failed") == sorted(plain + coded + extract + hers)
    assert found(label="quarantined") == quarantined
    assert found(operation="extract") == extract
    assert found(queue="elsewhere") == []
    assert found(error_code="model_refused") == coded
    assert found(owner_id=mia) == hers
    assert found(owner_id=mia, label="quarantined") == []
    assert found(created_before=middle) == sorted(plain + coded)
    assert found(created_after=middle) == sorted(extract + hers + quarantined)
    assert found(owner_id=mia, created_before=middle) == []
    assert found(text="ärger") == plain
    assert found(text="_1%") == coded
    assert found(text=document) == plain
    assert found(ids=[coded[0], hers[0], new_id()][:2]) == sorted(coded + hers)


def test_pending_items_are_told_apart_by_what_they_are_shown_as(bulk, engine, make, service):
    make("pending")
    make("pending", 2, delay_seconds=1000)
    make("in_progress", 3)
    service.report_horse_death("w-1", "it was killed")
    make("in_progress", 4)
    with engine.begin() as connection:
        later = sa.update(queue_items).where(queue_items.c.crashes > 0)
        moved = connection.execute(
            later.values(due_at=Clock(engine.dialect.name).after(1000), deferred=True)
        ).rowcount
    for label, count in (("waiting", 1), ("scheduled", 2), ("retrying", moved), ("running", 7 - moved)):
        assert bulk.preview("cancel", {"label": label}).eligible == count, label
    assert moved == 3


def test_a_dry_run_counts_and_says_why_not(bulk, make):
    make("failed", 3)
    make("completed", 2)
    make("in_progress")
    before = make("pending")
    preview = bulk.preview("retry", {"all": True})
    assert (preview.matching, preview.eligible, preview.capped) == (7, 3, False)
    assert dict(preview.excluded) == {"completed": 2, "running": 1, "waiting in the queue": 1}
    preview = bulk.preview("retry", {"ids": [*before, new_id()]})
    assert dict(preview.excluded) == {"waiting in the queue": 1, "not there (any more)": 1}


def test_a_member_reaches_nothing_but_their_own(bulk, engine, make, mia):
    others, hers = make("failed", 3), make("failed", 2, owner=mia)
    assert bulk.preview("retry", {"all": True}, owner=mia).matching == 2
    assert bulk.preview("retry", {"ids": others + hers}, owner=mia).matching == 2
    with pytest.raises(InvalidBulk, match="Only an admin"):
        bulk.preview("retry", {"owner_id": new_id()}, owner=mia)
    for wanted in ({"all": True}, {"ids": others + hers}, {"status": "failed"}):
        operation = bulk.start("delete" if "status" in wanted else "retry", wanted, by="mia", owner=mia)
        bulk.work(seconds=60, slice_size=1)
        assert bulk.get(operation.id, mia).state == "completed"
    assert state_of(engine, others) == ["failed"] * 3
    foreign = bulk.start("retry", {"all": True})
    with pytest.raises(ItemNotFound):
        bulk.get(foreign.id, mia)
    with pytest.raises(ItemNotFound):
        bulk.cancel(foreign.id, "mia", mia)
    assert len(bulk.list(owner=mia)) == 3
    assert len(bulk.list()) == 4


def test_a_document_with_several_items_is_dealt_with_whole(bulk, engine, make, service, mia):
    (first,) = make("completed", owner=mia)
    document = Queries(engine).item(first, owner=None).document_id
    for _ in range(3):
        service.mark_completed(service.claim(service.enqueue(document).id, "w"))
    make("completed", 2, owner=mia)
    operation = bulk.start("delete", {"all": True}, owner=mia)
    bulk.work(seconds=60, slice_size=1)
    assert (bulk.get(operation.id).done, bulk.get(operation.id).skipped) == (6, 0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "empty filter"),
        (None, "JSON object"),
        ([], "JSON object"),
        ({"all": False}, "true or left out"),
        ({"all": True, "status": "failed"}, "stands alone"),
        ({"ids": []}, "1 to 1000"),
        ({"ids": ["x"]}, "no id"),
        ({"ids": [new_id()] * 1001}, "1 to 1000"),
        ({"ids": [new_id()], "queue": "documents"}, "stands alone"),
        ({"colour": "red"}, "'colour'"),
        ({"status": "running"}, "status is one of"),
        ({"status": ["failed"]}, "status is one of"),
        ({"label": "odd"}, "label is one of"),
        ({"status": "completed", "label": "waiting"}, "No job"),
        ({"operation": "dance"}, "operation is one of"),
        ({"text": ""}, "1 to 200"),
        ({"text": "x" * 201}, "1 to 200"),
        ({"created_before": "yesterday"}, "time zone"),
        ({"created_before": "2026-01-01T00:00:00"}, "time zone"),
        ({"created_before": "0001-01-01T00:00:00+14:00"}, "time zone"),
        (
            {"created_after": "2026-01-02T00:00:00Z", "created_before": "2026-01-01T00:00:00Z"},
            "not before",
        ),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(wanted, message):
    with pytest.raises(InvalidBulk, match=message):
        parse_filter(wanted, None)


@pytest.mark.parametrize(
    ("kind", "arguments", "reason"),
    [
        ("explode", None, ""),
        (["retry"], None, ""),
        ("retry", {"priority": 1}, ""),
        ("change_priority", None, ""),
        ("change_priority", {"priority": 101}, ""),
        ("change_priority", {"priority": True}, ""),
        ("change_priority", {"priority": "5"}, ""),
        ("retry", None, "x" * 501),
        ("retry", None, 7),
    ],
)
def test_kind_arguments_and_reason_are_checked(bulk, kind, arguments, reason):
    with pytest.raises(InvalidBulk):
        bulk.start(kind, {"all": True}, arguments, reason)
    assert bulk.list() == []


# Crashes and company.

CRASHING = """
import os, signal, sys
from jobs import database
from jobs.bulk import BulkOperations
from jobs.queue_service import DocumentQueueService
from jobs.settings import load_settings
settings = load_settings()
engine = database.make_engine(settings)
calls = 0
name = sys.argv[2]
real = getattr(DocumentQueueService, name)
def counting(self, *arguments):
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *arguments)
setattr(DocumentQueueService, name, counting)
print(BulkOperations(engine, settings).work(seconds=60, slice_size=4))
"""


@pytest.mark.parametrize(
    "point", [("retry_in", 3), ("retry_in", 6), ("mark_unannounced", 1), ("mark_unannounced", 2)]
)
def test_a_crash_in_or_between_slices_repeats_nothing_and_loses_nothing(bulk, engine, environ, make, point):
    failed = make("failed", 10)
    operation = bulk.start("retry", {"status": "failed"}, by="anna")
    name, call = point
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHING, str(call), name],
        env={"PATH": os.environ["PATH"], **environ}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    half = bulk.get(operation.id)
    assert half.state == "running"
    assert half.done == {"retry_in": (call - 1) // 4 * 4, "mark_unannounced": call * 4}[name]
    assert len(count_events(engine, "retried")) == half.done
    wait_until(
        lambda: bulk.work(seconds=60, slice_size=4) or not bulk.get(operation.id).is_running,
        20,
        "the rest is done",
    )
    bulk.work(seconds=60, slice_size=4)
    ended = bulk.get(operation.id)
    assert (ended.state, ended.done, ended.skipped) == ("completed", 10, 0)
    assert count_events(engine, "retried") == dict.fromkeys(failed, 1)


def test_two_workers_at_once_count_nothing_twice(engine, settings, environ, make, bulk):
    failed = make("failed", 30)
    operation = bulk.start("retry", {"status": "failed"})
    engines = [database.make_engine(settings) for _ in range(2)]
    handled = []
    begin = threading.Barrier(2)

    def work(own):
        mine = BulkOperations(own, settings)
        begin.wait()
        while mine.get(operation.id).is_running:
            handled.append(mine.work(seconds=0, slice_size=1))

    threads = [threading.Thread(target=work, args=(own,)) for own in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for own in engines:
        own.dispose()
    assert sum(handled) == 30
    assert (bulk.get(operation.id).done, bulk.get(operation.id).skipped) == (30, 0)
    assert count_events(engine, "retried") == dict.fromkeys(failed, 1)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_operation_that_somebody_holds_is_left_to_them(engine, settings, make, bulk):
    make("failed", 2)
    held = bulk.start("retry", {"status": "failed"})
    other = bulk.start("delete", {"status": "failed"})
    with database.make_engine(settings, pooled=False).begin() as connection:
        connection.execute(
            sa.select(bulk_operations.c.id).where(bulk_operations.c.id == held.id).with_for_update()
        )
        assert bulk.work(seconds=60) == 2
        assert bulk.get(held.id).is_running
        assert not bulk.get(other.id).is_running


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_slice_that_waits_in_vain_is_repeated_whole(engine, settings, make, bulk):
    failed = make("failed", 3)
    operation = bulk.start("retry", {"status": "failed"})
    impatient = sa.create_engine(
        settings.database_url, connect_args={"options": "-c lock_timeout=200ms"}, poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        connection.execute(sa.select(queue_items.c.id).where(queue_items.c.id == failed[1]).with_for_update())
        assert BulkOperations(impatient, settings).work(seconds=60) == 0
    assert bulk.get(operation.id).done == 0
    bulk.work(seconds=60)
    assert count_events(engine, "retried") == dict.fromkeys(failed, 1)


# Depth.


def plan_of(connection, statement):
    prefix = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    compiled = statement.compile(connection, compile_kwargs={"literal_binds": True})
    rows = connection.exec_driver_sql(prefix + str(compiled).replace("%", "%%"))
    return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize("kind", list(BulkKind))
@pytest.mark.parametrize(
    "wanted",
    [
        {"all": True},
        {"status": "failed"},
        {"label": "waiting"},
        {"text": "x"},
        {"queue": "documents", "error_code": "x", "operation": "process"},
        {"created_after": "2026-01-01T00:00:00Z"},
        {"owner_id": new_id()},
        {"owner_id": new_id(), "text": "x"},
    ],
)
def test_no_statement_scans_the_table(engine, kind, wanted):
    read, _ = parse_filter(wanted, None)
    asked = Wanted(kind, read, {"priority": 5}, datetime.now(UTC))
    candidates = Candidates(engine.dialect.name)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # An empty table is cheapest read whole; what counts is whether it must be.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        after = (datetime.now(UTC) - timedelta(days=1), new_id())
        plan = plan_of(connection, candidates.statement(asked, after, 100))
    for table in ("queue_items", "documents"):
        assert f"Seq Scan on {table}" not in plan, plan
        assert not any(
            line.startswith(f"SCAN {table}") and "INDEX" not in line for line in plan.splitlines()
        ), plan
    if set(read.statuses) & set(STATUSES_OF[kind]):
        by_owner = "owner_id" in wanted
        # By its instants alone an empty table is as well read in the order of all items.
        walked = (
            ("ix_documents_owner_id",) if by_owner else ("ix_queue_items_newest", "ix_queue_items_created")
        )
        assert any(name in plan for name in walked), plan


def test_a_rare_filter_looks_at_a_bounded_part_each_time(bulk, engine, make):
    make("failed", 25)
    (rare,) = make("failed", code="rare")
    operation = bulk.start("retry", {"error_code": "rare"})
    slices = 0
    while bulk.get(operation.id).is_running:
        bulk.work(seconds=0, slice_size=1)
        slices += 1
    assert slices == 3, "ten rows are looked at for each item that a slice may change"
    assert count_events(engine, "retried") == {rare: 1}


def test_a_dry_run_stops_counting(bulk, engine, make, monkeypatch):
    make("failed", 6)
    monkeypatch.setattr("jobs.bulk.candidates.COUNT_CAP", 4)
    monkeypatch.setattr("jobs.bulk.service.COUNT_CAP", 4)
    monkeypatch.setattr("jobs.bulk.candidates._LOOKED_AT_FOR_A_COUNT", 5)
    preview = bulk.preview("retry", {"all": True})
    assert (preview.matching, preview.eligible, preview.capped, preview.eligible_capped) == (4, 4, True, True)
    preview = bulk.preview("cancel", {"all": True})
    assert (preview.matching, preview.eligible, preview.capped, preview.eligible_capped) == (
        4,
        0,
        True,
        False,
    )
    assert bulk.preview("retry", {"error_code": "other"}).capped, "not all was looked at"
    assert bulk.start("retry", {"status": "failed"}).matching == 6, "the kept counts know"
    assert bulk.start("retry", {"operation": "process"}).matching == 4


def test_progress_is_not_told_while_nobody_knows_how_much_there_is(bulk, make):
    make("failed")
    operation = bulk.start("retry", {"all": True})
    assert replace(operation, matching=COUNT_CAP).percent is None
    assert replace(operation, matching=3, done=3).percent is None
    assert replace(operation, matching=3, done=3, state="completed").percent == 100
