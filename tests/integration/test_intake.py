"""Accepting uploads: durable before the answer, whole or not at all."""

from __future__ import annotations

import hashlib
import os

import pytest
import sqlalchemy as sa

from jobs import accounts, blobs
from jobs.blobs import BlobStore
from jobs.delivery import Delivery, web_connection
from jobs.errors import StorageFull, UnsupportedOperation, UploadTooLarge
from jobs.intake import Intake
from jobs.queries import Queries
from jobs.tables import documents, queue_items
from jobs.uploads import Upload


@pytest.fixture
def store(settings):
    return BlobStore(settings.data_dir)


@pytest.fixture
def intake(engine, settings, store, service):
    connection = web_connection(settings)
    yield Intake(engine, settings, store, service, Delivery(connection, settings))
    connection.close()


def upload(intake, content, name="a.txt"):
    spool = intake.new_spool()
    for start in range(0, len(content), 1000):
        spool.write(content[start : start + 1000])
    return Upload(name, spool)


def rows(engine):
    with engine.connect() as connection:
        return tuple(
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
            for table in (documents, queue_items)
        )


def test_an_upload_becomes_bytes_a_document_an_item_and_a_bell(intake, engine, store):
    owner = accounts.ensure_admin(engine).id
    content = b"Hello, queue. " * 500
    (accepted,) = intake.accept([upload(intake, content, "../naïve.txt")], owner=owner)
    assert accepted.document.sha256 == hashlib.sha256(content).hexdigest()
    assert (accepted.document.size, accepted.document.filename) == (len(content), "naïve.txt")
    assert accepted.document.media_type == "text/plain"
    assert store.path(accepted.document.sha256).read_bytes() == content
    assert Queries(engine).item(accepted.item.id, owner=owner).status == "pending"
    assert intake._delivery.queue_length() == 1
    assert list(store.spool_dir.iterdir()) == []


def test_many_files_are_one_transaction(intake, engine):
    accepted = intake.accept([upload(intake, b"%d" % n) for n in range(20)], owner=None)
    assert len({one.document.id for one in accepted}) == 20
    assert rows(engine) == (20, 20)


def test_the_bytes_are_durable_before_the_row_and_the_row_before_the_answer(intake, engine, monkeypatch):
    steps = []
    for name in ("sync_file", "sync_folder"):
        original = getattr(blobs, name)
        monkeypatch.setattr(
            blobs, name, lambda argument, n=name, o=original: (steps.append(n), o(argument))[1]
        )
    rename = blobs.Path.rename
    monkeypatch.setattr(blobs.Path, "rename", lambda self, to: (rename(self, to), steps.append("rename"))[0])
    sa.event.listen(engine, "commit", lambda _: steps.append("commit"))
    monkeypatch.setattr(intake._delivery, "announce", lambda _: steps.append("announce"))
    intake.accept([upload(intake, b"x")], owner=None)
    assert steps == ["sync_file", "rename", "sync_folder", "sync_folder", "commit", "announce"]


def test_a_full_disk_is_told_and_leaves_nothing(intake, engine, store, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blobs, "sync_file", full)
    one = upload(intake, b"x")
    with pytest.raises(StorageFull, match="disk is full"):
        intake.accept([one], owner=None)
    one.spool.discard()
    assert rows(engine) == (0, 0)
    assert list(store.spool_dir.iterdir()) == []


def test_a_file_over_the_limit_is_refused_without_being_stored(engine, settings, service, store):
    spool = store.new_spool(10)
    spool.write(b"12345")
    spool.write(b"67890a")
    spool.write(b"more")
    assert (spool.too_large, spool.size) == (True, 15)
    assert spool.path.stat().st_size <= 10
    intake = Intake(engine, settings, store, service, Delivery(web_connection(settings), settings))
    with pytest.raises(UploadTooLarge):
        intake.accept([Upload("big.bin", spool)], owner=None)
    spool.discard()
    assert rows(engine) == (0, 0)


def test_an_unknown_operation_stores_no_row(intake, engine):
    with pytest.raises(UnsupportedOperation):
        intake.accept([upload(intake, b"x")], owner=None, operation="translate")
    assert rows(engine) == (0, 0)


def test_redis_down_is_no_reason_to_refuse(intake, engine, service, valkey):
    valkey.stop()
    (accepted,) = intake.accept([upload(intake, b"x")], owner=None)
    assert rows(engine) == (1, 1)
    (waiting,) = service.due_to_announce("documents", 10)
    assert (waiting.id, waiting.announced_at) == (accepted.item.id, None)


def test_the_same_bytes_twice_are_two_documents_and_one_file(intake, engine, store):
    first, second = (intake.accept([upload(intake, b"same")], owner=None)[0] for _ in range(2))
    assert first.document.id != second.document.id
    assert first.document.sha256 == second.document.sha256
    assert sum(len(files) for _, _, files in os.walk(store.path("x").parent.parent)) == 1
