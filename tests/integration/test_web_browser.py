"""The pages' scripts in a real browser: uploads, and the three ways of following a job."""

from __future__ import annotations

import shutil
import socket
import threading

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from jobs.model import Completed, Failed
from jobs.queries import Queries
from jobs.runner import Runner
from tests.integration.test_extraction_documents import pdf
from tests.support.web import claimed, extracted, serving, uploaded
from tests.support.web import one_database as database_url

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
__all__ = ["database_url"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(90),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

expect.set_options(timeout=15_000)

COLLECT = """
window.seen = [];
addEventListener("DOMContentLoaded", () => {
  document.getElementById("job")?.addEventListener("job-event", (event) => window.seen.push(event.detail));
});
"""


@pytest.fixture
def host(app):
    with serving(app) as address:
        yield address


@pytest.fixture
def page(host, admin):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        context = browser.new_context(viewport={"width": 1000, "height": 800})
        context.add_cookies([{"name": "docqueue", "value": admin.cookie, "url": f"http://{host}"}])
        made = context.new_page()
        made.problems = []
        made.on("pageerror", lambda error: made.problems.append(str(error)))
        made.set_default_timeout(15_000)
        yield made
        browser.close()


def block(page: Page, *carriers: str) -> None:
    if "socket" in carriers:
        page.route_web_socket("**/events/ws*", lambda socket: socket.close())
    if "stream" in carriers:
        page.route("**/events/stream*", lambda route: route.abort())


@pytest.mark.parametrize("blocked", [(), ("socket",), ("socket", "stream")], ids=["socket", "stream", "poll"])
def test_a_job_is_followed_without_gap_or_repeat(page, host, program, service, blocked):
    job_id = uploaded(program)["job_id"]
    block(page, *blocked)
    page.add_init_script(COLLECT)
    page.goto(f"http://{host}/jobs/{job_id}")
    expected = "Live updates unavailable" if len(blocked) == 2 else "Live"
    expect(page.locator("#live")).to_contain_text(expected)
    lease = extracted(service, job_id)
    expect(page.locator("h1 .pill")).to_have_text("Running")
    service.renew(lease, stage="analyze", progress=0.5)
    expect(page.locator("[data-region=rail] progress")).to_have_js_property("value", 0.5)
    service.renew(lease, progress=0.6, pages=(12, 1048))
    expect(page.locator("[data-region=rail] [data-pages]")).to_have_text("page 12 of 1,048")
    service.settle(lease, Completed())
    expect(page.locator("h1 .pill")).to_have_text("Completed")
    expect(page.locator("#live")).to_contain_text("Up to date")
    expect(page.locator(".timeline li").first).to_contain_text("Completed")
    kinds = page.evaluate("window.seen.map((event) => event.kind)")
    assert kinds == ["started", "stage_completed", "progress", "progress", "completed"]
    assert page.problems == []


def test_a_broken_connection_resumes_where_it_was(page, host, program, service):
    job_id = uploaded(program)["job_id"]
    sockets = []

    def through(socket):
        sockets.append((socket, socket.connect_to_server()))

    page.route_web_socket("**/events/ws*", through)
    page.add_init_script(COLLECT)
    page.goto(f"http://{host}/jobs/{job_id}")
    expect(page.locator("#live")).to_contain_text("Live")
    lease = claimed(service, job_id)
    expect(page.locator("h1 .pill")).to_have_text("Running")
    sockets[0][1].close()
    sockets[0][0].close()
    expect(page.locator("#live")).to_contain_text("Reconnecting")
    service.renew(lease, stage="extract", progress=0.1)
    expect(page.locator("#live")).to_have_text("Live")
    service.settle(lease, Failed("x", "It broke.", permanent=True))
    expect(page.locator("h1 .pill")).to_have_text("Failed")
    # Playwright's own waiting evaluates a string, which the page's policy rightly forbids.
    for _ in range(100):
        if page.evaluate("window.seen.length") >= 3:
            break
        page.wait_for_timeout(50)
    assert page.evaluate("window.seen.map((event) => event.kind)") == ["started", "progress", "failed"]
    # At least: what stands between them may pass the server's closing on before its last message.
    assert len(sockets) >= 2


def test_dropped_files_are_sent_and_their_rows_follow(page, host, service, tmp_path):
    page.goto(f"http://{host}/")
    good, empty = tmp_path / "good.txt", tmp_path / "empty.txt"
    good.write_text("Some text.")
    empty.write_text("")
    page.set_input_files("#file", [str(good), str(empty)])
    expect(page.locator("#upload-summary")).to_contain_text("1 accepted · 1 refused (The file is empty.)")
    row = page.locator("[data-rows] tr")
    expect(row).to_contain_text("Waiting")
    lease = claimed(service, row.get_attribute("data-job"))
    expect(row).to_contain_text("Running")
    service.settle(lease, Completed())
    expect(row).to_contain_text("Completed")
    assert page.problems == []


def test_a_file_whose_answer_is_lost_is_sent_again_and_stored_once(
    app, page, host, engine, tmp_path, monkeypatch
):
    answers = []

    def lose_the_first_answer(environ, start_response, original=app.wsgi_app):
        if environ["REQUEST_METHOD"] != "POST":
            return original(environ, start_response)

        def start(status, headers, exc_info=None):
            answers.append(status[:3])
            if len(answers) == 1:
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
            return start_response(status, headers, exc_info)

        return original(environ, start)

    monkeypatch.setattr(app, "wsgi_app", lose_the_first_answer)
    page.goto(f"http://{host}/")
    path = tmp_path / "good.txt"
    path.write_text("Some text.")
    page.set_input_files("#file", str(path))
    expect(page.locator("#sending")).to_contain_text("Sending it again")
    expect(page.locator("#upload-summary")).to_have_text("1 accepted")
    assert answers == ["202", "202"]
    expect(page.locator("[data-rows] tr")).to_have_count(1)
    assert len(Queries(engine).documents(owner=None, limit=5).rows) == 1
    assert page.problems == []


def test_a_file_that_was_sent_before_says_so_in_its_row(page, host, tmp_path):
    page.goto(f"http://{host}/")
    path = tmp_path / "good.txt"
    path.write_text("Some text.")
    page.set_input_files("#file", str(path))
    expect(page.locator("#upload-summary")).to_have_text("1 accepted")
    page.click("text=Options")
    page.select_option("select[name=dedupe]", "reuse")
    page.set_input_files("#file", str(path))
    expect(page.locator("#sending li")).to_contain_text("Same file, sent")
    expect(page.locator("#sending li")).to_contain_text("Its result is used.")
    page.select_option("select[name=dedupe]", "reject")
    page.set_input_files("#file", str(path))
    expect(page.locator("#upload-summary")).to_contain_text("You have sent this file before.")
    page.locator("#sending a").click()
    page.wait_for_url("**/documents/*")
    assert page.problems == []


def test_a_list_announces_what_is_new_and_keeps_its_place(page, host, program, service):
    first = uploaded(program, "first.txt")
    page.goto(f"http://{host}/documents")
    expect(page.locator("#live")).to_contain_text("Live")
    uploaded(program, "second.txt")
    expect(page.locator("#news")).to_contain_text("1 new.")
    assert page.locator("[data-rows] tr").count() == 1
    service.settle(claimed(service, first["job_id"]), Completed())
    expect(page.locator("[data-rows] tr")).to_contain_text("Completed")
    page.locator("#news a").click()
    expect(page.locator("[data-rows] tr")).to_have_count(2)


def test_without_scripts_everything_is_still_there(host, admin, program, service):
    document = uploaded(program)
    worker = threading.Timer(0.5, lambda: service.settle(claimed(service, document["job_id"]), Completed()))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(java_script_enabled=False)
        context.add_cookies([{"name": "docqueue", "value": admin.cookie, "url": f"http://{host}"}])
        page = context.new_page()
        page.goto(f"http://{host}/jobs/{document['job_id']}")
        worker.start()
        expect(page.locator("h1 .pill")).to_have_text("Completed", timeout=15_000)
        worker.join()
        page.goto(f"http://{host}/")
        page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"x"})
        page.click("button:has-text('Upload')")
        page.wait_for_url("**/jobs/*")
        browser.close()


def test_the_dashboard_runs_nothing_that_stands_in_redis(app, page, host):
    delivery = app.extensions["docqueue"].delivery
    evil = "<img src=x onerror='window.pwned=1'>"
    job = delivery.queue.enqueue(
        "jobs.tasks.process_document", args=(evil,), job_id="evil-1", description=evil, meta={"n": evil}
    )
    delivery.connection.hset(job.key, "exc_info", evil)
    for path in ("/rq/0/view/job/evil-1", "/rq/0/view/jobs/documents/queued/8/asc/1", "/rq/"):
        page.goto(f"http://{host}{path}")
        expect(page.locator("body")).to_contain_text("documents" if path == "/rq/" else "evil-1")
        page.wait_for_timeout(700)
        assert page.evaluate("window.pwned") is None
        assert page.locator("img[src=x]").count() == 0
    assert page.problems == []


def test_pictures_of_pages_fill_in_without_a_reload(host, page, admin, engine, settings):
    document = uploaded(admin, "two.pdf", pdf(["First", "Second"]))
    runner = Runner(engine, settings, "w-1")
    runner.run(document["job_id"])
    page.goto(f"http://{host}/documents/{document['id']}?tab=text&page=2")
    expect(page.locator(".page-blank")).to_contain_text("wait to be drawn")
    page.evaluate("window.stayed = true")
    job = page.locator(".page-blank a").get_attribute("href").rpartition("/")[2]
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    runner.run(job)
    expect(page.locator(".page-picture img")).to_be_visible()
    expect(page.locator(".thumbs img")).to_have_count(2)
    assert page.evaluate("window.stayed")
    assert (
        page.locator(".page-picture img").evaluate("image => image.decode().then(() => image.naturalWidth)")
        == 1200
    )
    page.get_by_role("link", name="Page before").click()
    expect(page.locator("#shown-text")).to_have_text("First")
    assert page.problems == []
