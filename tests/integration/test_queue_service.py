"""Every row of the state table, on both databases, and the fence that guards each of them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from jobs.database import Clock
from jobs.errors import (
    AlreadyQueued,
    DocumentNotFound,
    IllegalTransition,
    ItemNotFound,
    LeaseLost,
    UnsupportedOperation,
)
from jobs.ids import new_id
from jobs.model import Artifact, Completed, Crashed, Failed, Released, Snoozed, Status
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from jobs.tables import attempts, events, queue_items, results, sweeps
from tests.support.items import add_document, expire_lease, make_due, raw_item


@pytest.fixture
def queries(engine):
    return Queries(engine)


@pytest.fixture
def document_id(engine, settings):
    return add_document(engine, settings)


@pytest.fixture
def item(service, document_id):
    return service.enqueue(document_id)


@pytest.fixture
def lease(service, item):
    claimed = service.mark_in_progress(item, "worker-1")
    assert claimed is not None
    return claimed


def kinds(queries, item):
    return [event.kind for event in queries.events(item.id)]


def artifact(stage="extract", text="x"):
    return Artifact(
        id=new_id(), stage=stage, cache_key=stage * 4, engine="e", engine_version="1",
        body={"text": text}, meta={"title": "T"}, created_at=None,
    )  # fmt: skip


# enqueue: none -> pending


def test_enqueue_makes_a_pending_item_that_is_due_and_an_event(service, queries, item):
    assert item.status is Status.PENDING
    assert (item.attempt, item.failures, item.crashes) == (0, 0, 0)
    assert [found.id for found in service.get_pending_items(10)] == [item.id]
    assert kinds(queries, item) == ["accepted"]


def test_enqueue_refuses_a_second_open_item_for_the_same_operation(service, document_id, item):
    with pytest.raises(AlreadyQueued) as refused:
        service.enqueue(document_id)
    assert refused.value.item_id == item.id
    assert service.enqueue(document_id, "extract").id != item.id


def test_enqueue_refuses_what_it_does_not_know(service, document_id):
    with pytest.raises(UnsupportedOperation):
        service.enqueue(document_id, "translate")
    with pytest.raises(DocumentNotFound):
        service.enqueue(new_id())
    with pytest.raises(DocumentNotFound):
        service.enqueue("not-an-id")


def test_pending_items_come_by_priority_then_by_due_time(service, engine, settings):
    low, usual, high = (
        service.enqueue(add_document(engine, settings), "process", priority) for priority in (-1, 0, 5)
    )
    assert [one.id for one in service.get_pending_items(10)] == [high.id, usual.id, low.id]
    assert len(service.get_pending_items(2)) == 2


def test_a_delayed_item_is_not_due_yet(service, document_id):
    delayed = service.enqueue(document_id, delay_seconds=60)
    assert service.get_pending_items(10) == []
    assert service.mark_in_progress(delayed, "w") is None
    assert service.get_queue_stats()["scheduled"] == 1


# claim: pending -> in_progress


def test_claim_takes_the_lease_and_opens_an_attempt(service, queries, lease, item, engine):
    row = raw_item(engine, item.id)
    assert (row["status"], row["attempt"], row["worker"]) == ("in_progress", 1, "worker-1")
    assert row["lease_id"] == lease.lease_id
    (attempt,) = queries.attempts(item.id)
    assert (attempt.attempt, attempt.worker, attempt.ended_at) == (1, "worker-1", None)
    assert kinds(queries, item) == ["accepted", "started"]


def test_a_claimed_item_cannot_be_claimed_again(service, lease, item):
    assert service.mark_in_progress(item, "worker-2") is None
    assert service.claim(new_id(), "worker-2") is None


def test_two_claimers_and_one_item(service, item):
    start = threading.Barrier(8)
    won = []

    def claim(name):
        start.wait()
        won.append(service.claim(item.id, name))

    threads = [threading.Thread(target=claim, args=(f"worker-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in won) == 1


def test_a_claimer_that_waits_for_anothers_transaction_gets_nothing(service, engine, item):
    """The race shown with a held lock: the second claim is under way when the first one commits."""
    clock = Clock(engine.dialect.name)
    first = engine.connect()
    transaction = first.begin()
    first.execute(
        sa.update(queue_items)
        .where(queue_items.c.id == item.id, queue_items.c.status == "pending")
        .values(
            status="in_progress", attempt=1, worker="first", lease_id="f" * 32,
            lease_expires_at=clock.steady + 60, lease_boot=clock.boot,
        )
    )  # fmt: skip
    answers = []
    second = threading.Thread(target=lambda: answers.append(service.claim(item.id, "second")))
    second.start()
    second.join(0.3)
    assert second.is_alive(), "the second claim should be waiting for the first one's lock"
    transaction.commit()
    first.close()
    second.join(10)
    assert answers == [None]
    assert raw_item(engine, item.id)["worker"] == "first"


# renew: in_progress -> in_progress


def test_renew_prolongs_the_lease_clears_suspicion_and_reports_progress(
    service, engine, lease, item, queries
):
    expire_lease(engine, item.id)
    assert service.mark_suspects() == 1
    assert service.renew(lease, stage="extract", progress=0.5) is False
    row = raw_item(engine, item.id)
    assert row["suspect_at"] is None
    assert (row["stage"], row["progress"]) == ("extract", 0.5)
    assert queries.events(item.id)[-1].data == {"status": "in_progress", "stage": "extract", "progress": 0.5}


def test_renew_tells_pages_and_forgets_them_with_the_next_stage(service, engine, lease, item, queries):
    service.renew(lease, stage="extract", progress=0.25, pages=(12, 48))
    row = raw_item(engine, item.id)
    assert (row["page"], row["page_count"]) == (12, 48)
    assert queries.events(item.id)[-1].data == {
        "status": "in_progress", "stage": "extract", "progress": 0.25, "page": 12, "page_count": 48,
    }  # fmt: skip
    service.renew(lease)
    assert raw_item(engine, item.id)["page"] == 12
    service.renew(lease, stage="analyze", progress=0.0)
    assert raw_item(engine, item.id)["page"] is None
    assert set(queries.events(item.id)[-1].data) == {"status", "stage", "progress"}


def test_renew_answers_whether_a_cancel_was_asked_for(service, lease, item):
    assert service.renew(lease) is False
    assert service.cancel_requested(lease) is False
    service.cancel(item.id, "anna")
    assert service.renew(lease) is True
    assert service.cancel_requested(lease) is True


# complete: in_progress -> completed


def test_complete_ends_the_item_and_its_attempt(service, queries, lease, item, engine):
    done = service.mark_completed(lease)
    assert done.status is Status.COMPLETED
    assert done.finished_at is not None
    assert raw_item(engine, item.id)["lease_id"] is None
    assert queries.attempts(item.id)[0].outcome == "completed"
    assert kinds(queries, item)[-1] == "completed"


def test_a_settle_repeated_after_a_lost_answer_changes_nothing(service, queries, lease, item):
    first = service.mark_completed(lease)
    before = kinds(queries, item)
    assert service.mark_completed(lease) == first
    assert kinds(queries, item) == before


# fail: in_progress -> pending or failed


def test_a_failure_with_budget_left_waits_and_counts(service, queries, lease, item):
    retried = service.mark_failed(lease, "It broke.")
    assert (retried.status, retried.failures, retried.attempt) == (Status.PENDING, 1, 1)
    assert retried.error_message == "It broke."
    assert queries.attempts(item.id)[0].error_message == "It broke."
    assert kinds(queries, item)[-1] == "retrying"


def test_the_last_failure_of_the_budget_is_final(service, settings, engine, item):
    for number in range(1, settings.max_failures + 1):
        make_due(engine, item.id)
        lease = service.claim(item.id, "w")
        assert lease is not None
        ended = service.mark_failed(lease, "It broke.")
        assert ended.failures == number
    assert ended.status is Status.FAILED


def test_a_permanent_failure_is_final_at_once_and_keeps_its_traceback(service, queries, lease, item):
    ended = service.settle(
        lease, Failed(code="encrypted", message="No.", permanent=True, traceback="Traceback")
    )
    assert (ended.status, ended.failures, ended.error_code) == (Status.FAILED, 1, "encrypted")
    assert queries.attempts(item.id)[0].traceback == "Traceback"


# snooze and release: in_progress -> pending, uncounted


@pytest.mark.parametrize(
    ("outcome", "name"), [(Snoozed(30, "throttled"), "snoozed"), (Released("stop"), "released")]
)
def test_putting_back_is_not_counted_and_the_attempt_number_never_goes_back(
    service, queries, lease, item, outcome, name
):
    back = service.settle(lease, outcome)
    assert (back.status, back.failures, back.crashes, back.attempt) == (Status.PENDING, 0, 0, 1)
    assert queries.attempts(item.id)[0].outcome == name


def test_a_released_item_is_due_at_once_and_a_snoozed_one_later(service, lease, item):
    service.settle(lease, Released("stop"))
    again = service.claim(item.id, "w2")
    assert again is not None
    assert again.attempt == 2
    service.settle(again, Snoozed(30, "throttled"))
    assert service.claim(item.id, "w3") is None


# rescue: in_progress -> pending or failed


def test_a_live_lease_is_never_suspected(service, lease):
    assert service.mark_suspects() == 0
    assert service.rescue() == []


def test_an_expired_lease_is_taken_only_a_heartbeat_after_it_was_marked(
    service, settings, engine, lease, item
):
    expire_lease(engine, item.id)
    assert service.rescue() == [], "not marked yet"
    assert service.mark_suspects() == 1
    assert service.rescue() == [], "marked, but no heartbeat has passed"
    time.sleep(settings.heartbeat_seconds + 0.1)
    (rescued,) = service.rescue()
    assert (rescued.status, rescued.crashes, rescued.failures) == (Status.PENDING, 1, 0)


def test_a_renewal_between_mark_and_rescue_keeps_the_lease(service, engine, lease, item):
    expire_lease(engine, item.id)
    service.mark_suspects()
    service.renew(lease)
    expire_lease(engine, item.id)
    assert service.rescue() == []


def test_the_rescuer_that_is_late_takes_nothing(service, engine, lease, item, monkeypatch):
    """Everything is checked again in the UPDATE: what was read a moment ago no longer counts."""
    expire_lease(engine, item.id)
    service.mark_suspects()
    expire_lease(engine, item.id)
    take_back = service._take_back

    def settle_first(found, outcome, guard):
        service.mark_completed(lease)
        return take_back(found, outcome, guard)

    monkeypatch.setattr(service, "_take_back", settle_first)
    assert service.rescue() == []
    assert raw_item(engine, item.id)["status"] == "completed"


def test_the_third_crash_quarantines(service, settings, engine, item, queries):
    for number in range(1, settings.max_crashes + 1):
        make_due(engine, item.id)
        assert service.claim(item.id, "w") is not None
        (ended,) = service.report_horse_death("w", "killed by signal 11")
        assert ended.crashes == number
    assert (ended.status, ended.error_code) == (Status.FAILED, "quarantined")
    assert "signal 11" in (ended.error_message or "")
    assert kinds(queries, item)[-1] == "quarantined"


def test_a_lease_of_a_boot_before_is_void_at_once(service, engine, lease, item):
    with engine.begin() as connection:
        connection.execute(
            sa.update(queue_items).where(queue_items.c.id == item.id).values(lease_boot="another boot")
        )
    assert len(service.rescue()) == 1


def test_a_dead_horse_of_another_worker_is_not_ours(service, lease):
    assert service.report_horse_death("worker-2", "killed by signal 9") == []


def test_what_a_stopping_worker_holds_is_put_back_uncounted(service, lease):
    (back,) = service.release_held("worker-1", "stopped")
    assert (back.status, back.crashes, back.failures) == (Status.PENDING, 0, 0)
    assert service.release_held("worker-1", "stopped") == []


# cancel


def test_cancel_of_a_waiting_item_is_immediate(service, queries, item):
    cancelled = service.cancel(item.id, "anna")
    assert cancelled.status is Status.CANCELLED
    assert service.claim(item.id, "w") is None
    assert queries.events(item.id)[-1].data["by"] == "anna"


def test_cancel_of_a_running_item_is_a_request_that_every_outcome_honours(service, lease, item):
    asked = service.cancel(item.id, "anna")
    assert (asked.status, asked.cancel_requested_at is not None) == (Status.IN_PROGRESS, True)
    assert service.mark_failed(lease, "It broke.").status is Status.CANCELLED


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_an_ended_item_cannot_be_cancelled(service, lease, item, end):
    if end == "complete":
        service.mark_completed(lease)
    elif end == "fail":
        service.mark_failed(lease, "x", permanent=True)
    else:
        service.cancel(item.id, "a")
        service.mark_failed(lease, "x")
    with pytest.raises(IllegalTransition):
        service.cancel(item.id, "a")
    with pytest.raises(ItemNotFound):
        service.cancel(new_id(), "a")


# retry: failed, cancelled -> pending


def test_retry_gives_a_new_budget_but_never_an_old_attempt_number(service, lease, item):
    service.mark_failed(lease, "x", permanent=True)
    again = service.retry(item.id, "anna")
    assert (again.status, again.failures, again.crashes, again.attempt) == (Status.PENDING, 0, 0, 1)
    assert again.error_message is None
    following = service.claim(item.id, "w")
    assert following is not None
    assert following.attempt == 2


def test_retry_of_a_cancelled_item_works_and_of_a_completed_or_open_one_does_not(service, lease, item):
    with pytest.raises(IllegalTransition):
        service.retry(item.id, "a")
    service.mark_completed(lease)
    with pytest.raises(IllegalTransition):
        service.retry(item.id, "a")


def test_retry_is_refused_while_the_document_is_queued_again(service, document_id, lease, item):
    service.mark_failed(lease, "x", permanent=True)
    newer = service.enqueue(document_id)
    with pytest.raises(AlreadyQueued) as refused:
        service.retry(item.id, "a")
    assert refused.value.item_id == newer.id


def test_retry_all_takes_every_failed_item_it_can(service, engine, settings):
    for _ in range(3):
        lease = service.mark_in_progress(service.enqueue(add_document(engine, settings)), "w")
        service.mark_failed(lease, "x", permanent=True)
    assert len(service.retry_all_failed("anna")) == 3
    assert service.get_queue_stats()["pending"] == 3


# prune: ended -> gone


def test_clear_deletes_what_ended_long_enough_ago_and_keeps_the_documents_newest_result(
    service, queries, engine, document_id, lease, item
):
    service.checkpoint(lease, "extract", artifact(), reused=False)
    service.mark_completed(lease)
    assert service.count_clearable(1) == 0
    assert service.clear_ended(1, "anna") == 0
    assert service.count_clearable(0) == 1
    assert service.clear_ended(0, "anna") == 1
    with pytest.raises(ItemNotFound):
        queries.item(item.id, owner=None)
    assert queries.results(document_id)["extract"].body == {"text": "x"}
    assert queries.events(item.id) == []
    assert service.get_queue_stats()["purged"] == 1
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(attempts)).scalar() == 0


def test_clear_drops_superseded_results(service, engine, document_id):
    for text in ("old", "new"):
        lease = service.mark_in_progress(service.enqueue(document_id), "w")
        service.checkpoint(lease, "extract", artifact(text=text), reused=False)
        service.mark_completed(lease)
    service.clear_ended(0, "anna")
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(results)).scalar() == 1
    assert Queries(engine).results(document_id)["extract"].body == {"text": "new"}


def test_clear_leaves_open_items_alone(service, lease):
    assert service.clear_ended(0, "anna") == 0


# The fence.


def effects(engine):
    """Everything that a stale worker could spoil."""
    with engine.connect() as connection:
        return [
            connection.execute(sa.select(table).order_by(*table.primary_key.columns)).all()
            for table in (queue_items, attempts, results, events)
        ]


def stale_calls(service, lease):
    return {
        "renew": lambda: service.renew(lease),
        "progress": lambda: service.renew(lease, stage="analyze", progress=0.9),
        "cancel_requested": lambda: service.cancel_requested(lease),
        "checkpoint": lambda: service.checkpoint(lease, "extract", artifact(), reused=False),
        "complete": lambda: service.mark_completed(lease),
        "fail": lambda: service.mark_failed(lease, "stale"),
        "fail_permanently": lambda: service.mark_failed(lease, "stale", permanent=True),
        "snooze": lambda: service.settle(lease, Snoozed(1, "stale")),
        "release": lambda: service.settle(lease, Released("stale")),
        "complete_outcome": lambda: service.settle(lease, Completed()),
    }


@pytest.mark.parametrize(
    "situation", ["returned", "claimed again", "completed by another", "retried by a person"]
)
def test_an_old_token_changes_nothing(service, engine, lease, item, situation):
    assert service._take_back(lease.item, Crashed("gone"), sa.true()) is not None
    if situation != "returned":
        make_due(engine, item.id)
        newer = service.claim(item.id, "worker-2")
        assert newer is not None
        if situation == "completed by another":
            service.mark_completed(newer)
        elif situation == "retried by a person":
            service.mark_failed(newer, "x", permanent=True)
            service.retry(item.id, "anna")
    before = effects(engine)
    for name, call in stale_calls(service, lease).items():
        with pytest.raises(LeaseLost):
            call()
        assert effects(engine) == before, name


def test_a_token_with_the_right_number_but_another_lease_id_is_refused(service, engine, lease):
    """A restored backup may repeat attempt numbers; the random half of the token tells them apart."""
    with engine.begin() as connection:
        connection.execute(sa.update(queue_items).values(lease_id="e" * 32))
    with pytest.raises(LeaseLost):
        service.mark_completed(lease)


def test_a_checkpoint_by_a_stale_worker_stores_no_artifact(service, engine, queries, lease, document_id):
    service._take_back(lease.item, Crashed("gone"), sa.true())
    with pytest.raises(LeaseLost):
        service.checkpoint(lease, "extract", artifact(), reused=False)
    assert queries.results(document_id) == {}
    assert queries.kept_artifact("extract" * 4) is None


# The database repeats the rules.


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "done"},
        {"status": "in_progress"},
        {"status": "completed"},
        {"lease_id": "x"},
        {"suspect_at": 1.0},
        {"failures": 1},
        {"attempt": -1},
        {"progress": 1.5},
    ],
    ids=str,
)
def test_a_row_that_breaks_the_state_machine_cannot_be_written(engine, item, broken):
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.update(queue_items).where(queue_items.c.id == item.id).values(**broken))


def test_an_attempt_is_claimed_once(engine, lease, item):
    row = {
        "item_id": item.id, "attempt": 1, "lease_id": "x", "worker": "w", "host": "h", "pid": 1,
        "started_at": item.created_at,
    }  # fmt: skip
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(attempts).values(row))


# Statistics, turns and workers.


def test_stats_count_every_state(service, engine, settings):
    states = [service.enqueue(add_document(engine, settings)) for _ in range(5)]
    leases = [service.claim(one.id, "w") for one in states[:4]]
    service.mark_completed(leases[0])
    service.mark_failed(leases[1], "x", permanent=True)
    service.mark_failed(leases[2], "x")
    stats = service.get_queue_stats()
    assert (stats["completed"], stats["failed"], stats["in_progress"], stats["pending"]) == (1, 1, 1, 2)
    assert stats["total"] == 5
    assert stats["waiting"] + stats["retrying"] + stats["scheduled"] == 2


def test_a_periodic_turn_is_given_once_per_interval(service):
    assert service.begin_sweep("sweep", 60) is True
    assert service.begin_sweep("sweep", 60) is False
    assert service.begin_sweep("another", 60) is True
    assert service.begin_sweep("sweep", 0) is True


def test_a_clock_that_was_put_back_does_not_stop_the_sweep(engine, service):
    service.begin_sweep("sweep", 60)
    with engine.begin() as connection:
        connection.execute(sa.update(sweeps).values(swept_at=service.now() + timedelta(hours=1)))
    assert service.begin_sweep("sweep", 60) is True
    assert service.begin_sweep("sweep", 60) is False


def test_workers_are_known_until_they_go(service, queries, lease):
    service.worker_seen("worker-1", "host", 7, "busy")
    (worker,) = queries.workers()
    assert (worker.alive, worker.item and worker.item.id, worker.filename) == (
        True,
        lease.item.id,
        "hello.txt",
    )
    service.worker_gone("worker-1")
    assert queries.workers() == []


def test_another_process_sees_the_same_queue(service, settings, engine, item):
    other = DocumentQueueService(engine, settings)
    assert [one.id for one in other.get_pending_items(1)] == [item.id]


def test_crashed_outcome_is_reported_like_any_other(service, lease):
    assert service.settle(lease, Crashed("killed by signal 9")).crashes == 1
