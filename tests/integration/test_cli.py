"""The docqueue command, run as people run it: in a process of its own."""

from __future__ import annotations

import json

import pytest

from jobs import accounts
from jobs.queries import Queries
from tests.support.items import add_document


@pytest.fixture
def docqueue(started_docqueue):
    return started_docqueue


def test_key_create_prints_a_key_that_works_and_nothing_else(docqueue, engine):
    printed = docqueue("key", "create", "crm").stdout
    assert printed.count("\n") == 1
    assert accounts.api_key_user(engine, printed.strip()).is_admin


def test_upload_then_process_queue_works_a_document_off_without_redis(docqueue, engine, valkey, tmp_path):
    valkey.stop()
    path = tmp_path / "note.txt"
    path.write_text("The meeting is on Monday. Bring the contract.")
    (uploaded,) = json.loads(docqueue("upload", str(path), "--json").stdout)["documents"]
    assert uploaded["status"] == "pending"
    statistics = json.loads(docqueue("process-queue", "--limit", "5").stdout)
    assert statistics == {
        "processed": 1, "completed": 1, "failed": 0, "retried": 0, "cancelled": 0, "rescued": 0,
    }  # fmt: skip
    assert "Bring the contract" in Queries(engine).artifact(uploaded["id"], "extract").body["text"]
    assert json.loads(docqueue("stats").stdout)["completed"] == 1


def test_user_create_by_link_and_by_password(docqueue, engine):
    link = docqueue("user", "create", "anna").stdout.strip()
    assert accounts.redeem_sign_in_link(engine, link.rsplit("/", 1)[1]).name == "anna"
    docqueue("user", "create", "ben", "--admin", "--password-stdin", stdin="correct horse battery\n")
    assert accounts.check_password(engine, "ben", "correct horse battery").is_admin


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["user", "create", "x", "--password-stdin"], "at least 12 characters"),
        (["key", "create", "x", "--user", "nobody"], "no user named"),
    ],
)
def test_troubles_are_one_line_without_a_traceback(docqueue, arguments, reason):
    answer = docqueue(*arguments, check=False, stdin="short\n")
    assert answer.returncode == 1
    assert reason in answer.stderr
    assert "Traceback" not in answer.stderr


def test_why_says_what_a_job_waits_for(docqueue, service, engine, settings):
    item = service.enqueue(add_document(engine, settings))
    service.pause_queue("documents", "anna", "moving house")
    said = docqueue("why", item.id).stdout
    assert "moving house" in said.splitlines()[0]
    assert "Waiting; " in said.splitlines()[-1]
