"""A file that its owner has sent before: taken as new, answered by what there is, run again or refused."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

import jobs.intake
from jobs import accounts
from jobs.blobs import BlobStore
from jobs.delivery import Delivery, web_connection
from jobs.duplicates import Dedupe
from jobs.errors import DuplicateDocument
from jobs.intake import Intake
from jobs.model import Completed, Failed, Status
from jobs.queries import Queries
from jobs.runner import Runner
from jobs.tables import documents, queue_items
from jobs.uploads import Order, Upload
from tests.support.files import locked_pdf
from tests.support.web import claimed, upload, uploaded

CONTENT = b"The same old text."


def amount(engine, table=documents):
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def ended(service, job_id, outcome=None):
    """Let a job run to its end."""
    return service.settle(claimed(service, job_id), outcome or Completed())


def again(client, dedupe, content=CONTENT, **fields):
    answer = upload(client, ("again.txt", content), dedupe=dedupe, **fields)
    assert answer.status_code == 202, answer.text
    (document,) = answer.json["documents"]
    return document


def item(engine, job_id):
    return Queries(engine).item(job_id, owner=None)


# What each wish comes to.


def test_a_file_is_taken_as_new_unless_told_otherwise(program, engine):
    first = uploaded(program, content=CONTENT)
    for fields in ({}, {"dedupe": "none"}, {"dedupe": ""}):
        answer = upload(program, ("again.txt", CONTENT), **fields)
        (second,) = answer.json["documents"]
        assert second["id"] != first["id"]
        assert not {"duplicate_of", "reused", "created_at"} & set(second)
    assert amount(engine) == amount(engine, queue_items) == 4


@pytest.mark.parametrize("dedupe", ["reuse", "rerun", "reject"])
def test_a_file_that_was_never_sent_is_new_whatever_is_wished(program, engine, dedupe):
    uploaded(program, content=b"Another text.")
    made = again(program, dedupe)
    assert not {"duplicate_of", "reused"} & set(made)
    assert amount(engine) == amount(engine, queue_items) == 2


def test_reuse_answers_with_the_document_and_the_job_that_are_there(program, service, engine):
    first = uploaded(program, "first.txt", CONTENT)
    waiting = again(program, "reuse")
    assert (waiting["id"], waiting["job_id"], waiting["status"]) == (first["id"], first["job_id"], "pending")
    assert (waiting["duplicate_of"], waiting["reused"], waiting["filename"]) == (
        first["id"],
        True,
        "first.txt",
    )
    ended(service, first["job_id"])
    answer = upload(program, ("again.txt", CONTENT), dedupe="reuse")
    (done,) = answer.json["documents"]
    assert (answer.status_code, done["job_id"], done["status"]) == (202, first["job_id"], "completed")
    assert answer.headers["Location"] == first["links"]["job"]
    assert "Retry-After" not in answer.headers
    sent_at = Queries(engine).document(first["id"], owner=None).created_at
    assert done["created_at"] == sent_at.isoformat()
    assert amount(engine) == amount(engine, queue_items) == 1


def test_reuse_takes_the_newest_that_is_of_use(program, service, engine):
    good = uploaded(program, content=CONTENT)
    ended(service, good["job_id"])
    bad = uploaded(program, content=CONTENT)
    ended(service, bad["job_id"], Failed("x", "It broke.", permanent=True))
    assert again(program, "reuse")["id"] == good["id"]
    newer = uploaded(program, content=CONTENT)
    assert again(program, "reuse")["id"] == newer["id"]
    assert amount(engine) == amount(engine, queue_items) == 3


@pytest.mark.parametrize("end", ["failed", "cancelled", "cleared"])
def test_reuse_runs_the_document_again_when_nothing_is_of_use(program, service, engine, end):
    first = uploaded(program, content=CONTENT)
    if end == "failed":
        ended(service, first["job_id"], Failed("x", "It broke.", permanent=True))
    elif end == "cancelled":
        service.cancel(first["job_id"], "mia")
    else:
        ended(service, first["job_id"])
        service.clear_ended(0, "mia")
    second = again(program, "reuse")
    assert second["id"] == second["duplicate_of"] == first["id"]
    assert (second["reused"], second["status"]) == (False, "pending")
    assert second["job_id"] != first["job_id"]
    # Finished stages of the first try are good enough for one who asked for what there is.
    assert item(engine, second["job_id"]).fresh is False
    assert amount(engine) == 1


def test_reuse_looks_at_the_operation_that_is_asked_for(program, service, engine):
    first = uploaded(program, content=CONTENT)
    ended(service, first["job_id"])
    second = again(program, "reuse", operation="extract")
    assert (second["id"], second["reused"]) == (first["id"], False)
    assert item(engine, second["job_id"]).operation == "extract"
    assert again(program, "reuse", operation="extract")["job_id"] == second["job_id"]
    # The newest item for the operation counts, not any that once succeeded.
    ended(service, second["job_id"])
    third = program.post(f"/api/v1/documents/{first['id']}/reprocess", json={"operation": "extract"}).json
    ended(service, third["id"], Failed("x", "It broke.", permanent=True))
    assert again(program, "reuse", operation="extract")["reused"] is False
    assert again(program, "reuse")["job_id"] == first["job_id"]


def test_rerun_makes_a_fresh_job_on_the_document_or_finds_the_open_one(program, service, engine):
    first = uploaded(program, content=CONTENT)
    open_one = again(program, "rerun")
    assert (open_one["id"], open_one["job_id"], open_one["reused"]) == (first["id"], first["job_id"], True)
    ended(service, first["job_id"])
    second = again(program, "rerun", priority="7")
    assert (second["id"], second["duplicate_of"], second["reused"]) == (first["id"], first["id"], False)
    made = item(engine, second["job_id"])
    assert (made.fresh, made.priority, made.status) == (True, 7, Status.PENDING)
    assert (amount(engine), amount(engine, queue_items)) == (1, 2)


def test_reject_refuses_one_file_with_the_document_that_is_there(program, engine, settings):
    first = uploaded(program, content=CONTENT)
    answer = upload(program, ("again.txt", CONTENT), dedupe="reject")
    assert (answer.status_code, answer.content_type) == (409, "application/problem+json")
    assert (answer.json["code"], answer.json["document_id"]) == ("duplicate", first["id"])
    assert answer.json["links"]["document"] == first["links"]["self"]
    assert amount(engine) == amount(engine, queue_items) == 1
    assert list((settings.data_dir / "spool").iterdir()) == []


def test_reject_refuses_some_of_many(program, engine):
    first = uploaded(program, content=CONTENT)
    answer = upload(
        program, ("old.txt", CONTENT), ("new.txt", b"New."), ("twice.txt", b"New."), ("empty.txt", b""),
        dedupe="reject",
    )  # fmt: skip
    assert answer.status_code == 202
    (new,) = answer.json["documents"]
    assert new["filename"] == "new.txt"
    refused = {one["filename"]: one for one in answer.json["refused"]}
    assert {name: one["code"] for name, one in refused.items()} == {
        "old.txt": "duplicate", "twice.txt": "duplicate", "empty.txt": "empty_upload",
    }  # fmt: skip
    assert refused["old.txt"]["document_id"] == first["id"]
    assert refused["old.txt"]["links"]["document"] == first["links"]["self"]
    assert refused["twice.txt"]["document_id"] == new["id"]
    assert amount(engine) == 2
    assert upload(program, ("a", CONTENT), ("b", b"New."), dedupe="reject").status_code == 409


def test_the_same_file_twice_in_one_request_is_one_document_by_reuse(program, engine):
    answer = upload(program, ("a.txt", CONTENT), ("b.txt", CONTENT), dedupe="reuse")
    first, second = answer.json["documents"]
    assert (first["id"], first["job_id"]) == (second["id"], second["job_id"])
    assert "duplicate_of" not in first
    assert (second["duplicate_of"], second["reused"]) == (first["id"], True)
    assert amount(engine) == amount(engine, queue_items) == 1


def test_the_wish_may_stand_in_the_address_and_must_be_one_of_four(program, engine):
    first = uploaded(program, content=CONTENT)
    answer = upload(program, ("again.txt", CONTENT), path="/api/v1/documents?dedupe=reuse")
    assert answer.json["documents"][0]["id"] == first["id"]
    wrong = upload(program, ("again.txt", CONTENT), dedupe="merge")
    assert (wrong.status_code, wrong.json["code"]) == (400, "bad_request")
    assert "none, reuse, rerun, reject" in wrong.json["detail"]
    assert amount(engine) == 1


def test_a_reused_job_is_not_rung_for_again(app, program):
    uploaded(program, content=CONTENT)
    delivery = app.extensions["docqueue"].delivery
    assert delivery.queue_length() == 1
    again(program, "reuse")
    again(program, "rerun")
    assert delivery.queue_length() == 1


# What was read with a password.


@pytest.mark.parametrize("together", [False, True], ids=["alone", "in a batch"])
def test_what_was_read_with_a_password_is_reused_with_the_same_one_only(program, service, engine, together):
    (first,) = upload(program, ("a.txt", CONTENT), password="geheim").json["documents"]
    if together:
        assert service.settle_many([claimed(service, first["job_id"])]) == {first["job_id"]}
    else:
        ended(service, first["job_id"])
    same = again(program, "reuse", password="geheim")
    assert (same["id"], same["job_id"], same["reused"]) == (first["id"], first["job_id"], True)
    for fields in ({}, {"password": "guess"}):
        for dedupe in ("reuse", "rerun"):
            other = again(program, dedupe, **fields)
            assert other["id"] != first["id"]
            assert "reused" not in other or other["duplicate_of"] != first["id"]
            ended(service, other["job_id"], Failed("encrypted", "Locked.", permanent=True))
    assert again(program, "reuse", password="geheim")["job_id"] == first["job_id"]


@pytest.mark.parametrize("dedupe", ["reuse", "rerun"])
def test_an_open_job_is_for_those_who_ask_for_the_same_reading(program, engine, dedupe):
    first = again(program, dedupe, password="geheim")
    assert again(program, dedupe, password="geheim")["job_id"] == first["job_id"]
    without = again(program, dedupe)
    assert without["id"] != first["id"]
    assert "duplicate_of" not in without
    # Of the newest document there is an open job as well, which reads in another way.
    fast = again(program, dedupe, preset="fast")
    assert fast["id"] not in {first["id"], without["id"]}
    assert amount(engine) == 3


def test_a_password_that_opened_nothing_keeps_nobody_from_the_document(program, service):
    (first,) = upload(program, ("a.txt", CONTENT), password="guess").json["documents"]
    ended(service, first["job_id"], Failed("wrong_password", "Wrong.", permanent=True))
    second = again(program, "reuse", password="geheim")
    assert (second["id"], second["reused"]) == (first["id"], False)


def test_what_was_read_with_a_password_is_kept_from_others_when_its_job_is_cleared(
    program, service, engine, settings
):
    content = locked_pdf(["secret"], "geheim")
    (first,) = upload(program, ("a.pdf", content), password="geheim").json["documents"]
    assert Runner(engine, settings, "w").run(first["job_id"]).status is Status.COMPLETED
    service.clear_ended(0, "mia")
    assert program.get(first["links"]["text"]).text.strip() == "secret"
    assert again(program, "reuse", content)["id"] != first["id"]


# Whose files.


@pytest.mark.parametrize("dedupe", ["reuse", "rerun", "reject"])
def test_nobody_learns_what_others_have_sent(program, admin, stranger, engine, service, dedupe):
    theirs = uploaded(program, "secret.txt", CONTENT)
    ended(service, theirs["job_id"])
    for person in (stranger, admin):
        key = accounts.create_api_key(engine, person.user.id, "t")
        client = person.client.application.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        mine = upload(client, ("mine.txt", CONTENT), dedupe=dedupe)
        new = upload(client, ("new.txt", b"Nobody has sent this." + person.user.name.encode()), dedupe=dedupe)
        # To a letter the answer to a file that nobody has sent, but for what differs in any case.
        assert mine.status_code == new.status_code == 202
        assert shape(mine.json) == shape(new.json)
        assert mine.json["documents"][0]["id"] != theirs["id"]
        assert mine.json["documents"][0]["filename"] == "mine.txt"
        assert set(mine.headers.keys()) == set(new.headers.keys())
    assert amount(engine) == 5


def shape(value):
    """Return what an answer consists of, without what it says."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(one) for one in value] if isinstance(value, list) else type(value)


# At the same time.


@pytest.fixture
def intake(engine, settings, service):
    connection = web_connection(settings)
    yield Intake(engine, settings, BlobStore(settings.data_dir), service, Delivery(connection, settings))
    connection.close()


def spooled(intake, *contents):
    uploads = []
    for content in contents:
        spool = intake.new_spool()
        spool.write(content)
        uploads.append(Upload("a.txt", spool))
    return uploads


@pytest.mark.parametrize("dedupe", [Dedupe.REUSE, Dedupe.RERUN, Dedupe.REJECT])
def test_the_same_bytes_at_the_same_time_are_one_document(intake, engine, dedupe):
    owner = accounts.ensure_admin(engine).id
    count = 8
    for number in range(3):
        content = b"Round %d." % number
        barrier = threading.Barrier(count)

        def take(place, content=content, barrier=barrier):
            # In another order in every other request: they may wait for each other, but not for ever.
            contents = [content, content + b" And more."]
            uploads = spooled(intake, *(contents if place % 2 else contents[::-1]))
            barrier.wait(30)
            try:
                return intake.take(uploads, Order(), owner=owner, dedupe=dedupe)
            except DuplicateDocument as error:
                return error

        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(take, range(count)))
        assert amount(engine) == amount(engine, queue_items) == 2 * (number + 1)
        refused = [one for one in found if isinstance(one, DuplicateDocument)]
        assert len(refused) == (count - 1 if dedupe is Dedupe.REJECT else 0)
        accepted = [one for taken in found if taken not in refused for one in taken.accepted]
        assert len([one for one in accepted if one.duplicate_of is None]) == 2
        assert len({one.item.id for one in accepted}) == 2


def test_a_job_that_is_opened_in_between_is_found(intake, engine, service, monkeypatch):
    """Somebody retries the failed job after the look and before the insert."""
    owner = accounts.ensure_admin(engine).id
    (first,) = intake.accept(spooled(intake, CONTENT), owner=owner)
    service.settle(claimed(service, first.item.id), Failed("x", "It broke.", permanent=True))
    enqueue_in = service.enqueue_in

    def beaten(connection, *arguments, **options):
        service.retry_in(connection, first.item.id, "mia")
        return enqueue_in(connection, *arguments, **options)

    monkeypatch.setattr(service, "enqueue_in", beaten)
    # The savepoint takes the retry back with the insert, so that it is done once more outside of it.
    open_item = jobs.intake.open_item

    def retried(connection, *arguments):
        service.retry_in(connection, first.item.id, "mia")
        return open_item(connection, *arguments)

    monkeypatch.setattr(jobs.intake, "open_item", retried)
    (second,) = intake.accept(spooled(intake, CONTENT), owner=owner, dedupe=Dedupe.RERUN)
    assert (second.item.id, second.reused, second.item.status) == (first.item.id, True, Status.PENDING)
    assert amount(engine, queue_items) == 1


# Pages, and the command.


def test_the_form_asks_and_the_pages_tell(member, service):
    home = member.get("/").get_data(as_text=True)
    assert re.findall(r'<option value="(none|reuse|rerun|reject)">([^<]+)<', home) == [
        ("none", "treat it as new"),
        ("reuse", "use that result"),
        ("rerun", "run again"),
        ("reject", "refuse"),
    ]

    def send(*files, dedupe):
        return upload(member, *files, path="/documents", dedupe=dedupe, csrf_token=csrf(home))

    first = send(("a.txt", CONTENT), dedupe="none").headers["Location"]
    one = send(("a.txt", CONTENT), dedupe="reuse")
    assert one.headers["Location"] == first
    assert "Same file, sent now. Its result is used." in member.get(first).get_data(as_text=True)
    many = send(("a.txt", CONTENT), ("b.txt", b"B."), dedupe="reuse").headers["Location"]
    for _ in range(2):  # and after a reload
        page = member.get(many).get_data(as_text=True)
        assert "2 accepted" in page
        assert re.search(r"a\.txt</a>: Same file, sent <time [^>]+>now</time>. Its result is used\.", page)
        assert page.count("Same file") == 1
    service.cancel(first.rsplit("/", 1)[1], "mia")
    again_page = member.get(send(("a.txt", CONTENT), ("c.txt", b"C."), dedupe="rerun").headers["Location"])
    assert "It is worked on again." in again_page.get_data(as_text=True)
    refused = send(("a.txt", CONTENT), dedupe="reject")
    assert refused.status_code == 409
    page = refused.get_data(as_text=True)
    assert "You have sent this file before." in page
    assert re.search(r'href="/documents/[0-9a-f-]{36}">The document that is there<', page)


def csrf(page):
    return re.search(r'name="csrf_token" value="([^"]+)"', page)[1]


def test_the_command_knows_what_was_sent_before(docqueue, tmp_path, engine):
    path = tmp_path / "a.txt"
    path.write_bytes(CONTENT)
    new = tmp_path / "new.txt"
    new.write_bytes(b"New.")
    (first,) = json.loads(docqueue("upload", str(path), "--json").stdout)["documents"]
    (second,) = json.loads(docqueue("upload", str(path), "--json", "--dedupe", "reuse").stdout)["documents"]
    assert (second["id"], second["job_id"], second["reused"]) == (first["id"], first["job_id"], True)
    refused = docqueue("upload", str(path), str(new), "--json", "--dedupe", "reject", check=False)
    assert refused.returncode == 2
    answer = json.loads(refused.stdout)
    assert [one["filename"] for one in answer["documents"]] == ["new.txt"]
    assert answer["refused"] == [{"filename": "a.txt", "code": "duplicate", "document_id": first["id"]}]
    assert amount(engine) == 2
