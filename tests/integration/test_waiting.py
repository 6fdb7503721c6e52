"""Why an item waits: every reason, from real rows, on both databases."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from jobs import accounts
from jobs.database import Clock
from jobs.errors import ItemNotFound
from jobs.ids import new_id
from jobs.model import Completed, Crashed, Failed, Label, Role, Snoozed, Status
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from jobs.tables import queue_items
from jobs.waiting import Explainer
from jobs.waiting.reasons import COUNTED_TO, is_minimum
from tests.support.items import add_document, expire_lease, make_due
from tests.support.plans import watching
from tests.support.web import uploaded

QUEUE = "documents"


@pytest.fixture
def explain(engine, settings):
    return Explainer(engine, settings).explain


@pytest.fixture
def item(service, engine, settings):
    return service.enqueue(add_document(engine, settings))


def codes(waiting):
    return [reason.code for reason in waiting.reasons]


def hire(service, *names, queue=None):
    for name in names:
        service.worker_seen(name, "host", 1, "idle", queue)


def put(service, engine, settings, owner=None, **arguments):
    return service.enqueue(add_document(engine, settings, owner_id=owner), **arguments)


def complete(service, engine, settings, count):
    for _ in range(count):
        service.settle(service.claim(put(service, engine, settings).id, "w-0"), Completed())


# One reason after the other.


def test_no_worker_is_told_with_the_command_that_starts_one(explain, service, item):
    waiting = explain(item)
    (reason,) = waiting.reasons
    assert (reason.code, reason.sentence) == ("no_worker", "Waiting: no worker is running.")
    assert reason.data == {"queue": QUEUE, "command": "python worker.py"}
    assert (waiting.workers_alive, waiting.expected_start) == (0, None)
    assert waiting.expected_start_unknown == "no worker is running"
    hire(service, "w-1")
    assert codes(explain(item)) == ["picking_up"]
    service.worker_gone("w-1")
    assert codes(explain(item)) == ["no_worker"]


def test_a_worker_that_was_not_seen_for_a_minute_counts_as_none(explain, service, engine, item):
    hire(service, "w-1")
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE workers SET seen_at = :past"),
            {"past": (datetime.now(UTC) - timedelta(seconds=70)).isoformat(sep=" ")[:26]},
        )
    assert codes(explain(item)) == ["no_worker"]


def test_a_worker_of_another_queue_is_no_help(engine, settings):
    several = dataclasses.replace(settings, more_queues="ocr")
    service = DocumentQueueService(engine, several)
    item = put(service, engine, several, queue="ocr")
    hire(service, "w-1")
    reason = Explainer(engine, several).explain(item).reasons[0]
    assert (reason.code, reason.sentence) == ("no_worker", "Waiting: no worker is listening on ocr.")
    hire(service, "w-2", queue="ocr")
    assert codes(Explainer(engine, several).explain(item)) == ["picking_up"]


def test_a_pause_is_told_with_who_since_when_and_why_and_goes_before_everything(explain, service, item):
    service.pause_queue(QUEUE, "anna", "The disk is being replaced")
    waiting = explain(item)
    assert codes(waiting) == ["paused", "no_worker"]
    paused = waiting.reasons[0]
    assert paused.sentence.startswith("Waiting: the queue documents is paused by anna since ")
    assert paused.sentence.endswith("UTC: The disk is being replaced.")
    assert (paused.data["by"], paused.data["reason"]) == ("anna", "The disk is being replaced")
    assert datetime.fromisoformat(paused.data["since"]) <= datetime.now(UTC) + timedelta(seconds=5)
    assert waiting.expected_start_unknown == "nobody knows when the queue goes on"
    service.resume_queue(QUEUE, "anna")
    assert codes(explain(item)) == ["no_worker"]


def test_a_scheduled_item_says_until_when(explain, service, engine, settings):
    hire(service, "w-1")
    item = put(service, engine, settings, delay_seconds=3600)
    waiting = explain(item)
    (reason,) = waiting.reasons
    assert (reason.code, waiting.label) == ("scheduled", Label.SCHEDULED)
    assert reason.sentence.startswith("Scheduled: starts at ")
    assert reason.data["until"] == item.due_at.isoformat()
    assert 3500 < reason.data["seconds"] <= 3600
    assert (waiting.position, waiting.expected_start) == (None, None)


def test_a_retry_says_which_of_how_many_and_when(explain, engine, settings, item):
    slow = DocumentQueueService(engine, dataclasses.replace(settings, backoff_base_seconds=1e6,
                                                            backoff_cap_seconds=1e6))  # fmt: skip
    hire(slow, "w-1")
    again = slow.settle(slow.claim(item.id, "w-1"), Failed("timeout", "It took too long.", permanent=False))
    waiting = explain(again)
    (reason,) = waiting.reasons
    assert (reason.code, waiting.label) == ("backoff", Label.RETRYING)
    assert reason.sentence.startswith("Waiting: retry 1 of 4 at ")
    assert (reason.data["retry"], reason.data["of"], reason.data["crashes"]) == (1, 4, 0)
    assert reason.data["until"] == again.due_at.isoformat()


def test_a_crash_says_that_it_was_not_counted(explain, engine, settings, item):
    slow = DocumentQueueService(engine, dataclasses.replace(settings, backoff_base_seconds=1e6,
                                                            backoff_cap_seconds=1e6))  # fmt: skip
    hire(slow, "w-1")
    again = slow.settle(slow.claim(item.id, "w-1"), Crashed("killed by signal 9"))
    (reason,) = explain(again).reasons
    assert reason.code == "backoff"
    assert reason.sentence.startswith("Returned to queue: killed by signal 9. Attempt not counted; next try")
    assert reason.data["crashes"] == 1


def test_a_throttled_item_says_who_asked_and_until_when(explain, service, item):
    hire(service, "w-1")
    service.throttle("model", 600, "The model endpoint asked us to wait.")
    lease = service.claim(item.id, "w-1")
    snoozed = service.settle(lease, Snoozed(600, "The model endpoint asked us to wait."))
    (reason,) = explain(snoozed).reasons
    assert reason.code == "throttled"
    assert reason.sentence.endswith("UTC: The model endpoint asked us to wait.")
    assert (reason.data["until"], reason.data["throttled"]) == (snoozed.due_at.isoformat(), ["model"])
    assert snoozed.failures == 0


def test_a_throttle_that_a_later_stage_will_meet_is_mentioned_last(service, engine, settings, item):
    explainer = Explainer(engine, settings, {"process": ("model",), "extract": ()})
    hire(service, "w-1")
    service.throttle("model", 600, "Too many requests")
    waiting = explainer.explain(item)
    assert codes(waiting) == ["picking_up", "stage_throttled"]
    assert waiting.reasons[1].sentence.startswith("The model is not asked before ")
    assert waiting.reasons[1].sentence.endswith("UTC: Too many requests.")
    assert waiting.expected_start is not None
    assert codes(explainer.explain(item._replace(operation="extract"))) == ["picking_up"]


def test_an_owner_with_enough_running_is_told_so_and_nobody_else(engine, settings):
    limited = dataclasses.replace(settings, max_running_per_owner=2)
    service, explainer = DocumentQueueService(engine, limited), Explainer(engine, limited)
    anna, bert = (accounts.create_user(engine, name, None, Role.MEMBER).id for name in ("anna", "bert"))
    hire(service, "w-1", "w-2", "w-3")
    for worker in ("w-1", "w-2"):
        assert service.claim(put(service, engine, limited, anna).id, worker) is not None
    waits, free = (put(service, engine, limited, owner) for owner in (anna, bert))
    waiting = explainer.explain(waits)
    assert codes(waiting)[0] == "owner_limit"
    assert waiting.reasons[0].data == {"running": 2, "limit": 2}
    assert waiting.reasons[0].sentence == (
        "Waiting: 2 jobs of this owner run, and no more than 2 may at once."
    )
    assert waiting.expected_start_unknown == "it depends on this owner's other jobs"
    assert "owner_limit" not in codes(explainer.explain(free))


def test_busy_workers_and_those_ahead_are_counted(explain, service, engine, settings):
    hire(service, "w-1", "w-2")
    for worker in ("w-1", "w-2"):
        service.claim(put(service, engine, settings).id, worker)
    first, second = (put(service, engine, settings) for _ in range(2))
    waiting = explain(second)
    assert codes(waiting) == ["workers_busy", "behind"]
    assert [reason.sentence for reason in waiting.reasons] == [
        "Waiting: all 2 workers are busy.",
        "Behind one other.",
    ]
    assert (waiting.workers_alive, waiting.workers_busy, waiting.running, waiting.position) == (2, 2, 2, 2)
    assert codes(explain(first)) == ["workers_busy"]
    assert explain(first).position == 1


def test_one_that_nothing_keeps_is_being_picked_up(explain, service, engine, item):
    hire(service, "w-1")
    waiting = explain(item)
    (reason,) = waiting.reasons
    assert reason.code == "picking_up"
    assert reason.sentence.startswith("Being picked up: its bell rang at ")
    assert 0 <= reason.data["announced_seconds_ago"] < 10
    assert waiting.expected_start is not None
    service.mark_unannounced([item.id])
    again = Queries(engine).item(item.id, owner=None)
    assert explain(again).reasons[0].sentence == "Being picked up: its bell rings within 0.5 s."


def test_a_running_item_says_what_holds_it(explain, service, engine, settings, item):
    service.claim(item.id, "w-1")
    waiting = explain(item.id)
    assert (waiting.status, waiting.label, waiting.reasons) == (Status.IN_PROGRESS, Label.RUNNING, ())
    held = waiting.attempt
    assert (held.worker, held.attempt, held.suspected, held.cancel_requested_at) == ("w-1", 1, False, None)
    assert 0 <= held.renewed_seconds_ago < settings.lease_seconds
    service.cancel(item.id, "anna")
    asked = explain(item.id)
    assert codes(asked) == ["cancel_requested"]
    assert asked.reasons[0].sentence == "Cancel asked for: the worker stops at its next step."
    assert asked.attempt.cancel_requested_at is not None
    expire_lease(engine, item.id)
    assert codes(explain(item.id)) == ["cancel_requested", "worker_silent"]


def test_an_ended_item_waits_for_nothing(explain, service, item):
    service.cancel(item.id, "anna")
    waiting = explain(item.id)
    assert (waiting.status, waiting.reasons, waiting.attempt) == (Status.CANCELLED, (), None)


def test_an_unknown_item_is_not_explained(explain):
    for wrong in (new_id(), "nonsense"):
        with pytest.raises(ItemNotFound):
            explain(wrong)


# Position and prospect.


def test_the_position_is_the_order_of_the_claims(explain, service, engine, settings):
    owners = [accounts.create_user(engine, name, None, Role.MEMBER).id for name in ("anna", "bert")]
    put_in = [
        put(service, engine, settings, owners[number % 3 == 0], priority=number % 2) for number in range(9)
    ]
    put(service, engine, settings, delay_seconds=600)
    line = service.get_pending_items(limit=100)
    assert len(line) == len(put_in)
    assert [explain(item).position for item in line] == list(range(1, 10))


def test_a_position_is_counted_so_far_and_no_further(explain, service, engine, settings, monkeypatch):
    monkeypatch.setattr("jobs.waiting.explainer.COUNTED_TO", 3)
    monkeypatch.setattr("jobs.waiting.reasons.COUNTED_TO", 3)
    hire(service, "w-1")
    items = [put(service, engine, settings) for _ in range(7)]
    exact, beyond, far = (explain(items[number]) for number in (3, 4, 6))
    assert (exact.position, exact.position_is_minimum) == (4, False)
    assert (beyond.position, beyond.position_is_minimum) == (5, True)
    assert (far.position, far.position_is_minimum) == (5, True)
    assert far.reasons[0].sentence == "Behind more than 3 others."
    assert far.expected_start_unknown == "there are too many ahead"


def test_the_count_ends_where_it_says():
    assert not is_minimum(COUNTED_TO + 1)
    assert is_minimum(COUNTED_TO + 2)


def test_the_expected_start_comes_from_what_was_completed_lately(explain, service, engine, settings):
    hire(service, "w-1")
    complete(service, engine, settings, 5)
    service.claim(put(service, engine, settings).id, "w-1")
    first, second = (put(service, engine, settings) for _ in range(2))
    waiting = explain(second)
    assert waiting.throughput_per_minute == 1.0
    now = Queries(engine).now()
    assert 100 < (waiting.expected_start - now).total_seconds() <= 120
    assert explain(first).expected_start < waiting.expected_start


def test_nothing_is_promised_from_too_little_or_from_long_ago(explain, service, engine, settings):
    hire(service, "w-1")
    complete(service, engine, settings, 2)
    service.claim(put(service, engine, settings).id, "w-1")
    item = put(service, engine, settings)
    assert explain(item).expected_start_unknown == "too little was completed lately to tell"
    complete(service, engine, settings, 3)
    assert explain(item).expected_start is not None
    with engine.begin() as connection:
        past = Clock(engine.dialect.name).after(-400)
        ended = queue_items.c.finished_at.is_not(None)
        connection.execute(sa.update(queue_items).where(ended).values(finished_at=past))
    waiting = explain(item)
    assert (waiting.throughput_per_minute, waiting.expected_start) == (None, None)


def test_failures_are_no_throughput(explain, service, engine, settings):
    hire(service, "w-1")
    for _ in range(4):
        lease = service.claim(put(service, engine, settings).id, "w-0")
        service.settle(lease, Failed("x", "It broke.", permanent=True))
    assert explain(put(service, engine, settings)).throughput_per_minute is None


def test_each_queue_has_its_own_throughput_and_line(engine, settings):
    several = dataclasses.replace(settings, more_queues="ocr")
    service, explainer = DocumentQueueService(engine, several), Explainer(engine, several)
    complete(service, engine, several, 4)
    for queue in (QUEUE, "ocr"):
        hire(service, f"w-{queue}", queue=queue)
        service.claim(put(service, engine, several, queue=queue).id, f"w-{queue}")
    documents, ocr = (put(service, engine, several, queue=queue) for queue in (QUEUE, "ocr"))
    assert explainer.explain(documents).throughput_per_minute == 0.8
    elsewhere = explainer.explain(ocr)
    assert (elsewhere.throughput_per_minute, elsewhere.position, elsewhere.running) == (None, 1, 1)


# Lists.


def test_a_page_is_explained_at_once_by_as_many_statements_as_one_item(engine, settings):
    limited = dataclasses.replace(settings, max_running_per_owner=1, more_queues="ocr")
    service, explainer = DocumentQueueService(engine, limited), Explainer(engine, limited)
    hire(service, "w-1")
    owners = [accounts.create_user(engine, name, None, Role.MEMBER).id for name in ("anna", "bert")]
    running = put(service, engine, limited, owners[0])
    service.claim(running.id, "w-9")
    stopping = put(service, engine, limited)
    service.claim(stopping.id, "w-8")
    service.cancel(stopping.id, "anna")
    ended = put(service, engine, limited)
    service.cancel(ended.id, "anna")
    service.pause_queue("ocr", "anna", "")
    expected = {
        put(service, engine, limited, owners[0]).id: "owner_limit",
        put(service, engine, limited, owners[1]).id: "in_line",
        put(service, engine, limited, owners[1], queue="ocr").id: "paused",
        put(service, engine, limited, delay_seconds=60).id: "scheduled",
        stopping.id: "cancel_requested",
    }
    items = [row.item for row in Queries(engine).items(limit=100).rows]
    with watching(engine) as watched:
        found = explainer.briefly(items)
    assert {item_id: reason.code for item_id, reason in found.items()} == expected
    assert len(watched.plans) <= 5


def test_a_page_on_which_nothing_waits_asks_nothing(engine, settings, service, item):
    service.cancel(item.id, "anna")
    items = [row.item for row in Queries(engine).items().rows]
    with watching(engine) as watched:
        assert Explainer(engine, settings).briefly(items) == {}
    assert watched.plans == []


def test_an_item_that_came_due_is_in_line_before_the_sweep_says_so(explain, service, engine, settings):
    hire(service, "w-1")
    item = put(service, engine, settings, delay_seconds=600)
    make_due(engine, item.id)
    waiting = explain(item.id)
    assert (waiting.label, waiting.position) == (Label.WAITING, 1)
    assert waiting.reasons[0].sentence == "Being picked up: its bell rings within 0.5 s."


# On the web.


def test_the_api_tells_why(app, program, member, admin, stranger, service):
    job = uploaded(program)["job_id"]
    why = program.get(f"/api/v1/jobs/{job}/why")
    assert why.status_code == 200
    body = why.json
    assert (body["job_id"], body["status"], body["label"], body["queue"]) == (
        job,
        "pending",
        "waiting",
        QUEUE,
    )
    assert [reason["code"] for reason in body["reasons"]] == ["no_worker"]
    assert (body["position"], body["position_is_minimum"], body["workers_alive"]) == (1, False, 0)
    assert (body["expected_start"], body["expected_start_unknown"]) == (None, "no worker is running")
    assert program.get(f"/api/v1/jobs/{job}").json["links"]["why"] == f"/api/v1/jobs/{job}/why"
    assert admin.get(f"/api/v1/jobs/{job}/why").status_code == 200
    assert stranger.get(f"/api/v1/jobs/{job}/why").status_code == 404
    assert app.test_client().get(f"/api/v1/jobs/{job}/why").status_code == 401
    service.claim(job, "worker-of-a-host")
    assert "worker" not in program.get(f"/api/v1/jobs/{job}/why").json["attempt"]
    assert admin.get(f"/api/v1/jobs/{job}/why").json["attempt"]["worker"] == "worker-of-a-host"


def test_pages_and_lists_tell_why(program, member, admin, service):
    document = uploaded(program)
    service.pause_queue(QUEUE, "anna", "The disk is full")
    words = "is paused by anna since"
    for path in ("/", "/documents", f"/documents/{document['id']}", f"/jobs/{document['job_id']}"):
        page = member.get(path).text
        assert words in page, path
        assert "The disk is full." in page, path
    assert words in admin.get("/admin/queue").text
    assert words in program.get("/api/v1/documents").json["documents"][0]["job"]["waiting_reason"]
    assert words in program.get("/api/v1/jobs").json["jobs"][0]["waiting_reason"]
    job = admin.get(f"/jobs/{document['job_id']}").text
    assert "Start one: <code>python worker.py</code>" in job
    assert "Position 1" in job
    assert "python worker.py" not in member.get(f"/jobs/{document['job_id']}").text


def test_an_explanation_is_plain_json(explain, service, item):
    service.pause_queue(QUEUE, "anna", "")
    service.throttle("model", 60, "x")
    for one in (explain(item), explain(service.enqueue(item.document_id, "extract", delay_seconds=60))):
        assert json.loads(json.dumps(one.to_json())) == one.to_json()
    service.resume_queue(QUEUE, "anna")
    service.claim(item.id, "w-1")
    running = explain(item.id).to_json()
    assert json.loads(json.dumps(running)) == running
    assert running["attempt"]["worker"] == "w-1"


def test_the_lists_segments_are_worded(member, program, engine):
    uploaded(program)
    page = member.get("/documents").text
    assert 'All&nbsp;<span class="count">1</span>' in page
    assert 'Waiting&nbsp;<span class="count">1</span>' in page
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(queue_items)).scalar() == 1
