"""The real stages behind the queue: reading in a child; analysis built in or by an endpoint."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from jobs.model import Status
from jobs.queries import Queries
from jobs.runner import Runner
from jobs.tables import artifacts, attempts, throttles, usage
from tests.support.items import add_document, make_due
from tests.support.openai_server import GOOD_ANSWER, OpenAIServer

LETTER = (
    b"Dear Ms Brown,\n\nthank you for your order of 12 May 2026. The delivery of the garden furniture will "
    b"arrive on Monday. Please keep the invoice for the warranty of the garden furniture.\n\n"
    b"Yours sincerely,\nAnna Smith\n"
)


@pytest.fixture
def queries(engine):
    return Queries(engine)


@pytest.fixture
def item(service, engine, settings):
    return service.enqueue(add_document(engine, settings, content=LETTER, filename="letter.txt"))


def extractions(engine):
    with engine.connect() as connection:
        return connection.execute(
            sa.select(sa.func.count()).where(artifacts.c.stage == "extract")
        ).scalar_one()


def with_model(settings, server, **changes):
    return dataclasses.replace(
        settings, llm_base_url=server.base_url, llm_api_key="k", llm_model="test-model", **changes
    )


def test_the_built_in_analyzer_needs_no_network(engine, settings, queries, item):
    ended = Runner(engine, settings, "w").run(item.id)
    assert ended.status is Status.COMPLETED
    results = queries.results(item.document_id)
    assert "garden furniture" in results["extract"].body["text"]
    analysis = results["analyze"].body
    assert (analysis["engine"], analysis["model"]) == ("builtin", None)
    assert analysis["document_type"] == "letter"
    assert any("garden furniture" in phrase.lower() for phrase in analysis["keyphrases"])
    assert analysis["summary"]


def test_a_model_endpoint_runs_behind_the_same_stage(engine, settings, queries, item):
    with OpenAIServer() as server:
        ended = Runner(engine, with_model(settings, server), "w").run(item.id)
    assert ended.status is Status.COMPLETED
    analysis = queries.results(item.document_id)["analyze"].body
    assert (analysis["engine"], analysis["model"]) == ("llm", "test-model")
    assert analysis["summary"] == GOOD_ANSWER["summary"]


@pytest.mark.parametrize("trouble", ["500", "drop", "hang:5"])
def test_a_passing_trouble_is_retried_without_extracting_again(engine, settings, item, trouble):
    with OpenAIServer([trouble, trouble, "ok"]) as server:
        runner = Runner(engine, with_model(settings, server, llm_timeout_seconds=3.0), "w")
        for _ in range(2):
            waiting = runner.run(item.id)
            assert (waiting.status, waiting.error_code is not None) == (Status.PENDING, True)
            make_due(engine, item.id)
        ended = runner.run(item.id)
        assert (ended.status, ended.failures) == (Status.COMPLETED, 2)
        assert server.request_count == 3
    assert extractions(engine) == 1


def test_a_throttled_item_waits_as_long_as_was_asked_and_nothing_is_counted(engine, settings, queries, item):
    settings = dataclasses.replace(settings, backoff_cap_seconds=900.0)
    with OpenAIServer(["429:30"]) as server:
        waiting = Runner(engine, with_model(settings, server), "w").run(item.id)
    assert 25 < (waiting.due_at - queries.now()).total_seconds() <= 37
    assert (waiting.status, waiting.failures, waiting.error_code) == (Status.PENDING, 0, "throttled")
    assert waiting.error_message == "The model endpoint asked to slow down."
    assert [attempt.outcome for attempt in queries.attempts(item.id)] == ["snoozed"]


def test_whoever_else_needs_the_model_waits_as_well_and_does_not_ask_it(
    engine, settings, queries, service, item
):
    settings = dataclasses.replace(settings, backoff_cap_seconds=900.0)
    other = service.enqueue(add_document(engine, settings, content=b"Another letter.", filename="b.txt"))
    with OpenAIServer(["429:30", "ok"]) as server:
        runner = Runner(engine, with_model(settings, server), "w")
        runner.run(item.id)
        waiting = runner.run(other.id)
        assert (waiting.error_code, server.request_count) == ("throttled", 1)
        assert 20 < (waiting.due_at - queries.now()).total_seconds() <= 37
        assert queries.artifact(other.document_id, "extract") is not None
        with engine.begin() as connection:
            connection.execute(sa.delete(throttles))
        make_due(engine, other.id)
        assert runner.run(other.id).status is Status.COMPLETED


def test_what_the_model_took_is_written_down_under_the_fence(engine, settings, item):
    with OpenAIServer() as server:
        Runner(engine, with_model(settings, server), "w").run(item.id)
    with engine.connect() as connection:
        (taken,) = connection.execute(sa.select(usage)).all()
        lease_id = connection.execute(sa.select(attempts.c.lease_id)).scalar_one()
    assert (taken.item_id, taken.attempt, taken.lease_id) == (item.id, 1, lease_id)
    assert (taken.stage, taken.model) == ("analyze", "test-model")
    assert taken.requests >= 1
    assert taken.prompt_tokens > 0
    assert taken.completion_tokens > 0


@pytest.mark.parametrize("trouble", ["401", "404", "invalid_json"])
def test_a_lasting_trouble_fails_at_once_and_keeps_the_text(engine, settings, queries, item, trouble):
    with OpenAIServer([trouble]) as server:
        ended = Runner(engine, with_model(settings, server), "w").run(item.id)
    assert (ended.status, ended.stage, ended.failures) == (Status.FAILED, "analyze", 1)
    assert queries.artifact(item.document_id, "extract") is not None
    assert queries.artifact(item.document_id, "analyze") is None


def test_an_unreadable_file_fails_once_with_a_sentence(engine, settings, service):
    broken = add_document(engine, settings, content=b"%PDF-1.7\n" + bytes(range(256)) * 50, filename="a.pdf")
    ended = Runner(engine, settings, "w").run(service.enqueue(broken).id)
    assert (ended.status, ended.attempt, ended.failures) == (Status.FAILED, 1, 1)
    assert ended.error_message.endswith(".")
    assert "Traceback" not in ended.error_message


def test_an_empty_file_fails_once_with_a_sentence(engine, settings, service):
    empty = add_document(engine, settings, content=b"", filename="nothing.docx")
    ended = Runner(engine, settings, "w").run(service.enqueue(empty).id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "empty")
