"""A full disk refuses uploads with a reason, loses nothing, and is forgotten as soon as there is room."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from jobs import accounts, blobs
from jobs.blobs import BlobStore
from jobs.database import make_engine
from jobs.errors import StorageFull
from jobs.tables import documents, idempotency_keys, queue_items
from tests.support.web import close_app, upload
from tests.support.web_program import upload_from_memory, web_program
from webapp import create_app

MIB = 1024 * 1024


class Usage(NamedTuple):
    """What shutil.disk_usage answers."""

    total: int
    used: int
    free: int


def amount(engine, table=documents):
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def told_full(answer):
    assert (answer.status_code, answer.content_type) == (507, "application/problem+json")
    assert answer.json["code"] == "storage_full"
    assert int(answer.headers["Retry-After"]) > 0
    return answer.json["detail"]


def nothing_stored(settings, engine):
    assert amount(engine) == amount(engine, queue_items) == amount(engine, idempotency_keys) == 0
    assert files_in(settings.data_dir / "spool") == []


class Disk:
    """A disk of a few megabytes, holding what really stands in a folder: its free space goes down and up."""

    def __init__(self, folder, size):
        self.folder, self.size, self.looks = folder, size, 0

    def usage(self, _path):
        self.looks += 1
        used = sum(path.stat().st_size for path in files_in(self.folder))
        return Usage(self.size, used, max(0, self.size - used))


@pytest.fixture
def disk(settings, monkeypatch):
    """A disk with 100 MiB for uploads, of which 40 must stay free."""
    made = Disk(settings.data_dir, 0)
    made.size = made.usage(None).used + 100 * MIB
    monkeypatch.setattr(shutil, "disk_usage", made.usage)
    return made


@pytest.fixture
def small_disk_client(settings, engine, disk):
    app = create_app(replace(settings, min_free_bytes=40 * MIB))
    client = app.test_client()
    key = accounts.create_api_key(engine, accounts.ensure_admin(engine).id, "t")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    yield client
    close_app(app)


# The floor.


def test_below_the_floor_no_byte_is_taken(small_disk_client, settings, engine, disk):
    ballast = settings.data_dir / "ballast"
    ballast.write_bytes(bytes(61 * MIB))
    for headers in ({}, {"HTTP_IDEMPOTENCY_KEY": "k"}):
        small_disk_client.environ_base.update(headers)
        detail = told_full(upload_from_memory(small_disk_client, ("a.txt", b"x")))
        assert "MIN_FREE_BYTES" in detail
    nothing_stored(settings, engine)
    # Nobody has to do anything but make room.
    ballast.unlink()
    assert upload_from_memory(small_disk_client, ("a.txt", b"x")).status_code == 202


def test_a_request_that_cannot_fit_is_refused_before_its_first_byte(
    small_disk_client, settings, engine, disk
):
    answer = upload_from_memory(small_disk_client, ("a.bin", bytes(20 * MIB)), ("b.bin", bytes(45 * MIB)))
    told_full(answer)
    # One look at the disk, and no file begun.
    assert disk.looks == 2
    nothing_stored(settings, engine)
    assert not (settings.data_dir / "spool").exists()
    assert (
        upload_from_memory(
            small_disk_client, ("a.bin", bytes(20 * MIB)), ("b.bin", bytes(35 * MIB))
        ).status_code
        == 202
    )


def test_a_disk_that_fills_while_a_file_arrives_ends_it_within_eight_megabytes(settings, disk):
    disk_left = 20 * MIB
    (settings.data_dir / "ballast").write_bytes(bytes(60 * MIB - disk_left))
    spool = BlobStore(settings.data_dir).new_spool(1024 * MIB, 40 * MIB)
    with pytest.raises(StorageFull, match="MIN_FREE_BYTES"):
        for _ in range(100):
            spool.write(bytes(MIB))
    assert disk_left <= spool.size <= disk_left + 8 * MIB + MIB
    spool.discard()
    assert files_in(settings.data_dir / "spool") == []


def test_others_that_fill_the_disk_end_an_upload_and_leave_nothing(
    small_disk_client, settings, engine, disk, monkeypatch
):
    written = []
    write = blobs.Spool.write

    def beside_others(spool, chunk):
        written.append(len(chunk))
        if sum(written) > 10 * MIB and not (settings.data_dir / "ballast").exists():
            (settings.data_dir / "ballast").write_bytes(bytes(60 * MIB))
        return write(spool, chunk)

    monkeypatch.setattr(blobs.Spool, "write", beside_others)
    files = [("a.bin", bytes(12 * MIB)), ("b.bin", bytes(12 * MIB))]
    told_full(upload_from_memory(small_disk_client, *files))
    assert sum(written) < 20 * MIB
    nothing_stored(settings, engine)
    assert files_in(settings.data_dir / "blobs") == []


def test_no_floor_is_no_look(settings, engine, disk):
    app = create_app(replace(settings, min_free_bytes=0))
    client = app.test_client()
    key = accounts.create_api_key(engine, accounts.ensure_admin(engine).id, "t")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    disk.size = 0
    looks = disk.looks
    assert upload(client, ("a.txt", b"x")).status_code == 202
    assert disk.looks == looks
    close_app(app)


def test_the_page_says_it_too(app, member, settings, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
    answer = upload(member, ("a.txt", b"x"), path="/documents")
    assert answer.status_code == 507
    assert "too little disk space" in answer.get_data(as_text=True)


def test_the_command_says_it_in_one_line_and_leaves_no_spool(docqueue, settings, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    answer = docqueue("upload", str(path), check=False, settings={"MIN_FREE_BYTES": str(2**60)})
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert "MIN_FREE_BYTES" in answer.stderr
    assert files_in(settings.data_dir / "spool") == []


# A real limit of the operating system.


def test_a_real_full_disk_refuses_and_recovers(environ, engine, settings):
    """No file of the process may grow beyond a limit: what a full disk is to the program, with EFBIG."""
    key = accounts.create_api_key(engine, accounts.ensure_admin(engine).id, "t")
    with web_program(environ, key) as web:
        assert web.ask(upload=100, seed="before")["status"] == 202
        web.ask(limit=8 * MIB)
        for keyed in ({}, {"key": "k"}):
            answer = web.ask(upload=9 * MIB, seed="x", **keyed)
            assert (answer["status"], answer["body"]["code"]) == (507, "storage_full")
            assert answer["type"] == "application/problem+json"
            assert files_in(settings.data_dir / "spool") == []
        assert web.ask(upload=100, seed="small")["status"] == 202
        web.ask(limit=None)
        assert web.ask(upload=9 * MIB, seed="x", key="k")["status"] == 202
    assert amount(engine) == 3
    no_row_without_bytes(engine, settings)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_file_that_cannot_grow_refuses_and_recovers(environ, engine, settings):
    key = accounts.create_api_key(engine, accounts.ensure_admin(engine).id, "t")
    accepted = []
    with web_program(environ, key) as web:
        log = settings.data_dir / "docqueue.db-wal"
        # Soon after this the write-ahead log has no room for a commit, somewhere in the middle of one.
        web.ask(limit=max(log.stat().st_size, MIB) + 10_000)
        for number in range(300):
            answer = web.ask(upload=100, seed=f"{number}")
            assert answer["type"] == (
                "application/json" if answer["status"] == 202 else "application/problem+json"
            )
            if answer["status"] != 202:
                break
            accepted += answer["body"]["documents"]
        assert answer["status"] in {503, 507}
        assert int(answer["headers"]["Retry-After"]) > 0
        assert accepted
        web.ask(limit=None)
        answer = web.ask(upload=100, seed="after")
        assert answer["status"] == 202
        accepted += answer["body"]["documents"]
    assert amount(engine) == len(accepted)
    no_row_without_bytes(engine, settings)
    assert files_in(settings.data_dir / "spool") == []


def no_row_without_bytes(engine, settings):
    store = BlobStore(settings.data_dir)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(documents)).all()
        queued = set(connection.execute(sa.select(queue_items.c.document_id)).scalars())
    assert all(store.size(row.sha256) == row.size for row in rows)
    assert queued == {row.id for row in rows}


# A database that says that it is full.


def make_full(engine, settings):
    """Let the database refuse to grow: on SQLite from the next page on, on PostgreSQL at the COMMIT."""
    if engine.dialect.name == "postgresql":
        with make_engine(settings, pooled=False).begin() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';"
                " END $$"
            )
            connection.exec_driver_sql(
                "CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON documents"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )
        return

    @sa.event.listens_for(engine, "checkout")
    def _checkout(connection, *_):
        connection.execute("PRAGMA max_page_count = 1")


def make_room(engine, settings):
    if engine.dialect.name == "postgresql":
        with make_engine(settings, pooled=False).begin() as connection:
            connection.exec_driver_sql("DROP FUNCTION full_disk CASCADE")
        return

    @sa.event.listens_for(engine, "checkout")
    def _checkout(connection, *_):
        connection.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("headers", [{}, {"HTTP_IDEMPOTENCY_KEY": "k"}], ids=["no key", "key"])
def test_a_full_database_is_told_at_the_commit_and_leaves_no_row(app, program, engine, settings, headers):
    web_engine = app.extensions["docqueue"].queries._engine
    program.environ_base.update(headers)
    # A long name makes sure that every row needs a new page.
    files = [(f"{number:03d}" + "x" * 200 + ".txt", b"%d" % number) for number in range(60)]
    make_full(web_engine, settings)
    detail = told_full(upload(program, *files))
    assert "database" in detail
    assert amount(engine) == amount(engine, queue_items) == amount(engine, idempotency_keys) == 0
    assert files_in(settings.data_dir / "spool") == []
    make_room(web_engine, settings)
    answer = upload(program, *files)
    assert answer.status_code == 202
    assert "Idempotency-Replayed" not in answer.headers
    assert amount(engine) == 60
    no_row_without_bytes(engine, settings)
