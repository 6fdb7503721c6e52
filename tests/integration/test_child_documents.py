"""Attachments and members of archives become documents of their own, on both databases."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.errors import IllegalTransition, Transient
from jobs.extraction import Limits, Member, extract
from jobs.extraction.faults import Fault
from jobs.extraction.handover import take_members
from jobs.extraction.members.folder import MemberFolder
from jobs.model import Status
from jobs.queries import Queries
from jobs.retention import delete_document
from jobs.runner import Runner
from jobs.tables import child_documents, documents, events, queue_items
from tests.support.items import add_document, expire_lease, make_due
from tests.support.web import uploaded

PLAIN = b"The meeting about the garden is on Monday at nine.\n"


def zipped(*files, **links):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def mail(*files, subject="Minutes"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "anna@example.org", "bob@example.org", subject
    message["Date"] = "Mon, 12 Jan 2026 09:00:00 +0000"
    message.set_content("Dear Bob, the minutes are attached.")
    for name, content in files:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


class Kept:
    """Keeps members in memory."""

    def __init__(self):
        self.files = []

    def keep(self, name, file):
        data = file.read()
        self.files.append((name, data))
        return Member(name, "0" * 64, len(data), "text/plain")


def taken_out(tmp_path, name, content, **limits):
    path = tmp_path / "document"
    path.write_bytes(content)
    kept = Kept()
    found = extract(path, filename=name, limits=Limits(**limits), members=kept, warm=False)
    assert [member.name for member in found.members] == [one for one, _ in kept.files]
    return kept.files, found.warnings


def children_of(engine, document_id):
    statement = (
        sa.select(documents.c.filename, documents.c.id, documents.c.owner_id, child_documents.c.depth)
        .join(child_documents, child_documents.c.document_id == documents.c.id)
        .where(child_documents.c.parent_id == document_id)
        .order_by(child_documents.c.position)
    )
    with engine.connect() as connection:
        return connection.execute(statement).all()


def count(engine, table):
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


@pytest.fixture
def runner(engine, settings):
    return Runner(engine, settings, "worker-1")


def queued(engine, settings, service, name, content, **arguments):
    return service.enqueue(add_document(engine, settings, content, name), "extract", **arguments)


# In the cage.


def test_the_files_of_a_zip_are_taken_out_and_what_is_not_is_told(tmp_path):
    content = zipped(("a.txt", PLAIN), ("deep/b.txt", b"b"), ("../c.txt", b"c"), ("/d.txt", b"d"), link=1)
    files, warnings = taken_out(tmp_path, "some.zip", content)
    assert files == [("a.txt", PLAIN), ("deep/b.txt", b"b")]
    assert "1 member was left out: they are links." in warnings
    assert "2 members were left out: their paths lead out of the archive." in warnings


def test_the_files_of_a_tar_are_taken_out_and_devices_are_not(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, kind in (("a.txt", tarfile.REGTYPE), ("pipe", tarfile.FIFOTYPE), ("l", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(PLAIN) if kind == tarfile.REGTYPE else 0, "x"
            archive.addfile(info, io.BytesIO(PLAIN) if kind == tarfile.REGTYPE else None)
    files, warnings = taken_out(tmp_path, "some.tar.gz", out.getvalue())
    assert files == [("a.txt", PLAIN)]
    assert "1 member was left out: they are no files." in warnings
    assert "1 member was left out: they are links." in warnings


def test_attachments_of_a_mail_are_taken_out_attached_mails_whole(tmp_path):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Outer"
    message.set_content("See the attached mail.")
    inner = EmailMessage()
    inner["From"], inner["To"], inner["Subject"] = "c@example.org", "d@example.org", "Inner"
    inner.set_content("Hello.")
    inner.add_attachment(PLAIN, maintype="text", subtype="plain", filename="deep.txt")
    message.add_attachment(inner)
    message.add_attachment(PLAIN, maintype="application", subtype="pdf", filename="Übersicht.pdf")
    files, _ = taken_out(tmp_path, "some.eml", message.as_bytes())
    assert [name for name, _ in files] == ["Inner.eml", "Übersicht.pdf"]
    assert b"deep.txt" in files[0][1]


def test_each_message_of_a_mailbox_is_taken_out(tmp_path):
    box = b"".join(b"From a Mon Jan 12 09:00:00 2026\n" + mail(subject=str(n)) + b"\n" for n in range(3))
    files, _ = taken_out(tmp_path, "some.mbox", box)
    assert [name for name, _ in files] == ["message-1.eml", "message-2.eml", "message-3.eml"]
    assert b"Subject: 2" in files[2][1]


def test_too_many_or_too_large_is_told(tmp_path):
    content = zipped(*((f"{n}.txt", str(n)) for n in range(5)))
    files, warnings = taken_out(tmp_path, "some.zip", content, members=3)
    assert len(files) == 3
    assert "Only the first 3 members were taken out." in warnings
    files, warnings = taken_out(tmp_path, "b.zip", zipped(("a", b"x" * 50), ("b", b"y")), member_bytes=9)
    assert files == [("b", b"y")]
    assert "1 member was left out: they are too large." in warnings
    content = zipped(("a", b"xxxx"), ("b", b"yyyy"), ("c", b"z"))
    files, warnings = taken_out(tmp_path, "c.zip", content, members_bytes=6)
    assert files == [("a", b"xxxx")]
    assert "Not all members were taken out: together they are too large." in warnings


def test_a_member_that_grows_out_of_proportion_is_left_out(tmp_path):
    folder = MemberFolder(tmp_path / "members", Limits())
    chunk = bytes(1024**2)
    folder.add("zeros", (chunk for _ in range(9)), packed=9_000)
    folder.add("honest", (chunk for _ in range(9)), packed=90_000)
    assert folder.names == ["honest"]
    assert folder.warnings() == ["1 member was left out: they are too large."]
    assert [path.name for path in (tmp_path / "members").iterdir()] == ["0"]


# Taken over from a child that is not trusted.


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "hard link", "missing", "large", "no text"])
def test_what_a_child_must_not_hand_over_is_refused(tmp_path, kind):
    folder = tmp_path / "members"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path, names = folder / "0", ["a"]
    if kind == "symlink":
        path.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "hard link":
        os.link(secret, path)
    elif kind == "large":
        path.write_bytes(bytes(11))
    elif kind == "no text":
        path.write_bytes(b"a")
        names = [1]
    kept = Kept()
    with pytest.raises(Fault, match="reader_crashed"):
        take_members(tmp_path, names, Limits(member_bytes=10), kept)
    assert kept.files == []


def test_more_members_than_allowed_are_refused_as_is_a_folder_that_is_a_link(tmp_path):
    with pytest.raises(Fault):
        take_members(tmp_path, ["a"] * 3, Limits(members=2), Kept())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0").write_bytes(b"a")
    (tmp_path / "members").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fault):
        take_members(tmp_path, ["a"], Limits(), Kept())


# In the queue.


def test_a_mails_attachments_become_documents_with_items(engine, settings, service, runner):
    item = queued(engine, settings, service, "m.eml", mail(("a.txt", PLAIN), ("b.txt", b"b")), priority=7)
    assert runner.run(item.id).status is Status.COMPLETED
    made = children_of(engine, item.document_id)
    assert [(row.filename, row.owner_id, row.depth) for row in made] == [
        ("a.txt", item.owner_id, 1),
        ("b.txt", item.owner_id, 1),
    ]
    (child,) = Queries(engine).items_of(made[0].id)
    assert (child.operation, child.priority, child.queue) == ("extract", 7, item.queue)
    assert (child.status, child.announced_at) == (Status.PENDING, None)
    assert runner.run(child.id).status is Status.COMPLETED
    assert Queries(engine).artifact(made[0].id, "extract").body["text"].strip() == PLAIN.decode().strip()


def test_a_second_upload_of_the_same_archive_has_children_of_its_own(engine, settings, service, runner):
    content = zipped(("a.txt", PLAIN))
    items = [queued(engine, settings, service, "a.zip", content) for _ in range(2)]
    for item in items:
        runner.run(item.id)
    assert [len(children_of(engine, item.document_id)) for item in items] == [1, 1]


def test_a_kept_result_whose_members_are_gone_is_computed_anew(engine, settings, service, runner):
    content = zipped(("a.txt", PLAIN))
    runner.run(queued(engine, settings, service, "a.zip", content).id)
    for member in Path(settings.data_dir, "blobs").glob("*/*"):
        if member.read_bytes() == PLAIN:
            member.unlink()
    item = queued(engine, settings, service, "a.zip", content)
    assert runner.run(item.id).status is Status.COMPLETED
    (child,) = children_of(engine, item.document_id)
    found = Queries(engine).document(child.id, owner=None)
    assert (settings.data_dir / "blobs" / found.sha256[:2] / found.sha256).read_bytes() == PLAIN


@pytest.mark.parametrize("fresh", [True, False])
def test_reprocessing_makes_no_child_twice(engine, settings, service, runner, fresh):
    item = queued(engine, settings, service, "a.zip", zipped(("a.txt", PLAIN), ("b.txt", PLAIN)))
    runner.run(item.id)
    again = service.enqueue(item.document_id, "extract", fresh=fresh)
    assert runner.run(again.id).status is Status.COMPLETED
    assert [row.filename for row in children_of(engine, item.document_id)] == ["a.txt", "b.txt"]


def test_a_lost_lease_leaves_no_children(engine, settings, service, monkeypatch):
    item = queued(engine, settings, service, "a.zip", zipped(("a.txt", PLAIN)))
    runner = Runner(engine, settings, "worker-1")
    stage = runner._stages["extract"]

    class Loses:
        name, engine, engine_version = stage.name, stage.engine, stage.engine_version

        def run(self, stage_input):
            output = stage.run(stage_input)
            expire_lease(engine, item.id)
            service.mark_suspects()
            expire_lease(engine, item.id)
            assert service.rescue()
            return output

    runner._stages["extract"] = Loses()
    assert runner.run(item.id) is None
    assert (count(engine, documents), count(engine, child_documents), count(engine, queue_items)) == (1, 0, 1)


def test_an_attempt_that_dies_before_its_end_leaves_children_once(engine, settings, service, runner):
    item = service.enqueue(add_document(engine, settings, zipped(("a.txt", PLAIN)), "a.zip"), "process")
    extract_only = Runner(engine, settings, "worker-1")

    class Fails:
        name, engine, engine_version = "analyze", "fake", "1"

        def run(self, stage_input):
            raise Transient("Busy.")

    extract_only._stages["analyze"] = Fails()
    assert extract_only.run(item.id).status is Status.PENDING
    assert len(children_of(engine, item.document_id)) == 1
    make_due(engine, item.id)
    assert runner.run(item.id).status is Status.COMPLETED
    assert len(children_of(engine, item.document_id)) == 1


def test_nesting_and_the_number_in_all_end(engine, settings, service):
    content = zipped(("leaf.txt", PLAIN))
    for level in range(5):
        content = zipped((f"{level}.zip", content), (f"{level}.txt", f"level {level}"))
    for bounds, most, left_out in (
        ({"max_member_depth": 2}, 4, "too_deep"),
        ({"max_members_in_all": 3}, 3, "too_many"),
    ):
        runner = Runner(engine, replace(settings, **bounds), "worker-1")
        root = queued(engine, settings, service, "root.zip", content).document_id
        runner.process_queue(50)
        with engine.connect() as connection:
            depths = connection.execute(
                sa.select(child_documents.c.depth).where(child_documents.c.root_id == root)
            ).scalars().all()  # fmt: skip
            told = connection.execute(sa.select(events.c.data).where(events.c.kind == "children")).scalars()
            assert any(data.get(left_out) for data in told)
        assert len(depths) == most


def test_deleting_a_document_deletes_what_came_out_of_it(engine, settings, service, runner):
    inner = zipped(("b.txt", PLAIN))
    item = queued(engine, settings, service, "a.zip", zipped(("a.txt", PLAIN), ("inner.zip", inner)))
    runner.run(item.id)
    with pytest.raises(IllegalTransition):
        delete_document(engine, settings, service, item.document_id, "anna")
    assert count(engine, documents) == 3
    runner.process_queue(10)
    assert count(engine, documents) == 4
    delete_document(engine, settings, service, item.document_id, "anna")
    assert (count(engine, documents), count(engine, child_documents)) == (0, 0)


# On the page and in the API.


def test_api_and_pages_lead_from_parent_to_child_and_back(engine, settings, member, program):
    sent = uploaded(program, "three.zip", zipped(*((f"{n}.txt", f"text {n}") for n in range(3))))
    Runner(engine, settings, "worker-1").process_queue(1)
    url = f"/api/v1/documents/{sent['id']}"
    body = program.get(url).json
    assert (body["children"], body["parent"]) == (3, None)
    first = program.get(body["links"]["children"], query_string={"limit": 2}).json
    rest = program.get(first["next"]).json
    names = [one["filename"] for one in first["documents"] + rest["documents"]]
    assert (names, rest["next"]) == (["0.txt", "1.txt", "2.txt"], None)
    child = program.get(first["documents"][0]["links"]["self"]).json
    assert (child["parent"]["id"], child["children"]) == (sent["id"], 0)
    page = member.get(f"/documents/{sent['id']}").text
    assert "Contents (3)" in page
    assert "1.txt" in page
    assert "three.zip" in member.get(f"/documents/{child['id']}").text
    assert "3 documents that were taken out" in member.get(f"/documents/{sent['id']}/delete").text
