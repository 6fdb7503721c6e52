"""The pages, as they are without JavaScript."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from jobs.model import Completed, Failed
from tests.support.web import claimed, close_app, csrf_token, extracted, upload, uploaded
from webapp import create_app

EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


def test_the_plain_form_accepts_one_file_and_shows_its_job(member):
    answer = upload(member.client, ("a.txt", b"x"), path="/documents", csrf_token=csrf_token(member.client))
    assert answer.status_code == 303
    page = member.get(answer.headers["Location"]).text
    assert "a.txt" in page
    assert "Waiting" in page
    assert '<meta http-equiv="refresh"' in page


def test_the_plain_form_accepts_several_and_lists_them_with_what_was_refused(member):
    token = csrf_token(member.client)
    answer = upload(
        member.client,
        ("a.txt", b"x"),
        ("b.txt", b"y"),
        ("empty.txt", b""),
        path="/documents",
        csrf_token=token,
    )
    page = member.get(answer.headers["Location"]).text
    assert "2 accepted" in page
    assert "empty.txt was refused: The file is empty." in page
    assert page.count("data-row=") == 2


def test_a_refused_form_says_why_on_a_page(settings, engine):
    from tests.support.web import person

    app = create_app(replace(settings, max_upload_bytes=10))
    try:
        somebody = person(app, engine, "somebody")
        token = csrf_token(somebody.client)
        answer = upload(somebody.client, ("a.txt", b"x" * 5000), path="/documents", csrf_token=token)
        assert answer.status_code == 413
        assert "the limit is 10 bytes" in answer.text
        assert answer.content_type.startswith("text/html")
    finally:
        close_app(app)


def test_nothing_of_a_foreign_file_becomes_markup(program, member, service):
    document = uploaded(program, f"{EVIL.replace('/', '')}.md")
    markdown = f"# Title\n\n{EVIL}\n\n[x](javascript:alert(3)) ![t](https://evil.example/p.png) <b>b</b>\n"
    extracted(service, document["job_id"], text=EVIL, markdown=markdown)
    paths = ["/", "/documents", f"/jobs/{document['job_id']}"]
    tabs = ("overview", "markdown", "text", "tables", "chunks", "metadata", "jobs")
    paths += [f"/documents/{document['id']}?tab={tab}" for tab in tabs]
    for path in paths:
        page = member.get(path).text
        assert "<img src=x" not in page, path
        assert "<script>alert" not in page, path
        assert 'href="javascript' not in page, path
        assert 'src="https://' not in page, path


def test_a_document_page_offers_what_is_there_and_nothing_else(program, member, service):
    document = uploaded(program)
    path = f"/documents/{document['id']}"
    assert "/markdown?download=1" not in member.get(f"{path}?tab=markdown").text
    assert "No text yet" in member.get(f"{path}?tab=text").text
    lease = extracted(service, document["job_id"], markdown="# Hello\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    service.settle(lease, Completed())
    assert "/markdown?download=1" in member.get(f"{path}?tab=markdown").text
    rendered = member.get(f"{path}?tab=markdown").text
    assert "<h3>Hello</h3>" in rendered
    assert "<td>1</td>" in rendered
    assert "Plain text." in member.get(f"{path}?tab=text").text
    assert "Ann" in member.get(f"{path}?tab=metadata").text
    assert f"/jobs/{document['job_id']}" in member.get(f"{path}?tab=jobs").text


def test_reprocessing_from_the_page_shows_the_new_job_or_the_open_one(program, member, service):
    document = uploaded(program)
    path = f"/documents/{document['id']}/reprocess"
    answer = member.post(path, data={"operation": "process"})
    assert answer.headers["Location"] == f"/jobs/{document['job_id']}"
    service.settle(claimed(service, document["job_id"]), Completed())
    answer = member.post(path, data={"operation": "process"})
    assert answer.status_code == 303
    assert document["job_id"] not in answer.headers["Location"]
    assert member.post(path, data={"operation": "explode"}).status_code == 400


def test_pages_of_a_running_document_are_shown_without_a_script(program, member, service):
    document = uploaded(program)
    lease = claimed(service, document["job_id"])
    service.renew(lease, stage="extract", progress=0.25, pages=(12, 1048))
    for path in (f"/jobs/{document['job_id']}", f"/documents/{document['id']}", "/documents"):
        assert "page 12 of 1,048" in member.get(path).text


def test_a_job_page_explains_a_failure_and_offers_the_retry(program, member, service):
    document = uploaded(program)
    path = f"/jobs/{document['job_id']}"
    lease = extracted(service, document["job_id"])
    service.renew(lease, stage="analyze", progress=0.5)
    service.settle(lease, Failed("bad_answer", "The model answered with invalid JSON.", permanent=True))
    page = member.get(path).text
    assert "The model answered with invalid JSON." in page
    assert "Retry from Analyse" in page
    assert "What was finished is kept." in page
    assert "step-failed" in page
    assert member.post(f"{path}/retry").headers["Location"] == path
    assert "Cancel" in member.get(path).text
    member.post(f"{path}/cancel")
    page = member.get(path).text
    assert "Cancelled by mia" in page
    assert "Retry" in page
    member.post(f"{path}/cancel")
    assert "it cannot be cancelled" in member.get(path).text


def test_a_job_that_waits_for_redis_says_so(program, member, valkey):
    document = uploaded(program)
    valkey.stop()
    page = member.get(f"/jobs/{document['job_id']}").text
    assert "Redis unreachable: new jobs are accepted and start when it is back." in page


def test_the_queue_page_tells_and_repairs(program, admin, service):
    failed = [uploaded(program, f"bad-{number}.txt") for number in range(3)]
    for one in failed:
        lease = claimed(service, one["job_id"])
        service.settle(lease, Failed("x", "Unreadable.", permanent=True, traceback="Traceback: here"))
    page = admin.get("/admin/queue?status=failed").text
    assert "No workers." in page
    assert "python worker.py" in page
    assert page.count("Unreadable.") >= 3
    assert "Traceback: here" in page
    assert "Retry 3 jobs?" in admin.get("/admin/queue/retry-failed").text
    answer = admin.post("/admin/bulk", data={"kind": "retry", "filter": '{"status": "failed"}'})
    assert "3 put back into the queue" in admin.get(answer.headers["Location"]).text
    one = failed[0]["job_id"]
    back = admin.post(f"/jobs/{one}/cancel", data={"from": "queue", "status": "pending"})
    assert back.headers["Location"] == "/admin/queue?status=pending"
    assert "Clear 1 ended job?" in admin.get("/admin/queue/clear?days=0").text
    answer = admin.post("/admin/queue/clear", data={"days": "0"})
    assert "1 ended job was cleared." in admin.get(answer.headers["Location"]).text
    assert admin.get(f"/jobs/{one}").status_code == 404
    document = admin.get(f"/documents/{failed[0]['id']}")
    assert document.status_code == 200
    assert "Its jobs were cleared" in document.text


@pytest.mark.parametrize("days", ["-1", "nan", "x", "1e9"])
def test_a_wrong_age_clears_nothing(admin, days):
    assert admin.post("/admin/queue/clear", data={"days": days}).status_code == 400


def test_the_queue_page_warns_when_redis_is_away(admin, valkey):
    valkey.stop()
    page = admin.get("/admin/queue").text
    assert "Redis unreachable:" in page


def test_a_key_is_shown_once(member):
    page = member.post("/account/keys", data={"name": "my script"}).text
    (key,) = set(re.findall(r"dq_[0-9a-f]+_[\w-]{40,}", page))
    assert member.get("/api/v1/documents", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    page = member.get("/account").text
    assert "my script" in page
    assert key not in page
    assert member.post("/account/keys", data={"name": " "}).status_code == 422


def test_an_error_of_a_page_is_a_page(member, app, monkeypatch):
    def break_down():
        raise RuntimeError("secret detail")

    monkeypatch.setitem(app.view_functions, "pages.account", break_down)
    for path, status in (("/nothing", 404), ("/admin/queue", 403), ("/account", 500)):
        answer = member.get(path)
        assert answer.status_code == status
        assert answer.content_type.startswith("text/html")
        assert answer.headers["X-Request-Id"] in answer.text
        assert "secret" not in answer.text


def test_states_are_told_by_words_and_every_field_has_a_label(program, member):
    uploaded(program)
    for path in ("/", "/documents", "/account"):
        page = member.get(path).text
        assert '<html lang="en">' in page
        assert "Skip to content" in page
        assert page.count("<h1") == 1
        for field in re.findall(r"<(?:input|select)[^>]*>", page):
            if 'type="hidden"' in field or " hidden" in field:
                continue
            name = re.search(r'id="([^"]+)"', field)
            by_id = name is not None and f'for="{name[1]}"' in page
            around = re.search(r"<label[^>]*>(?:(?!</label>).)*" + re.escape(field), page, re.DOTALL)
            assert by_id or around, field
