"""One item, worked off: stages, checkpoints, outcomes, cancel and fence, on both databases."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

import psycopg
import pytest
import sqlalchemy as sa
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from jobs.errors import Permanent, Transient
from jobs.model import Status
from jobs.operations import StageOutput
from jobs.queries import Queries
from jobs.runner import ReleaseRequested, Runner
from tests.support.items import add_document, expire_lease, make_due


@dataclass
class FakeStage:
    """A stage whose behaviour a test writes down, one entry for each run."""

    name: str
    script: list = field(default_factory=list)
    runs: int = 0
    engine: str = "fake"
    engine_version: str = "1"

    def run(self, stage_input):
        self.runs += 1
        step = self.script.pop(0) if self.script else None
        if callable(step):
            step = step(stage_input)
        if isinstance(step, BaseException):
            raise step
        return StageOutput(body={"text": f"{self.name} {self.runs}"}, meta={"title": f"Title {self.runs}"})


class RunsOut(Exception):
    """Stands for RQ's timeout."""


@pytest.fixture
def stages():
    return {"extract": FakeStage("extract"), "analyze": FakeStage("analyze")}


@pytest.fixture
def runner(engine, settings, stages):
    return Runner(engine, settings, "worker-1", timeout_errors=(RunsOut,), stages=stages)


@pytest.fixture
def queries(engine):
    return Queries(engine)


@pytest.fixture
def item(service, engine, settings):
    return service.enqueue(add_document(engine, settings))


def test_an_item_goes_through_its_stages_to_completed(runner, queries, item):
    ended = runner.run(item.id)
    assert ended.status is Status.COMPLETED
    assert {name: one.body for name, one in queries.results(item.document_id).items()} == {
        "extract": {"text": "extract 1"},
        "analyze": {"text": "analyze 1"},
    }
    kinds = [event.kind for event in queries.events(item.id)]
    # Each stage was over before anybody could have been told of it.
    assert kinds == ["accepted", "started", "stage_completed", "stage_completed", "completed"]


def test_a_second_bell_is_deaf(runner, stages, item):
    runner.run(item.id)
    assert runner.run(item.id) is None
    assert stages["extract"].runs == 1


def test_a_retry_after_a_failed_analysis_does_not_extract_again(runner, engine, stages, item):
    stages["analyze"].script = [Transient("Busy."), Transient("Busy.")]
    for _ in range(2):
        assert runner.run(item.id).status is Status.PENDING
        make_due(engine, item.id)
    assert runner.run(item.id).status is Status.COMPLETED
    assert (stages["extract"].runs, stages["analyze"].runs) == (1, 3)


def test_text_is_there_although_the_analysis_failed(runner, queries, stages, item):
    stages["analyze"].script = [Permanent("No.", code="invalid_output")]
    ended = runner.run(item.id)
    assert (ended.status, ended.error_code, ended.stage) == (Status.FAILED, "invalid_output", "analyze")
    assert queries.artifact(item.document_id, "extract").body == {"text": "extract 1"}


def test_what_ended_is_kept_while_a_later_stage_lasts(runner, queries, stages, item):
    def see(_stage_input):
        deadline = time.monotonic() + 20
        while not queries.results(item.document_id):
            assert time.monotonic() < deadline, "the text was not kept"
            time.sleep(0.02)
        found = queries.item(item.id, owner=None)
        while found.stage != "analyze":
            assert time.monotonic() < deadline, "the stage was not said"
            time.sleep(0.02)
            found = queries.item(item.id, owner=None)

    stages["analyze"].script = [see]
    assert runner.run(item.id).status is Status.COMPLETED
    assert sorted(queries.results(item.document_id)) == ["analyze", "extract"]


def test_what_ended_is_kept_before_a_model_is_asked(engine, settings, service, queries, stages):
    asking = replace(settings, llm_base_url="http://127.0.0.1:9/v1", llm_model="m")
    item = service.enqueue(add_document(engine, settings))
    seen = []
    stages["analyze"].script = [lambda _input: seen.append(sorted(queries.results(item.document_id)))]
    assert Runner(engine, asking, "worker-1", stages=stages).run(item.id).status is Status.COMPLETED
    assert seen == [["extract"]]


def test_a_stage_that_lasted_tells_at_its_end_that_a_cancel_was_asked_for(runner, service, stages, item):
    def cancel_and_last(_stage_input):
        service.cancel(item.id, "anna", "")
        time.sleep(0.3)

    stages["extract"].script = [cancel_and_last]
    assert runner.run(item.id).status is Status.CANCELLED
    assert stages["analyze"].runs == 0


def test_a_second_copy_of_a_file_computes_nothing_again(runner, service, engine, settings, stages, item):
    runner.run(item.id)
    copy = service.enqueue(add_document(engine, settings))
    assert runner.run(copy.id).status is Status.COMPLETED
    assert (stages["extract"].runs, stages["analyze"].runs) == (1, 1)


def test_a_new_engine_version_computes_again(runner, service, stages, item):
    runner.run(item.id)
    stages["analyze"].engine_version = "2"
    assert runner.run(service.enqueue(item.document_id).id).status is Status.COMPLETED
    assert (stages["extract"].runs, stages["analyze"].runs) == (1, 2)


def test_a_fresh_item_computes_again_but_its_own_retry_does_not(runner, service, engine, stages, item):
    runner.run(item.id)
    fresh = service.enqueue(item.document_id, fresh=True)
    stages["analyze"].script = [Transient("Busy.")]
    runner.run(fresh.id)
    make_due(engine, fresh.id)
    assert runner.run(fresh.id).status is Status.COMPLETED
    assert (stages["extract"].runs, stages["analyze"].runs) == (2, 3)


def test_a_fresh_analysis_keeps_the_text(runner, service, stages, item):
    runner.run(item.id)
    runner.run(service.enqueue(item.document_id, "analyze", fresh=True).id)
    assert (stages["extract"].runs, stages["analyze"].runs) == (1, 2)


def test_single_operations_run_their_stages(runner, service, stages, item):
    document = item.document_id
    runner.run(service.enqueue(document, "extract").id)
    assert (stages["extract"].runs, stages["analyze"].runs) == (1, 0)
    runner.run(service.enqueue(document, "analyze").id)
    assert (stages["extract"].runs, stages["analyze"].runs) == (1, 1)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Transient("Busy.", code="throttled"), Status.PENDING, "throttled"),
        (Permanent("Locked.", code="encrypted"), Status.FAILED, "encrypted"),
        (RunsOut(), Status.PENDING, "timeout"),
        (ZeroDivisionError("secret detail"), Status.PENDING, "internal"),
    ],
)
def test_whatever_a_stage_raises_becomes_an_outcome(runner, queries, stages, item, error, status, code):
    stages["extract"].script = [error]
    ended = runner.run(item.id)
    assert (ended.status, ended.error_code, ended.failures) == (status, code, 1)
    assert "secret detail" not in ended.error_message
    assert type(error).__name__ in queries.attempts(item.id)[0].traceback


def test_a_database_that_is_away_in_the_middle_costs_no_attempt(runner, stages, item, queries):
    stages["extract"].script = [sa.exc.OperationalError("UPDATE", {}, OSError("the server is gone"))]
    ended = runner.run(item.id)
    assert (ended.status, ended.failures, ended.crashes) == (Status.PENDING, 0, 0)
    assert ended.error_code == "database_away"
    assert "server is gone" not in ended.error_message
    assert (ended.due_at - queries.now()).total_seconds() > 3


def test_a_statement_that_fails_every_time_is_a_failure(runner, stages, item):
    too_long = sa.exc.OperationalError("INSERT", {}, psycopg.errors.QueryCanceled("statement timeout"))
    stages["extract"].script = [too_long]
    ended = runner.run(item.id)
    assert (ended.status, ended.error_code, ended.failures) == (Status.PENDING, "internal", 1)


def too_long_asleep(_stage_input):
    time.sleep(30)
    return AssertionError("nobody ended the stage")


def too_long_at_work(stage_input):
    for step in range(600):
        time.sleep(0.05)
        stage_input.report(step / 600)
    return AssertionError("nobody ended the stage")


@pytest.mark.parametrize(
    ("work", "limit"),
    [
        (too_long_asleep, lambda seconds: UnixSignalDeathPenalty(seconds, JobTimeoutException)),
        (too_long_at_work, None),
    ],
)
def test_the_limit_is_that_of_the_items_own_operation(engine, settings, service, stages, item, work, limit):
    settings = replace(settings, job_timeout_seconds=60, policy_extract="timeout=1")
    runner = Runner(
        engine, settings, "w", timeout_errors=(JobTimeoutException,), time_limit=limit, stages=stages
    )
    stages["extract"].script = [work]
    ended = runner.run(service.enqueue(item.document_id, "extract").id)
    assert (ended.status, ended.error_code, ended.failures) == (Status.PENDING, "timeout", 1)
    assert ended.error_message == "Took longer than 1 s."


def test_retry_after_sets_the_due_time(runner, stages, item, settings, queries):
    stages["analyze"].script = [Transient("Busy.", retry_after=settings.backoff_cap_seconds)]
    ended = runner.run(item.id)
    assert (ended.due_at - queries.now()).total_seconds() > settings.backoff_cap_seconds * 0.3


def test_a_worker_that_is_stopped_puts_its_item_back_uncounted(runner, stages, item):
    stages["extract"].script = [ReleaseRequested()]
    ended = runner.run(item.id)
    assert (ended.status, ended.failures, ended.crashes) == (Status.PENDING, 0, 0)


def test_a_cancel_stops_the_running_stage(runner, service, stages, item):
    def wait_for_cancel(stage_input):
        service.cancel(item.id, "anna")
        stop = threading.Event()
        for _ in range(200):
            stage_input.report(0.5)
            stop.wait(0.05)
        return AssertionError("the cancel was not seen within ten seconds")

    stages["extract"].script = [wait_for_cancel]
    assert runner.run(item.id).status is Status.CANCELLED


def test_a_lost_lease_stops_the_stage_and_leaves_the_item_to_its_new_holder(
    runner, service, engine, settings, stages, queries, item
):
    def lose_the_lease(stage_input):
        expire_lease(engine, item.id)
        service.mark_suspects()
        expire_lease(engine, item.id)
        assert len(service.rescue()) == 1
        make_due(engine, item.id)
        assert service.claim(item.id, "worker-2") is not None

    stages["extract"].script = [lose_the_lease]
    assert runner.run(item.id) is None
    now = queries.item(item.id, owner=None)
    assert (now.status, now.worker, now.attempt) == (Status.IN_PROGRESS, "worker-2", 2)
    assert queries.results(item.document_id) == {}


def test_the_lease_is_renewed_while_a_stage_is_silent(runner, service, settings, stages, item):
    def be_silent(_stage_input):
        threading.Event().wait(settings.lease_seconds * 1.5)
        assert service.mark_suspects() == 0

    stages["extract"].script = [be_silent]
    assert runner.run(item.id).status is Status.COMPLETED


def test_missing_bytes_fail_once_with_their_reason(runner, settings, item, queries):
    sha256 = queries.document(item.document_id, owner=None).sha256
    (settings.data_dir / "blobs" / sha256[:2] / sha256).unlink()
    ended = runner.run(item.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "bytes_missing")


def test_the_queue_can_be_worked_off_here_and_now(runner, service, engine, settings, stages):
    items = [service.enqueue(add_document(engine, settings, content=bytes([n]))) for n in range(5)]
    dead = service.claim(items[4].id, "dead-worker")
    assert dead is not None
    expire_lease(engine, items[4].id)
    service.mark_suspects()
    expire_lease(engine, items[4].id)
    stages["extract"].script = [None, Permanent("No."), Transient("Busy.", retry_after=60), None]
    statistics = runner.process_queue(4).to_json()
    assert statistics == {
        "processed": 4, "completed": 2, "failed": 1, "retried": 1, "cancelled": 0, "rescued": 1,
    }  # fmt: skip


def test_the_limit_is_kept(runner, service, engine, settings):
    for number in range(3):
        service.enqueue(add_document(engine, settings, content=bytes([number])))
    assert runner.process_queue(2).processed == 2
    assert runner.process_queue(10).processed == 1
    assert runner.process_queue(10).processed == 0
