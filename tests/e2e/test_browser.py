"""What a person sees: a real Chromium on the real processes, from the one command to the text of a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from jobs import accounts
from jobs.bulk import BulkOperations
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from tests.e2e.conftest import PHONE
from tests.support.client import Client, eventually
from tests.support.corpus import CORPUS, needs_corpus
from tests.support.items import add_document
from tests.support.openai_server import OpenAIServer

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]

TEN = {
    "word_sample.docx": "Swimming in the lake",
    "multi-column-2p.pdf": "Open-domain question answering",
    "powerpoint_sample.pptx": "Test Table Slide",
    "2023-half-year-analyses-by-segment.xlsx": "Analyses by segment",
    "test_wikipedia.html": "Redmond, Washington",
    "fake-email-utf-16.eml": "Test Email",
    "csv-pipe.csv": "Rasmussen Group",
    "book-war-and-peace-1p.txt": "Genoa and Lucca",
    "pdf_scanned_meeting_minutes.pdf": "MEETING MINUTES",
    "testRTF.rtf": "indexation Word",
}
ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def sign_in(page, service, engine):
    page.goto(f"{service.url}/sign-in/link/{accounts.make_sign_in_link(engine)}")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Upload")).to_be_visible()


def launch(start_service, data_dir):
    """Start the launcher with nothing set but where its data goes, and return it with its printed link."""
    service = start_service({"DATA_DIR": str(data_dir), "WORKERS": "2"}, ("launcher",))
    found = eventually(
        lambda: re.search(r"http://\S+/sign-in/link/\S+", service.output("launcher")), 30, "the printed link"
    )
    return service, found.group(0)


@needs_corpus
def test_a_newcomer_uploads_ten_kinds_of_files_and_reads_them(
    start_service, data_dir, open_page, screenshots
):
    service, link = launch(start_service, data_dir)
    page = open_page()
    page.goto(link)
    page.screenshot(path=screenshots / "sign-in.png")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Drop documents here")).to_be_visible()
    page.screenshot(path=screenshots / "upload-empty.png")

    page.set_input_files("input[type=file]", [CORPUS / "typical" / name for name in TEN])
    for name in TEN:
        expect(page.get_by_role("row").filter(has_text=name)).to_be_visible(timeout=20_000)
    # Nothing is reloaded from here on: the rows change by themselves.
    page.evaluate("window.wasNotReloaded = true")
    for name in TEN:
        row = page.get_by_role("row").filter(has_text=name)
        expect(row.get_by_text("Completed")).to_be_visible(timeout=90_000)
    assert page.evaluate("window.wasNotReloaded") is True
    page.screenshot(path=screenshots / "upload.png", full_page=True)

    for name, phrase in TEN.items():
        page.goto(f"{service.url}/documents")
        page.get_by_role("row").filter(has_text=name).get_by_role("link").first.click()
        page.get_by_role("link", name="Text", exact=True).last.click()
        expect(page.locator("main")).to_contain_text(phrase)
    look_at_every_page(page, open_page, service, screenshots)

    # The link was for one use.
    stranger = open_page()
    stranger.goto(link)
    stranger.get_by_role("button", name="Sign in").click()
    assert "/sign-in" in stranger.url


def look_at_every_page(page, open_page, service, screenshots):
    page.goto(f"{service.url}/documents")
    document = page.get_by_role("row").filter(has_text="multi-column").get_by_role("link").first
    paths = {"documents": "/documents", "document": document.get_attribute("href")}
    page.goto(service.url + paths["document"])
    paths["job"] = page.locator("a[href^='/jobs/']").first.get_attribute("href")
    paths |= {"upload": "/", "queue": "/admin/queue", "account": "/account", "rq": "/rq/"}
    phone = open_page(viewport=PHONE, cookies=page.context.cookies())
    for name, path in paths.items():
        for view, size in ((page, "desktop"), (phone, "phone")):
            answer = view.goto(service.url + path)
            assert answer.status == 200, path
            view.wait_for_load_state("networkidle") if name == "rq" else None
            view.screenshot(path=screenshots / f"{name}-{size}.png", full_page=True)
            if name != "rq":
                width = view.evaluate("document.documentElement.scrollWidth")
                assert width <= view.viewport_size["width"], f"{path} is wider than the {size}"


@needs_corpus
def test_the_same_by_curl(start_service, data_dir):
    service, _ = launch(start_service, data_dir)
    environ = {"DATA_DIR": str(data_dir), "PATH": "/usr/bin:/bin"}
    made = subprocess.run(
        [sys.executable, "-c", "from jobs.cli import main; main()", "key", "create", "x"],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    key = made.stdout.strip()

    def curl(*arguments):
        answer = subprocess.run(
            ["curl", "-sS", "--fail-with-body", "-H", f"Authorization: Bearer {key}", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    files = [argument for name in TEN for argument in ("-F", f"file=@{CORPUS / 'typical' / name}")]
    accepted = json.loads(curl(*files, f"{service.url}/api/v1/documents"))["documents"]
    assert {document["filename"] for document in accepted} == set(TEN)
    assert {document["status"] for document in accepted} == {"pending"}
    for document in accepted:
        job = service.url + document["links"]["job"]
        eventually(lambda job=job: json.loads(curl(job))["status"] == "completed", 60, document["filename"])
        assert TEN[document["filename"]] in curl(service.url + document["links"]["text"])


@ONLY_SQLITE
def test_upload_and_status_work_without_javascript(start_service, environ, engine, open_page, tmp_path):
    service = start_service(environ)
    page = open_page(javascript=False)
    sign_in(page, service, engine)
    note = tmp_path / "note.txt"
    note.write_text("The meeting is on Monday at nine. Bring the contract.")
    page.set_input_files("input[type=file]", note)
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("main")).to_contain_text("note.txt")
    item = Queries(engine).items().rows[0].item
    page.goto(f"{service.url}/jobs/{item.id}")

    def ended():
        page.reload()
        return "Completed" in page.locator("main").inner_text()

    eventually(ended, 40, "the job page says Completed")
    page.get_by_role("link", name="Read the result").click()
    page.get_by_role("link", name="Text", exact=True).last.click()
    expect(page.locator("main")).to_contain_text("Bring the contract.")


@ONLY_SQLITE
@pytest.mark.parametrize("working", ["websocket", "sse", "polling"])
def test_the_job_page_follows_live(start_service, environ, engine, open_page, working):
    with OpenAIServer(["slow:2"]) as model:
        environ.update(LLM_BASE_URL=model.base_url, LLM_API_KEY="k", LLM_MODEL="m")
        service = start_service(environ)
        client = Client(service, engine)
        page = open_page()
        if working != "websocket":
            page.route_web_socket(re.compile("/events/ws"), lambda socket: socket.close())
        if working == "polling":
            page.route(re.compile("/events/stream"), lambda route: route.abort())
        sign_in(page, service, engine)
        (accepted,) = client.upload(("note.txt", b"The meeting is on Monday at nine."))
        page.goto(f"{service.url}/jobs/{accepted['job_id']}")
        page.evaluate("window.wasNotReloaded = true")
        if working != "polling":
            # Polling looks every ten seconds and may miss it.
            expect(page.locator("h1")).to_contain_text("Running", timeout=30_000)
        expect(page.locator("h1")).to_contain_text("Completed", timeout=40_000)
        expect(page.get_by_role("link", name="Read the result")).to_be_visible()
        timeline = page.locator(".timeline li")
        expect(timeline.first).to_contain_text("Completed")
        assert timeline.count() == len(set(timeline.all_inner_texts())), "an event was shown twice"
        assert page.evaluate("window.wasNotReloaded") is True


@ONLY_SQLITE
def test_an_operator_sees_why_it_failed_and_repairs_it_by_one_click(
    start_service, environ, engine, open_page
):
    with OpenAIServer(["401", "ok"]) as model:
        environ.update(LLM_BASE_URL=model.base_url, LLM_API_KEY="k", LLM_MODEL="m")
        service = start_service(environ)
        client = Client(service, engine)
        (accepted,) = client.upload(("note.txt", b"The meeting is on Monday at nine."))
        client.wait([accepted["job_id"]], 40)
        page = open_page()
        sign_in(page, service, engine)
        page.goto(f"{service.url}/admin/queue?status=failed")
        row = page.get_by_role("row").filter(has_text="note.txt")
        expect(row).to_contain_text("LLM_API_KEY")
        row.get_by_role("button", name="Retry").click()
        job = eventually(
            lambda: (found := client.job(accepted["job_id"]))["status"] == "completed" and found,
            40,
            "the repair",
        )
        assert (job["attempt"], job["failures"]) == (2, 0)
        page.goto(f"{service.url}/admin/queue")
        expect(page.get_by_role("row").filter(has_text="note.txt")).to_contain_text("Completed")


@ONLY_SQLITE
def test_an_operator_pauses_a_queue_and_retries_many_at_once(start_service, environ, engine, open_page):
    with OpenAIServer(["401", "401", "401", "ok"]) as model:
        environ.update(LLM_BASE_URL=model.base_url, LLM_API_KEY="k", LLM_MODEL="m")
        service = start_service(environ)
        client = Client(service, engine)
        accepted = client.upload(
            *((f"note-{number}.txt", b"The meeting is on day %d." % number) for number in range(3))
        )
        jobs = [one["job_id"] for one in accepted]
        client.wait(jobs, 60)
        page = open_page()
        sign_in(page, service, engine)
        page.goto(f"{service.url}/admin/queue")
        page.get_by_text("Pause…").click()
        page.get_by_label("Reason").fill("the key is being replaced")
        page.get_by_role("button", name="Pause documents").click()
        expect(page.locator(".queue-card")).to_contain_text("Paused by admin: the key is being replaced")

        page.goto(f"{service.url}/admin/queue?status=failed")
        retry = page.get_by_role("button", name="Retry…")
        expect(retry).to_be_disabled()
        page.get_by_label("Choose note-1.txt").check()
        expect(page.locator("[data-selected]")).to_have_text("1 chosen:")
        page.get_by_label("Select all 3 that match").check()
        retry.click()
        expect(page.get_by_role("heading", name="Retry 3 jobs?")).to_be_visible()
        page.get_by_label("Reason").fill("the key was replaced")
        page.get_by_role("button", name="Retry 3").click()
        expect(page.get_by_role("heading", name="Retrying jobs: done")).to_be_visible(timeout=20_000)
        expect(page.locator("main")).to_contain_text("3 of 3, 100 %")
        expect(page.locator("main")).to_contain_text("the key was replaced")

        page.goto(f"{service.url}/jobs/{jobs[0]}")
        expect(page.locator(".why")).to_contain_text("paused by admin")
        expect(page.locator(".timeline")).to_contain_text("Retried by admin: the key was replaced")
        page.get_by_text("Priority 0").click()
        page.get_by_label("Priority", exact=True).fill("9")
        page.get_by_role("button", name="Change priority").click()
        expect(page.locator(".timeline")).to_contain_text("Priority changed from 0 to 9 by admin")
        assert {client.job(job)["status"] for job in jobs} == {"pending"}, "nothing starts while it is paused"

        page.goto(f"{service.url}/admin/queue")
        page.get_by_role("button", name="Resume documents").click()
        expect(page.locator(".queue-card")).not_to_contain_text("Paused by")
        ended = client.wait(jobs, 60)
        assert {job["status"] for job in ended.values()} == {"completed"}


@ONLY_SQLITE
def test_a_long_bulk_operation_is_followed_while_it_runs(start_service, environ, engine, settings, open_page):
    queue = DocumentQueueService(engine, settings)
    for number in range(12):
        item = queue.enqueue(add_document(engine, settings, filename=f"note-{number}.txt"))
        queue.cancel(item.id, "x")
    bulk = BulkOperations(engine, settings, queue)
    operation = bulk.start("delete", {"status": "cancelled"}, reason="old", by="admin")
    # Without a scheduler nobody works it off but this test.
    service = start_service(environ, ("web",))
    page, plain = open_page(), open_page(javascript=False)
    sign_in(page, service, engine)
    page.goto(f"{service.url}/admin/bulk/{operation.id}")
    plain.context.add_cookies(page.context.cookies())
    plain.goto(f"{service.url}/admin/bulk/{operation.id}")
    page.evaluate("window.wasNotReloaded = true")
    expect(page.locator("main")).to_contain_text("0 of 12, 0 %")
    bulk.advance(operation.id, 6)
    expect(page.locator("main")).to_contain_text("6 of 12, 50 %")
    expect(plain.locator("main")).to_contain_text("6 of 12, 50 %", timeout=15_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("heading", name="Deleting jobs: stopped")).to_be_visible()
    expect(plain.get_by_role("heading", name="Deleting jobs: stopped")).to_be_visible(timeout=15_000)
    assert bulk.work() == 0
