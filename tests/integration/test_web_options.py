"""Options of the reading and passwords, on pages without JavaScript and by the API."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobs.extraction import Extraction, Ocr, ReadOptions
from jobs.extraction.result import FailedPage
from jobs.ids import new_id
from jobs.model import Artifact, Completed, Failed
from jobs.read_options import unpack_options
from jobs.runner import Runner
from tests.support.corpus import CORPUS
from tests.support.files import locked_pdf
from tests.support.web import claimed, csrf_token, upload, uploaded

LOCKED = CORPUS / "nasty" / "testWORD_protected_passtika.docx"


def test_the_form_offers_the_ways_of_reading_and_hands_them_on(member, service):
    page = member.get("/").text
    for name in ("preset", "ocr", "languages", "pages", "tables", "password"):
        assert f'name="{name}"' in page
    answer = upload(
        member.client,
        ("a.pdf", b"%PDF-1.4"),
        path="/documents",
        csrf_token=csrf_token(member.client),
        preset="scan",
        ocr="",
        languages="de",
        pages="2-3",
    )
    item = service.read_item(answer.headers["Location"].rsplit("/", 1)[-1])
    assert json.loads(item.options) == {
        "languages": "de", "ocr": "always", "pages": "2-3", "preset": "scan",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("preset", "best", "standard, scan, fast"),
        ("ocr", "perhaps", "auto, always, never"),
        ("pages", "0-3", "as in 1-5,8"),
        ("languages", "german", "as in de,en"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_right(program, field, value, sentence):
    answer = upload(program, ("a.txt", b"x"), **{field: value})
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert sentence in answer.json["detail"]


def test_a_job_tells_its_options_and_of_a_password_only_that_there_is_one(program):
    answer = upload(program, ("a.txt", b"x"), tables="false", password="geheim")
    job = program.get(answer.headers["Location"])
    assert job.json["options"] == {"tables": False, "password": True}
    for secret in ("geheim", "sealed", "hash"):
        assert secret not in job.text


def test_the_page_of_a_job_shows_its_options(program, member, service):
    fields = {"preset": "scan", "languages": "de,en", "pages": "2-3", "tables": "false", "password": "geheim"}
    (sent,) = upload(program, ("a.txt", b"x"), **fields).json["documents"]
    expected = [
        ("Preset", "scan"),
        ("OCR", "on every page"),
        ("Languages", "de, en"),
        ("Pages", "2-3"),
        ("Tables", "no"),
        ("Password", "given"),
    ]
    for _ in range(2):
        page = member.get(f"/jobs/{sent['job_id']}").text
        assert '<h2 id="options">Options</h2>' in page
        assert shown_options(page) == expected
        packed = json.loads(service.read_item(sent["job_id"]).options)
        for secret in ("geheim", "sealed", packed["password_hash"]):
            assert secret not in page
        # And when the password is gone.
        if "sealed" in packed:
            service.settle(claimed(service, sent["job_id"]), Completed())
    usual = uploaded(program)
    assert shown_options(member.get(f"/jobs/{usual['job_id']}").text) == [
        ("Preset", "standard"),
        ("OCR", "where a page has no text"),
        ("Languages", "default"),
        ("Pages", "all"),
        ("Tables", "yes"),
    ]


def shown_options(page):
    (options,) = re.findall(r'id="options">.*?</dl>', page, re.DOTALL)
    return re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", options)


@pytest.mark.parametrize("by_api", [False, True], ids=["by the page", "by the API"])
def test_a_password_that_is_given_later_keeps_all_that_was_asked_for(
    program, member, service, settings, by_api
):
    fields = {"preset": "fast", "languages": "de", "pages": "2-3", "tables": "true"}
    asked = {"operation": "extract", "priority": "7", **fields}
    (sent,) = upload(program, ("a.txt", b"x"), **asked).json["documents"]
    first = service.read_item(sent["job_id"])
    if by_api:
        path = f"/api/v1/jobs/{first.id}/password"
        assert program.post(path, json={"password": "x"}).json["code"] == "no_password_needed"
    locked(service, first.id)
    if by_api:
        assert program.post(path, json={}).status_code == 400
        answer = program.post(path, json={"password": "geheim"})
        assert (answer.status_code, answer.json["options"]["password"]) == (202, True)
        assert program.post(path, json={"password": "geheim"}).json["code"] == "already_queued"
    else:
        form = re.search(
            r'<form method="post" action="(/jobs/[^"]+/password)"', member.get(f"/jobs/{first.id}").text
        )
        answer = member.post(form[1], data={"password": "geheim"})
        assert answer.status_code == 303
    second = service.read_item(answer.headers["Location"].rsplit("/", 1)[-1])
    assert second.id != first.id
    assert (second.operation, second.priority, second.queue) == ("extract", 7, first.queue)
    before = unpack_options(first.options, settings)
    assert unpack_options(second.options, settings) == replace(before, password="geheim")


def locked(service, job_id):
    failure = Failed("encrypted", "This file is protected with a password.", permanent=True)
    service.settle(claimed(service, job_id), failure)


def test_nobody_else_gives_the_password(program, stranger, service):
    sent = uploaded(program)
    locked(service, sent["job_id"])
    assert stranger.post(f"/jobs/{sent['job_id']}/password", data={"password": "x"}).status_code == 404
    path = f"/api/v1/jobs/{sent['job_id']}/password"
    assert stranger.post(path, json={"password": "x"}).status_code == 404


@pytest.mark.parametrize("by_api", [False, True], ids=["by the page", "by the API"])
def test_failed_pages_are_read_again_as_the_others_were(program, member, service, settings, by_api):
    fields = {"languages": "de", "ocr": "always", "tables": "false", "password": "geheim"}
    (sent,) = upload(program, ("a.txt", b"x"), **fields).json["documents"]
    lease = claimed(service, sent["job_id"])
    failed_pages = [FailedPage(4, "limit_time")]
    body = Extraction(
        "a", "a", None, 9, None, {}, "text/plain", "e", "1", failed_pages=failed_pages
    ).to_json()
    artifact = Artifact(new_id(), "extract", "f" * 64, "e", "1", body, {}, datetime.now(UTC))
    service.checkpoint(lease, "extract", artifact, reused=False)
    service.settle(lease, Completed())
    if by_api:
        answer = program.post(f"/api/v1/documents/{sent['id']}/retry-pages", json={"priority": 5})
    else:
        answer = member.post(f"/documents/{sent['id']}/retry-pages")
    first = service.read_item(answer.headers["Location"].rsplit("/", 1)[-1])
    assert first.operation == "retry_pages"
    without = ReadOptions(("de",), Ocr.ALWAYS, tables=False)
    assert unpack_options(first.options, settings) == without
    # The password went with the first job; the page of the second asks for it.
    locked(service, first.id)
    assert 'type="password"' in member.get(f"/jobs/{first.id}").text
    answer = member.post(f"/jobs/{first.id}/password", data={"password": "geheim"})
    second = service.read_item(answer.headers["Location"].rsplit("/", 1)[-1])
    assert second.operation == "retry_pages"
    assert unpack_options(second.options, settings) == replace(without, password="geheim")


def test_pages_of_a_protected_document_are_drawn_when_the_password_is_given(
    program, member, engine, settings, service
):
    content = locked_pdf([f"Page {number}" for number in range(1, 23)], "geheim")
    (sent,) = upload(program, ("a.pdf", content), operation="extract", password="geheim").json["documents"]
    runner = Runner(engine, settings, "w")
    assert runner.run(sent["job_id"]).status == "completed"
    image = f"/api/v1/documents/{sent['id']}/pages/22/image"
    first = program.get(image).json["job_id"]
    assert runner.run(first).error_code == "encrypted"
    refused = program.get(image)
    assert (refused.status_code, refused.json["code"]) == (404, "encrypted")
    assert refused.json["links"]["password"] == f"/api/v1/jobs/{first}/password"
    assert "protected with a password" in refused.json["detail"]
    page = member.get(f"/documents/{sent['id']}?page=22").text
    assert f'action="/jobs/{first}/password"' in page
    answer = member.post(f"/jobs/{first}/password", data={"password": "geheim"})
    assert answer.headers["Location"] == f"/documents/{sent['id']}?page=21"
    waiting = program.get(image)
    assert waiting.json["code"] == "not_ready"
    assert runner.run(waiting.json["job_id"]).status == "completed"
    assert program.get(image).status_code == 200


@pytest.mark.parametrize("operation", ["images", "retry_pages"])
def test_what_a_document_s_own_actions_do_cannot_be_asked_for(program, member, docqueue, tmp_path, operation):
    sent = uploaded(program)
    for answer in (
        upload(program, ("a.txt", b"x"), operation=operation),
        program.post(f"/api/v1/documents/{sent['id']}/reprocess", json={"operation": operation}),
    ):
        assert (answer.status_code, answer.json["code"]) == (400, "unsupported_operation")
        assert f"'{operation}'" in answer.json["detail"]
        assert "process, extract, analyze" in answer.json["detail"]
    (tmp_path / "a.txt").write_bytes(b"x")
    refused = docqueue("upload", str(tmp_path / "a.txt"), "--operation", operation, check=False)
    assert refused.returncode != 0
    assert "'process', 'extract', 'analyze'" in refused.stderr


def test_the_presets_are_listed_with_their_options_and_the_default(program, app, settings):
    assert app.test_client().get("/api/v1/presets").status_code == 401
    standard = {"ocr": "auto", "languages": [], "pages": None, "tables": True}
    assert program.get("/api/v1/presets").json == {
        "default": "standard",
        "presets": [
            {"name": "standard", "options": standard},
            {"name": "scan", "options": {**standard, "ocr": "always"}},
            {"name": "fast", "options": {**standard, "ocr": "never", "tables": False}},
        ],
    }


def test_a_locked_document_asks_for_its_password_and_opens_with_it(engine, settings, program, member):
    document = uploaded(program, "locked.docx", LOCKED.read_bytes())
    runner = Runner(engine, settings, "w")
    assert runner.run(document["job_id"]).error_code == "encrypted"
    for password, ending in (("guess", "failed"), ("tika", "completed")):
        page = member.get(f"/jobs/{document['job_id']}")
        assert "password" in page.text
        assert 'type="password"' in page.text
        answer = member.post(f"/jobs/{document['job_id']}/password", data={"password": password})
        item_id = answer.headers["Location"].rsplit("/", 1)[-1]
        assert runner.run(item_id).status == ending
        document["job_id"] = item_id
    assert 'type="password"' not in member.get(f"/jobs/{item_id}").text
    assert program.get(f"/api/v1/documents/{document['id']}/text").text.strip()
