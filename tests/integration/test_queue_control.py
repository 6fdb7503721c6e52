"""Pause, resume, priority and bulk operations as people and programs ask for them: API, pages, command."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import sqlalchemy as sa

from jobs import queue_overview
from jobs.ids import new_id
from jobs.model import Completed, Failed
from jobs.queries import Queries
from jobs.tables import queue_items
from tests.support.items import add_document
from tests.support.web import claimed, uploaded


@pytest.fixture
def failed(program, service):
    """Three failed jobs of the member."""
    ids = []
    for number in range(3):
        job_id = uploaded(program, f"bad-{number}.txt", b"x%d" % number)["job_id"]
        service.settle(claimed(service, job_id), Failed("broken", "Unreadable.", permanent=True))
        ids.append(job_id)
    return ids


@pytest.fixture
def boss(app, engine):
    """A program that acts for the admin."""
    from jobs import accounts

    client = app.test_client()
    key = accounts.create_api_key(engine, accounts.ensure_admin(engine).id, "tests")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def timeline(engine, job_id, kind):
    return [event.data for event in Queries(engine).events(job_id) if event.kind == kind]


def rows_of(page):
    return re.findall(r'data-row="([^"]+)"', page)


# Queues.


def test_a_queue_is_paused_with_a_reason_and_goes_on_at_once(boss, program, service, app, valkey):
    job_id = uploaded(program)["job_id"]
    answer = boss.post("/api/v1/queues/documents/pause", json={"reason": "disk is being replaced"})
    assert answer.status_code == 200
    (shown,) = program.get("/api/v1/queues").json["queues"]
    assert shown["paused"]["by"] == "admin"
    assert shown["paused"]["reason"] == "disk is being replaced"
    assert shown["paused"]["at"]
    assert (shown["waiting"], shown["running"], shown["workers"]) == (1, 0, {"alive": 0, "busy": 0})
    assert service.claim(job_id, "w-1") is None
    valkey.flush()
    service.mark_unannounced([job_id])
    answer = boss.post("/api/v1/queues/documents/resume")
    assert answer.json["paused"] is None
    assert app.extensions["docqueue"].delivery.queue_length("documents") == 1, "it rang at once"
    assert service.claim(job_id, "w-1") is not None


def test_pausing_again_changes_the_reason_and_not_the_beginning(boss):
    first = boss.post("/api/v1/queues/documents/pause", json={"reason": "one"}).json["paused"]
    second = boss.post("/api/v1/queues/documents/pause", json={"reason": "two"}).json["paused"]
    assert (second["reason"], second["at"]) == ("two", first["at"])


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "Say why"),
        ({"reason": "  "}, "Say why"),
        ({"reason": 5}, "text"),
        ({"reason": "x" * 501}, "500"),
        ({"reason": "x", "until": "tomorrow"}, "until"),
        ([], "JSON object"),
    ],
)
def test_a_pause_without_a_proper_reason_is_refused(boss, body, detail):
    answer = boss.post("/api/v1/queues/documents/pause", json=body)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert detail in answer.json["detail"]
    assert boss.get("/api/v1/queues").json["queues"][0]["paused"] is None


def test_members_see_queues_and_pause_none(program, boss):
    assert program.get("/api/v1/queues").status_code == 200
    for verb in ("pause", "resume"):
        assert program.post(f"/api/v1/queues/documents/{verb}", json={"reason": "x"}).status_code == 403
        assert boss.post(f"/api/v1/queues/nowhere/{verb}", json={"reason": "x"}).status_code == 404


def test_each_queue_counts_its_own(engine, settings, service, monkeypatch):
    several = replace(settings, more_queues="scans")
    type(service)(engine, several).enqueue(add_document(engine, settings), queue="scans")
    for _ in range(3):
        service.enqueue(add_document(engine, settings))
    service.enqueue(add_document(engine, settings), delay_seconds=1000)
    service.worker_seen("w-1", "host", 1, "busy")
    service.worker_seen("w-2", "host", 2, "idle")
    service.worker_seen("w-3", "host", 3, "idle", "scans")
    assert service.claim_next("documents", "w-1") is not None
    documents, scans = queue_overview.overview(engine, several)
    assert (documents.waiting, documents.running) == (2, 1)
    assert (documents.workers_alive, documents.workers_busy) == (2, 1)
    assert (scans.waiting, scans.running, scans.workers_alive, scans.workers_busy) == (1, 0, 1, 0)
    monkeypatch.setattr(queue_overview, "COUNT_CAP", 1)
    documents, scans = queue_overview.overview(engine, several)
    assert (documents.waiting, documents.waiting_capped) == (1, True)
    assert (scans.waiting, scans.waiting_capped) == (1, False)


# Priority, and reasons.


def test_a_waiting_job_changes_its_priority(program, stranger, service, engine):
    first, second = uploaded(program, "a.txt", b"a")["job_id"], uploaded(program, "b.txt", b"b")["job_id"]
    answer = program.patch(f"/api/v1/jobs/{second}", json={"priority": 7, "reason": "the customer waits"})
    assert (answer.status_code, answer.json["priority"]) == (200, 7)
    assert [item.id for item in service.get_pending_items()] == [second, first]
    (data,) = timeline(engine, second, "priority_changed")
    assert (data["from"], data["to"], data["by"], data["reason"]) == (0, 7, "mia", "the customer waits")
    for body in ({}, {"priority": 101}, {"priority": True}, {"priority": 1.5}, {"priority": 1, "x": 2}):
        assert program.patch(f"/api/v1/jobs/{second}", json=body).status_code == 400, body
    service.settle(claimed(service, second), Completed())
    refused = program.patch(f"/api/v1/jobs/{second}", json={"priority": 1})
    assert (refused.status_code, refused.json["code"]) == (409, "illegal_transition")


def test_a_reason_may_go_with_cancel_and_retry(program, member, engine):
    job_id = uploaded(program)["job_id"]
    assert program.post(f"/api/v1/jobs/{job_id}/cancel", json={"reason": "wrong file"}).status_code == 202
    assert program.post(f"/api/v1/jobs/{job_id}/retry", json={"reason": "right after all"}).status_code == 202
    assert program.post(f"/api/v1/jobs/{job_id}/cancel", json={"reason": "x" * 501}).status_code == 400
    assert (
        program.post(f"/api/v1/jobs/{job_id}/cancel", data=b"", content_type="application/json").status_code
        == 202
    )
    assert program.post(f"/api/v1/jobs/{job_id}/retry").status_code == 202
    page = member.get(f"/jobs/{job_id}").text
    assert "Cancelled by mia: wrong file" in page
    assert "Retried by mia: right after all" in page


def test_the_job_page_changes_a_priority_and_tells_of_it(program, member, stranger):
    job_id = uploaded(program)["job_id"]
    assert "Change priority" in member.get(f"/jobs/{job_id}").text
    answer = member.post(f"/jobs/{job_id}/priority", data={"priority": "-3", "reason": "<b>later</b>"})
    assert answer.headers["Location"] == f"/jobs/{job_id}"
    page = member.get(f"/jobs/{job_id}").text
    assert "Priority changed from 0 to -3 by mia: &lt;b&gt;later&lt;/b&gt;" in page
    assert member.post(f"/jobs/{job_id}/priority", data={"priority": "high"}).status_code == 400
    assert stranger.post(f"/jobs/{job_id}/priority", data={"priority": "1"}).status_code == 404
    member.post(f"/jobs/{job_id}/cancel", data={"reason": "enough"})
    page = member.get(f"/jobs/{job_id}").text
    assert "Cancelled by mia: enough" in page
    assert "Change priority" not in page
    member.post(f"/jobs/{job_id}/priority", data={"priority": "1"})
    assert "only a waiting one can change its priority" in member.get(f"/jobs/{job_id}").text


# Bulk operations over HTTP.


def test_a_dry_run_changes_nothing_and_a_start_is_followed(boss, program, failed, service, app):
    wanted = {"kind": "retry", "filter": {"status": "failed"}, "reason": "the model is back"}
    preview = boss.post("/api/v1/bulk-operations", json={**wanted, "dry_run": True})
    assert preview.status_code == 200
    assert (preview.json["matching"], preview.json["eligible"], preview.json["capped"]) == (3, 3, False)
    assert boss.get("/api/v1/bulk-operations").json["bulk_operations"] == []
    started = boss.post("/api/v1/bulk-operations", json=wanted)
    assert started.status_code == 202
    assert started.headers["Location"] == started.json["links"]["self"]
    shown = boss.get(started.headers["Location"]).json
    assert (shown["state"], shown["done"], shown["skipped"], shown["percent"]) == ("completed", 3, 0, 100)
    assert (shown["reason"], shown["requested_by"]) == ("the model is back", "admin")
    assert app.extensions["docqueue"].delivery.queue_length("documents") >= 3, "it rang at once"
    assert [one["id"] for one in boss.get("/api/v1/bulk-operations").json["bulk_operations"]] == [shown["id"]]
    assert boss.post(shown["links"]["cancel"]).status_code == 409


def test_a_large_operation_goes_on_after_the_request_and_can_be_stopped(boss, failed, monkeypatch, app):
    bulk = app.extensions["docqueue"].bulk
    monkeypatch.setattr(bulk, "advance", bulk.get)
    started = boss.post("/api/v1/bulk-operations", json={"kind": "delete", "filter": {"status": "failed"}})
    assert (started.json["state"], started.json["percent"], started.json["matching"]) == ("running", 0, 3)
    assert bulk.work(seconds=0, slice_size=1) == 1
    going = boss.get(started.json["links"]["self"])
    assert (going.json["percent"], going.headers["Retry-After"]) == (33, "1")
    stopped = boss.post(started.json["links"]["cancel"])
    assert (stopped.status_code, stopped.json["state"], stopped.json["done"]) == (200, "cancelled", 1)
    assert bulk.work() == 0


def test_a_member_reaches_their_own_jobs_only(boss, program, member, stranger, failed, service, engine):
    wanted = {"kind": "delete", "filter": {"ids": failed}}
    theirs = stranger.post("/api/v1/bulk-operations", json={**wanted, "dry_run": True})
    assert theirs.json["matching"] == 0
    started = stranger.post("/api/v1/bulk-operations", json=wanted)
    assert (started.status_code, started.json["done"]) == (202, 0)
    owned = {"kind": "delete", "filter": {"owner_id": member.user.id}}
    assert stranger.post("/api/v1/bulk-operations", json=owned).status_code == 400
    assert program.get(started.json["links"]["self"]).status_code == 404
    assert program.post(started.json["links"]["cancel"]).status_code == 404
    assert program.get("/api/v1/bulk-operations").json["bulk_operations"] == []
    assert boss.get(started.json["links"]["self"]).status_code == 200
    mine = program.post("/api/v1/bulk-operations", json={"kind": "retry", "filter": {"all": True}})
    assert mine.json["done"] == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "retry"},
        {"kind": "retry", "filter": {}},
        {"kind": "explode", "filter": {"all": True}},
        {"kind": "retry", "filter": {"all": True}, "dry_run": "yes"},
        {"kind": "retry", "filter": {"all": True}, "speed": 9},
        {"kind": "change_priority", "filter": {"all": True}},
        "retry",
    ],
)
def test_a_bulk_request_that_cannot_be_meant_is_a_problem(boss, body, failed, engine):
    answer = boss.post("/api/v1/bulk-operations", data=json.dumps(body), content_type="application/json")
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json"), answer.text
    with engine.connect() as connection:
        statuses = connection.execute(sa.select(queue_items.c.status)).scalars()
        assert set(statuses) == {"failed"}


def test_text_that_no_database_takes_does_no_harm(boss):
    wanted = {"kind": "cancel", "filter": {"text": "a\ud800\0"}, "reason": "b\udfff\0"}
    started = boss.post("/api/v1/bulk-operations", data=json.dumps(wanted), content_type="application/json")
    assert (started.json["filter"], started.json["reason"]) == ({"text": "a"}, "b")
    paused = boss.post("/api/v1/queues/documents/pause", json={"reason": "c\ud800\0"})
    assert paused.json["paused"]["reason"] == "c"


def test_a_bulk_request_is_json(boss):
    answer = boss.post("/api/v1/bulk-operations", data={"kind": "retry"})
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")


# Pages.


def test_the_queue_page_pauses_and_resumes_with_a_plain_form(admin, member, program):
    uploaded(program)
    page = admin.get("/admin/queue").text
    assert "Pause…" in page
    assert "1 waiting job is not started until somebody resumes it" in page
    assert admin.post("/admin/queues/documents/pause", data={"reason": ""}).status_code == 400
    answer = admin.post("/admin/queues/documents/pause", data={"reason": "<i>disk</i>"})
    page = admin.get(answer.headers["Location"]).text
    assert "Paused by admin:" in page
    assert "&lt;i&gt;disk&lt;/i&gt;" in page
    assert "Resume" in page
    answer = admin.post("/admin/queues/documents/resume")
    page = admin.get(answer.headers["Location"]).text
    assert "Paused by" not in page
    assert admin.post("/admin/queues/nowhere/pause", data={"reason": "x"}).status_code == 404
    assert admin.post("/admin/queues/documents/pause", data={"reason": "x"}, token=False).status_code == 400
    assert member.post("/admin/queues/documents/pause", data={"reason": "x"}).status_code == 403


def test_ticked_rows_are_asked_about_changed_and_followed(admin, failed, engine):
    assert sorted(rows_of(admin.get("/admin/queue?status=failed").text)) == sorted(failed)
    chosen = {"kind": "retry", "id": failed[:2], "status": "failed", "q": ""}
    dialog = admin.post("/admin/bulk/preview", data=chosen).text
    assert "Retry 2 jobs?" in dialog
    assert "2 chosen jobs" in dialog
    assert 'href="/admin/queue?status=failed"' in dialog
    form = dict(re.findall(r'<input type="hidden" name="(kind|filter)" value="([^"]*)"', dialog))
    form["filter"] = form["filter"].replace("&#34;", '"')
    answer = admin.post("/admin/bulk", data={**form, "reason": "try again"})
    assert answer.status_code == 303
    page = admin.get(answer.headers["Location"]).text
    assert "Retrying jobs: done" in page
    assert "2 put back into the queue" in page
    assert "try again" in page
    assert "2 of 2, 100 %" in admin.get("/admin/queue").text
    assert len(timeline(engine, failed[0], "retried")) == 1
    assert timeline(engine, failed[2], "retried") == []


def test_everything_that_matches_a_search_can_be_meant(admin, failed):
    page = admin.get("/admin/queue?status=failed&q=bad-1").text
    assert "Select all that match" in page
    assert "Select all 3 that match" in admin.get("/admin/queue?status=failed").text
    chosen = {"kind": "delete", "scope": "matching", "status": "failed", "q": "bad-1"}
    dialog = admin.post("/admin/bulk/preview", data=chosen).text
    assert "Delete 1 job?" in dialog
    assert "This cannot be undone." in dialog
    nothing = admin.post(
        "/admin/bulk/preview", data={"kind": "cancel", "scope": "matching", "status": "failed"}
    )
    assert "Cancel 0 jobs?" in nothing.text
    assert "3: failed" in nothing.text
    assert "disabled" in nothing.text


def test_a_change_of_priority_says_which(admin, program, engine):
    job_id = uploaded(program)["job_id"]
    chosen = {"kind": "change_priority", "id": job_id, "priority": "25"}
    dialog = admin.post("/admin/bulk/preview", data=chosen).text
    assert "Change the priority of 1 job?" in dialog
    assert "<dd>25</dd>" in dialog
    start = {"kind": "change_priority", "filter": json.dumps({"ids": [job_id]}), "priority": "25"}
    admin.post("/admin/bulk", data=start)
    assert Queries(engine).item(job_id, owner=None).priority == 25
    assert admin.post("/admin/bulk/preview", data={**chosen, "priority": "x"}).status_code == 400


def test_a_running_operation_is_stopped_by_its_button(admin, failed, app):
    bulk = app.extensions["docqueue"].bulk
    operation = bulk.start("delete", {"status": "failed"}, reason="old", by="anna")
    path = f"/admin/bulk/{operation.id}"
    page = admin.get(path).text
    assert "Deleting jobs: running" in page
    assert '<meta http-equiv="refresh"' in page
    assert "0 of 3, 0 %" in page
    assert admin.post(f"{path}/cancel").headers["Location"] == path
    page = admin.get(path).text
    assert "Deleting jobs: stopped" in page
    assert '<meta http-equiv="refresh"' not in page
    answer = admin.post(f"{path}/cancel")
    assert "there is nothing to stop" in admin.get(answer.headers["Location"]).text
    assert admin.get(f"/admin/bulk/{new_id()}").status_code == 404


def test_nothing_chosen_is_said_kindly(admin):
    answer = admin.post("/admin/bulk/preview", data={"kind": "retry", "status": "failed"})
    assert answer.headers["Location"] == "/admin/queue?status=failed"
    assert "Choose some jobs first" in admin.get(answer.headers["Location"]).text
    assert admin.post("/admin/bulk/preview", data={"kind": "x", "id": new_id()}).status_code == 400
    assert admin.post("/admin/bulk", data={"kind": "retry", "filter": "{"}).status_code == 400


# The command.


def test_the_command_pauses_lists_and_resumes(docqueue, service):
    docqueue("queue", "pause", "documents", "--reason", "maintenance")
    assert service.queue_state("documents").pause_reason == "maintenance"
    (shown,) = json.loads(docqueue("queue", "list", "--json").stdout)["queues"]
    assert shown["paused"]["by"] == "the command line"
    assert "paused by the command line: maintenance" in docqueue("queue", "list").stdout
    docqueue("queue", "resume", "documents")
    assert service.queue_state("documents").paused_at is None
    for arguments in (("pause", "nowhere", "--reason", "x"), ("pause", "documents", "--reason", " ")):
        assert docqueue("queue", *arguments, check=False).returncode == 1


def test_the_command_retries_and_cancels_many(docqueue, service, engine, settings):
    ids = [service.enqueue(add_document(engine, settings)).id for _ in range(3)]
    for one in ids[:2]:
        service.mark_failed(service.claim(one, "w"), "It broke.", permanent=True)
    assert docqueue("retry", "--status", "failed", "--dry-run").stdout == "To retry: 2.\n"
    refused = docqueue("retry", "--status", "failed", check=False, stdin="n\n")
    assert refused.returncode == 1
    assert (
        docqueue("retry", "--status", "failed", "--yes", "--reason", "fixed").stdout
        == "Done: 2, skipped: 0.\n"
    )
    assert timeline(engine, ids[0], "retried") == [
        {"status": "pending", "by": "the command line", "reason": "fixed"}
    ]
    assert docqueue("cancel", ids[0], ids[2]).stdout == "Done: 2, skipped: 0.\n"
    assert Queries(engine).item(ids[1], owner=None).status == "pending"
    assert "empty filter" in docqueue("cancel", check=False).stderr
