"""What the API promises to programs."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobs.extraction import Extraction
from jobs.extraction.result import FailedPage
from jobs.ids import new_id
from jobs.model import Artifact, Completed, Failed, PartialResult
from jobs.queries import Queries
from tests.support.web import claimed, close_app, extracted, upload, uploaded
from webapp import create_app

MADE = {"id", "job_id", "status", "filename", "sha256", "size", "links"}


def spooled(settings):
    return list((settings.data_dir / "spool").glob("*"))


def download(client, url, headers=None):
    """Get the whole answer and close the file behind it."""
    return client.get(url, headers=headers, buffered=True)


# Uploading.


def test_an_upload_answers_202_with_what_was_promised(program):
    content = b"The meeting is on Monday."
    answer = upload(program, ("note.txt", content))
    assert answer.status_code == 202
    assert set(answer.json) == {"documents"}
    (document,) = answer.json["documents"]
    assert set(document) == MADE
    assert document["status"] == "pending"
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert document["size"] == len(content)
    assert answer.headers["Location"] == document["links"]["job"] == f"/api/v1/jobs/{document['job_id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert set(document["links"]) == {"self", "job", "text", "markdown", "original"}
    for name in ("self", "job", "original"):
        assert download(program, document["links"][name]).status_code == 200


def test_several_files_keep_their_order_and_leave_no_copy(program, settings):
    files = [(f"{number}.txt", f"text {number}".encode() * 1000) for number in range(5)]
    documents = upload(program, *files).json["documents"]
    assert [one["filename"] for one in documents] == [name for name, _ in files]
    assert spooled(settings) == []


def test_a_large_file_refuses_only_itself(app, settings, engine, key_headers):
    small = create_app(replace(settings, max_upload_bytes=1000))
    try:
        client = small.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = key_headers["Authorization"]
        answer = upload(client, ("big.bin", b"x" * 5000), ("ok.txt", b"fine"), ("empty.txt", b""))
        assert answer.status_code == 202
        assert [one["filename"] for one in answer.json["documents"]] == ["ok.txt"]
        assert [(one["filename"], one["code"]) for one in answer.json["refused"]] == [
            ("big.bin", "too_large"),
            ("empty.txt", "empty_upload"),
        ]
        alone = upload(client, ("big.bin", b"x" * 5000))
        assert (alone.status_code, alone.json["code"]) == (413, "too_large")
        assert "4.9 KB" in alone.json["detail"]
        assert spooled(settings) == []
    finally:
        close_app(small)


@pytest.mark.parametrize("files", [[], [("", b"")], [("empty.txt", b"")]])
def test_no_file_or_no_bytes_is_a_400(program, files, settings):
    answer = upload(program, *files)
    assert (answer.status_code, answer.json["code"]) == (400, "empty_upload")
    assert spooled(settings) == []


def test_too_many_files_are_refused_at_once(settings, engine, key_headers):
    app = create_app(replace(settings, max_files_per_upload=2))
    try:
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = key_headers["Authorization"]
        answer = upload(client, *[(f"{number}.txt", b"x") for number in range(3)])
        assert (answer.status_code, answer.json["code"]) == (413, "too_large")
        answer = upload(client, *[(f"{number}.txt", b"x") for number in range(60)])
        assert answer.status_code == 413
        assert spooled(settings) == []
    finally:
        close_app(app)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\temp\\\\report.pdf", "report.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("履歴書.pdf", "履歴書.pdf"),
        ("a%0Ab.txt", "a%0Ab.txt"),
    ],
)
def test_names_are_made_harmless_and_downloads_carry_them(program, sent, kept):
    document = uploaded(program, sent)
    assert document["filename"] == kept
    answer = download(program, document["links"]["original"])
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "\n" not in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"operation": "explode"}, "unsupported_operation"), ({"priority": "9999"}, "bad_request"),
     ({"priority": "high"}, "bad_request")],
)  # fmt: skip
def test_a_wrong_field_stores_nothing(program, fields, code):
    answer = upload(program, ("a.txt", b"x"), **fields)
    assert (answer.status_code, answer.json["code"]) == (400, code)
    assert program.get("/api/v1/documents").json["documents"] == []


def test_operation_and_priority_are_taken_from_the_form(program):
    document = upload(program, ("a.txt", b"x"), operation="extract", priority="7").json["documents"][0]
    job = program.get(document["links"]["job"]).json
    assert (job["operation"], job["priority"]) == ("extract", 7)


def test_a_broken_form_leaves_nothing(program, settings):
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhalf a fi'
    answer = program.post("/api/v1/documents", data=body, content_type="multipart/form-data; boundary=b")
    assert answer.status_code == 400
    assert spooled(settings) == []
    assert program.get("/api/v1/documents").json["documents"] == []


def test_uploads_are_accepted_while_redis_is_down(program, valkey):
    valkey.stop()
    document = uploaded(program)
    job = program.get(document["links"]["job"]).json
    assert (job["status"], job["label"]) == ("pending", "waiting")
    ready = program.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "degraded")


# Documents.


def test_text_says_what_it_waits_for_and_then_is_there(program, service):
    document = uploaded(program)
    links, job_id = document["links"], document["job_id"]
    answer = program.get(links["text"])
    assert (answer.status_code, answer.json["code"]) == (404, "not_ready")
    assert (answer.json["job_status"], answer.json["links"]["job"]) == ("pending", links["job"])
    assert int(answer.headers["Retry-After"]) > 0
    lease = extracted(service, job_id)
    text = program.get(links["text"])
    assert (text.text, text.content_type) == ("Plain text.", "text/plain; charset=utf-8")
    assert "sandbox" in text.headers["Content-Security-Policy"]
    assert program.get(links["markdown"]).content_type == "text/markdown; charset=utf-8"
    service.settle(lease, Completed())
    whole = program.get(f"/api/v1/documents/{document['id']}/result?download=1")
    assert whole.json["extraction"]["result"]["text"] == "Plain text."
    assert whole.json["analysis"] is None
    assert 'filename="note.json"' in whole.headers["Content-Disposition"]
    shown = program.get(links["self"]).json
    assert (shown["title"], shown["page_count"], shown["language"]) == ("Plain", 2, "en")
    assert shown["job"]["status"] == "completed"
    assert set(shown["results"]) == {"extract"}


def test_a_failed_job_says_so_where_its_text_would_be(program, service):
    document = uploaded(program)
    service.settle(
        claimed(service, document["job_id"]), Failed("unreadable", "The file is damaged.", permanent=True)
    )
    answer = program.get(document["links"]["text"])
    assert answer.status_code == 404
    assert "The file is damaged." in answer.json["detail"]
    assert "Retry-After" not in answer.headers


def test_the_original_is_a_harmless_download_with_ranges_and_conditions(program):
    document = uploaded(program, "page.html", b"<!doctype html><script>alert(1)</script>")
    url = document["links"]["original"]
    answer = download(program, url)
    assert answer.data == b"<!doctype html><script>alert(1)</script>"
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment; filename=page.html"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["ETag"] == f'"{document["sha256"]}"'
    again = download(program, url, {"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    part = download(program, url, {"Range": "bytes=2-8"})
    assert (part.status_code, part.data) == (206, b"doctype")
    assert download(program, url, {"Range": "bytes=900-"}).status_code == 416


def test_lists_go_on_where_they_stopped(program):
    ids = [uploaded(program, f"{number}.txt")["id"] for number in range(5)]
    seen, url = [], "/api/v1/documents?limit=2"
    while url:
        page = program.get(url).json
        seen += [one["id"] for one in page["documents"]]
        url = page["next"]
    assert seen == ids[::-1]
    assert len(program.get("/api/v1/documents?q=3.t").json["documents"]) == 1
    assert len(program.get("/api/v1/documents?label=waiting").json["documents"]) == 5
    assert program.get("/api/v1/jobs?status=failed").json["jobs"] == []
    for wrong in ("documents?limit=0", "documents?label=x", "jobs?status=x", "jobs?limit=a"):
        assert program.get(f"/api/v1/{wrong}").status_code == 400


# Jobs.


def test_a_job_tells_where_it_is_and_may_be_asked_cheaply(program, service):
    document = uploaded(program)
    url = document["links"]["job"]
    answer = program.get(url)
    job = answer.json
    assert {
        "id", "document_id", "operation", "status", "label", "stage", "progress", "attempt", "failures",
        "crashes", "error", "due_at", "created_at", "finished_at", "position", "waiting_reason", "links",
    } <= set(job)  # fmt: skip
    assert (job["position"], job["waiting_reason"]) == (1, "Waiting: no worker is running. Position 1.")
    assert int(answer.headers["Retry-After"]) > 0
    assert program.get(url, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    lease = claimed(service, document["job_id"])
    service.renew(lease, stage="extract", progress=0.25)
    job = program.get(url, headers={"If-None-Match": answer.headers["ETag"]}).json
    assert (job["status"], job["stage"], job["progress"], job["position"]) == (
        "in_progress", "extract", 0.25, None,
    )  # fmt: skip
    assert (job["page"], job["page_count"]) == (None, None)
    service.renew(lease, progress=0.3, pages=(12, 48))
    job = program.get(url).json
    assert (job["progress"], job["page"], job["page_count"]) == (0.3, 12, 48)
    service.settle(lease, Failed("timeout", "The model did not answer.", permanent=False))
    job = program.get(url).json
    assert (job["page"], job["page_count"]) == (None, None)
    assert (job["label"], job["failures"]) in {("retrying", 1), ("waiting", 1)}
    assert job["error"] == {"code": "timeout", "message": "The model did not answer."}


def test_events_are_asked_for_after_the_last_one_seen(program, service):
    document = uploaded(program)
    url = f"{document['links']['job']}/events"
    first = program.get(url).json
    assert [event["kind"] for event in first["events"]] == ["accepted"]
    claimed(service, document["job_id"])
    then = program.get(f"{url}?after={first['last_seq']}").json
    assert [event["kind"] for event in then["events"]] == ["started"]
    assert program.get(f"{url}?after={then['last_seq']}").json["events"] == []
    assert program.get(f"{url}?after=x").status_code == 400


def test_a_traceback_is_for_admins(program, admin, service):
    document = uploaded(program)
    lease = claimed(service, document["job_id"])
    service.settle(lease, Failed("bug", "Something broke.", permanent=True, traceback="Traceback: secret"))
    url = f"{document['links']['job']}/attempts"
    (seen,) = program.get(url).json["attempts"]
    assert seen["error"]["message"] == "Something broke."
    assert "secret" not in program.get(url).text
    assert "secret" not in program.get(f"/jobs/{document['job_id']}").text
    assert admin.get(url).json["attempts"][0]["traceback"] == "Traceback: secret"
    assert "Traceback: secret" in admin.get(f"/jobs/{document['job_id']}").text


def test_retry_and_cancel_follow_the_state_machine(program):
    document = uploaded(program)
    url = document["links"]["job"]
    assert (answer := program.post(f"{url}/retry")).status_code == 409
    assert answer.json["code"] == "illegal_transition"
    assert program.post(f"{url}/cancel").json["status"] == "cancelled"
    assert program.post(f"{url}/cancel").status_code == 409
    answer = program.post(f"{url}/retry")
    assert (answer.status_code, answer.json["status"], answer.headers["Location"]) == (202, "pending", url)


def test_reprocessing_makes_a_new_job_or_names_the_open_one(program):
    document = uploaded(program)
    url = f"/api/v1/documents/{document['id']}/reprocess"
    busy = program.post(url)
    assert (busy.status_code, busy.json["code"], busy.json["job_id"]) == (
        409, "already_queued", document["job_id"],
    )  # fmt: skip
    answer = program.post(url, json={"operation": "extract", "fresh": True, "priority": 3})
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/jobs/{answer.json['id']}"
    assert (answer.json["operation"], answer.json["priority"]) == ("extract", 3)
    assert program.post(url, data={"operation": "analyze"}).status_code == 202
    assert program.post(url, json=["x"]).status_code == 400
    assert program.post(url, json={"operation": "x"}).json["code"] == "unsupported_operation"


def test_reprocessing_computes_anew_unless_told_to_reuse(program, engine):
    url = f"/api/v1/documents/{uploaded(program)['id']}/reprocess"
    anew = program.post(url, json={"operation": "extract"}).json["id"]
    reused = program.post(url, json={"operation": "analyze", "fresh": False}).json["id"]
    queries = Queries(engine)
    assert queries.item(anew, owner=None).fresh is True
    assert queries.item(reused, owner=None).fresh is False


# Errors.


def test_every_error_of_the_api_is_a_problem(app, program, monkeypatch):
    def break_down():
        raise RuntimeError("secret detail")

    document_id = uploaded(program)["id"]
    reprocess = f"/api/v1/documents/{document_id}/reprocess"
    answers = {
        404: program.get("/api/v1/nothing"),
        405: program.delete("/api/v1/documents"),
        400: program.get("/api/v1/documents?limit=x"),
        411: program.post(
            "/api/v1/documents/x/reprocess", data=io.BytesIO(b"{}"), headers={"Transfer-Encoding": "chunked"}
        ),
        413: program.post(reprocess, data={"a": "x" * 100_000}),
        401: app.test_client().get("/api/v1/jobs"),
    }
    broken_json = program.post(reprocess, data="not json", content_type="application/json")
    assert broken_json.json["code"] == "bad_request"
    monkeypatch.setitem(app.view_functions, "api.queue_stats", break_down)
    answers[500] = program.get("/api/v1/queue/stats")
    for status, answer in answers.items():
        assert answer.status_code == status
        assert answer.content_type == "application/problem+json", status
        assert {"type", "title", "status", "detail", "code", "request_id"} <= set(answer.json)
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
    assert "GET" in answers[405].headers["Allow"]
    assert answers[401].headers["WWW-Authenticate"].startswith("Bearer")


def test_a_database_that_is_away_is_503_with_a_time_to_come_back(app, program, engine, monkeypatch):
    import sqlalchemy as sa

    def away(*_args, **_options):
        raise sa.exc.OperationalError("SELECT 1", {}, OSError("gone"))

    monkeypatch.setitem(app.view_functions, "api.queue_stats", away)
    answer = program.get("/api/v1/queue/stats")
    assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"]


# Probes.


def test_the_cron_token_sweeps_and_nothing_else_does(settings, key_headers, engine):
    from jobs import accounts

    app = create_app(replace(settings, cron_token="let-me-in"))
    try:
        client = app.test_client()
        path = "/internal/process-queue"
        good = client.post(path, headers={"Authorization": "Bearer let-me-in"})
        assert good.status_code == 200
        assert {"announced", "rescued"} <= set(good.json)
        assert client.post(path).status_code == 401
        assert client.post(path, headers={"Authorization": "Bearer nope"}).status_code == 401
        assert client.post(path, headers=key_headers).status_code == 403
        key = accounts.create_api_key(engine, accounts.ensure_admin(engine).id, "cron")
        assert client.post(path, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert client.get(path, headers={"Authorization": "Bearer let-me-in"}).status_code == 405
    finally:
        close_app(app)


def test_an_empty_cron_token_opens_nothing(app):
    for token in ("Bearer ", "Bearer", "bearer  "):
        answer = app.test_client().post("/internal/process-queue", headers={"Authorization": token})
        assert answer.status_code == 401


def test_metrics_tell_the_queue_and_the_requests(admin, program):
    uploaded(program)
    text = admin.get("/metrics").text
    assert 'docqueue_items{status="pending"} 1.0' in text
    assert "docqueue_workers_alive 0.0" in text
    assert "docqueue_redis_up 1.0" in text
    assert 'docqueue_http_requests_total{method="POST",route="/api/v1/documents",status="202"} 1.0' in text


def test_pages_that_are_read_can_be_had_before_the_others(program, member, stranger, service):
    document = uploaded(program)
    text = f"/api/v1/documents/{document['id']}/text"
    lease = claimed(service, document["job_id"])
    assert program.get(text, query_string={"partial": 1}).status_code == 404
    service.keep_partial(lease, PartialResult(2, 48, {1: "# Head", 3: "some *words*"}))
    assert program.get(text).status_code == 404
    answer = program.get(text, query_string={"partial": 1})
    assert (answer.text, answer.headers["X-Pages"]) == ("Head\n\nsome words", "2/48")
    markdown = program.get(text.replace("/text", "/markdown"), query_string={"partial": 1})
    assert markdown.text == "# Head\n\nsome *words*"
    page = member.get(f"/documents/{document['id']}?tab=text").text
    assert "2 of 48 pages, still being read." in page
    assert "some words" in page
    assert stranger.get(text, query_string={"partial": 1}).status_code == 404
    service.settle(lease, Failed("x", "It broke.", permanent=True))
    assert program.get(text, query_string={"partial": 1}).status_code == 404


def test_failed_pages_are_listed_and_read_again_on_request(program, member, stranger, service):
    document = uploaded(program)
    path = f"/api/v1/documents/{document['id']}"
    lease = extracted(service, document["job_id"])
    answer = program.post(f"{path}/retry-pages")
    assert (answer.status_code, answer.json["code"]) == (409, "no_failed_pages")
    assert program.get(path).json["failed_pages"] == []
    failed = [{"page": 4, "code": "limit_time"}, {"page": 17, "code": "unreadable"}]
    pages = [FailedPage(page["page"], page["code"]) for page in failed]
    body = Extraction("a", "a", None, 48, None, {}, "application/pdf", "e", "1", failed_pages=pages).to_json()
    artifact = Artifact(new_id(), "extract", "f" * 64, "e", "1", body, {}, datetime.now(UTC))
    service.checkpoint(lease, "extract", artifact, reused=False)
    service.settle(lease, Completed())
    assert program.get(path).json["failed_pages"] == failed
    for page in (f"/documents/{document['id']}", f"/jobs/{document['job_id']}"):
        assert "Pages 4, 17 could not be read" in member.get(page).text
        assert "Retry failed pages" in member.get(page).text
    assert stranger.post(f"{path}/retry-pages").status_code == 404
    answer = program.post(f"{path}/retry-pages", json={"priority": 5})
    job = answer.json
    assert (answer.status_code, job["operation"], job["priority"]) == (202, "retry_pages", 5)
    assert program.post(f"{path}/retry-pages").status_code == 409
    again = member.post(f"/documents/{document['id']}/retry-pages")
    assert again.headers["Location"] == f"/jobs/{job['id']}"
