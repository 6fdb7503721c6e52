"""Options of the reading and passwords, on pages without JavaScript and by the API."""

from __future__ import annotations

import json

import pytest

from jobs.runner import Runner
from tests.support.corpus import CORPUS
from tests.support.web import csrf_token, upload, uploaded

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
    assert "geheim" not in job.text
    assert "sealed" not in job.text


def test_a_locked_document_asks_for_its_password_and_opens_with_it(engine, settings, program, member):
    document = uploaded(program, "locked.docx", LOCKED.read_bytes())
    runner = Runner(engine, settings, "w")
    assert runner.run(document["job_id"]).error_code == "encrypted"
    for password, ending in (("guess", "failed"), ("tika", "completed")):
        page = member.get(f"/jobs/{document['job_id']}")
        assert "password" in page.text
        assert 'type="password"' in page.text
        answer = member.post(
            f"/documents/{document['id']}/reprocess",
            data={"operation": "process", "reuse": "1", "password": password},
        )
        item_id = answer.headers["Location"].rsplit("/", 1)[-1]
        assert runner.run(item_id).status == ending
        document["job_id"] = item_id
    assert 'type="password"' not in member.get(f"/jobs/{item_id}").text
    assert program.get(f"/api/v1/documents/{document['id']}/text").text.strip()


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
