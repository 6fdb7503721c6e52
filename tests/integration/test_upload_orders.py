"""Queue, priority and time of an upload or a reprocess."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jobs.queries import Queries
from tests.support.items import add_document
from tests.support.web import close_app, upload
from webapp import create_app


@pytest.fixture
def program(settings, key_headers):
    """A program of a service with a second queue."""
    app = create_app(replace(settings, more_queues="scans"))
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = key_headers["Authorization"]
    yield client
    close_app(app)


@pytest.fixture
def delivery(program):
    return program.application.extensions["docqueue"].delivery


@pytest.fixture(params=["upload", "reprocess"])
def order(request, program, engine, member, settings):
    """Ask for something with these fields, either way; return the answer and the job, if there is one."""

    def ask(**fields):
        if request.param == "upload":
            answer = upload(program, ("a.txt", b"x"), **fields)
        else:
            document = add_document(engine, settings, owner_id=member.user.id)
            answer = program.post(f"/api/v1/documents/{document}/reprocess", json=fields)
        if answer.status_code != 202:
            return answer, None
        return answer, Queries(engine).item(answer.headers["Location"].rsplit("/", 1)[1], owner=None)

    return ask


def rung_later(delivery):
    found = delivery.connection.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    return {key.decode(): at for key, at in found}


def test_a_queue_is_chosen_by_name(order, delivery, program):
    _, item = order(queue="scans")
    assert item.queue == "scans"
    assert (delivery.queue_length("scans"), delivery.queue_length()) == (1, 0)
    assert order()[1].queue == "documents"
    wrong, _ = order(queue="nowhere")
    assert (wrong.status_code, wrong.json["code"]) == (400, "unknown_queue")
    assert "documents, scans" in wrong.json["detail"]


def test_a_delayed_job_is_scheduled_and_rung_for_when_it_is_due(order, delivery):
    answer, item = order(delay_seconds="3600")
    assert answer.status_code == 202
    assert item.deferred
    assert item.due_at - item.created_at >= timedelta(seconds=3599)
    assert delivery.queue_length() == 0
    (at,) = rung_later(delivery).values()
    assert 0 <= at - item.due_at.timestamp() <= 2


def test_what_is_due_in_days_is_left_to_the_sweep(order, delivery, service):
    _, item = order(delay_seconds=2 * 86_400)
    assert item.deferred
    assert delivery.queue_length() == 0
    assert rung_later(delivery) == {}
    assert service.claim(item.id, "w") is None


def test_an_instant_is_kept_by_the_databases_clock(order, delivery):
    at = datetime.now(UTC) + timedelta(hours=5)
    zone = at.astimezone().isoformat()
    for said in (at.isoformat(), at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), zone):
        _, item = order(due_at=said)
        assert abs(item.due_at - at) < timedelta(seconds=2)
        assert item.deferred
    _, item = order(due_at="2001-01-01T00:00:00+02:00")
    assert not item.deferred
    assert delivery.queue_length() == 1


def test_no_delay_is_now(order, delivery):
    for fields in ({"delay_seconds": "0"}, {"delay_seconds": ""}, {"due_at": ""}):
        assert not order(**fields)[1].deferred
    assert delivery.queue_length() == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"delay_seconds": "-1"},
        {"delay_seconds": "31536001"},
        {"delay_seconds": "nan"},
        {"delay_seconds": "inf"},
        {"delay_seconds": "soon"},
        {"due_at": "tomorrow"},
        {"due_at": "2030-01-31T18:00:00"},
        {"due_at": "9999-01-01T00:00:00Z"},
        {"due_at": "0001-01-01T00:00:00+14:00"},
        {"due_at": "2030-01-31T18:00:00Z", "delay_seconds": "5"},
    ],
    ids=lambda fields: "&".join(f"{name}={value}" for name, value in fields.items()),
)
def test_what_cannot_be_meant_is_refused(order, program, fields):
    answer, _ = order(**fields)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")


@pytest.mark.parametrize("value", [True, [], {}, ["a"], {"a": 1}])
@pytest.mark.parametrize("name", ["delay_seconds", "due_at", "queue", "operation", "priority"])
def test_json_of_another_kind_is_refused_and_no_error_of_ours(program, engine, member, settings, name, value):
    document = add_document(engine, settings, owner_id=member.user.id)
    answer = program.post(f"/api/v1/documents/{document}/reprocess", json={name: value})
    assert answer.status_code == 400, answer.text


def test_the_command_takes_queue_and_delay(docqueue, tmp_path, engine):
    path = tmp_path / "a.txt"
    path.write_text("x")
    docqueue(
        "upload", str(path), "--queue", "scans", "--delay-seconds", "60", settings={"MORE_QUEUES": "scans"}
    )
    (row,) = Queries(engine).items(owner=None, limit=5).rows
    assert (row.item.queue, row.item.deferred) == ("scans", True)
