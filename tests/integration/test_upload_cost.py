"""What one upload costs: passes over its bytes, fsyncs, statements, commits, commands to Redis.

Counted through the API with an API key, after a first upload has filled every cache.
"""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import redis
import sqlalchemy as sa
from urllib3.filepost import encode_multipart_formdata

from jobs import accounts
from jobs.blobs import Spool
from jobs.tables import queue_items
from tests.support.servers import wait_until
from tests.support.web_program import upload_from_memory


@dataclass
class Cost:
    """What was counted."""

    statements: list[str] = field(default_factory=list)
    writing_commits: int = 0
    file_syncs: int = 0
    folder_syncs: int = 0
    redis_round_trips: int = 0
    redis_commands: list[str] = field(default_factory=list)
    written_bytes: int = 0
    read_bytes: int = 0


@pytest.fixture
def cost(app, monkeypatch):
    """Count from now on."""
    counted = Cost()
    engine = app.extensions["docqueue"].queries._engine

    def statement(_connection, _cursor, text, *_):
        if not text.startswith("BEGIN"):
            counted.statements.append(text)

    def commit(connection):
        counted.writing_commits += not connection.get_execution_options().get("docqueue_read_only", False)

    def sync(handle, original=os.fsync):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        counted.folder_syncs += is_folder
        counted.file_syncs += not is_folder
        return original(handle)

    def write(spool, chunk, original=Spool.write):
        counted.written_bytes += len(chunk)
        return original(spool, chunk)

    def read(spool, size=-1, original=Spool.read):
        found = original(spool, size)
        counted.read_bytes += len(found)
        return found

    def send(
        connection, packed, *rest, original=redis.connection.AbstractConnection.send_packed_command, **more
    ):
        counted.redis_round_trips += 1
        return original(connection, packed, *rest, **more)

    def pack(connection, *words, original=redis.connection.AbstractConnection.pack_command):
        counted.redis_commands.append(words[0])
        return original(connection, *words)

    def pack_many(connection, commands, original=redis.connection.AbstractConnection.pack_commands):
        counted.redis_commands += [words[0] for words in commands]
        return original(connection, commands)

    sa.event.listen(engine, "before_cursor_execute", statement)
    sa.event.listen(engine, "commit", commit)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Spool, "write", write)
    monkeypatch.setattr(Spool, "read", read)
    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", send)
    monkeypatch.setattr(redis.connection.AbstractConnection, "pack_command", pack)
    monkeypatch.setattr(redis.connection.AbstractConnection, "pack_commands", pack_many)
    return counted


def send(program, seed, files):
    """Upload so many files of their own; return how large they are together."""
    contents = [(f"{number}.txt", f"{seed} {number} ".encode() * 5_000) for number in range(files)]
    assert upload_from_memory(program, *contents).status_code == 202
    return sum(len(content) for _, content in contents)


def words(statements):
    """Name each statement by its verb and table."""
    return [
        " ".join(text.split()[: 3 if text.startswith(("INSERT", "DELETE")) else 1]) for text in statements
    ]


@pytest.mark.parametrize("files", [1, 20])
def test_an_upload_costs_one_of_each(program, cost, engine, settings, files):
    send(program, "warm", files)
    cost.__init__()
    size = send(program, "counted", files)
    # The key; then on PostgreSQL the bytes' lock and everything else, on SQLite the place in line and one
    # statement for each table.
    assert words(cost.statements) == ["SELECT", *{
        "postgresql": ["SELECT", "WITH"],
        "sqlite": [
            "SELECT", "DELETE FROM unreferenced_bytes", "INSERT INTO documents", "INSERT INTO queue_items",
            "INSERT INTO events",
        ],
    }[engine.dialect.name]]  # fmt: skip
    assert cost.writing_commits == 1
    assert cost.file_syncs == files
    # Each folder once, and the one of all folders when one had to be made.
    folders = len(list((settings.data_dir / "blobs").iterdir()))
    assert 1 <= cost.folder_syncs <= min(files, folders) + 1
    assert cost.redis_round_trips == 1
    assert cost.redis_commands == ["SADD", *["HSET"] * files, "RPUSH"]
    assert (cost.written_bytes, cost.read_bytes) == (size, 0)


def test_the_use_of_a_key_is_written_once_a_minute_and_never_with_an_upload(app, engine, member, cost):
    key = accounts.create_api_key(engine, member.user.id, "t")
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"

    def writes():
        return [text for text in cost.statements if text.startswith("UPDATE api_keys")]

    body, content_type = encode_multipart_formdata([("file", ("a.txt", b"x"))])
    answer = client.post("/api/v1/documents", data=body, content_type=content_type, buffered=False)
    assert (answer.status_code, writes()) == (202, [])
    answer.close()
    assert len(writes()) == 1
    assert accounts.list_api_keys(engine, member.user.id)[0].last_used_at is not None
    send(client, "again", 1)
    assert len(writes()) == 1


def test_uploads_at_the_same_time_share_commits_and_bells(app, key_headers, cost, engine):
    """While one is being written, the others gather; all of them go with the next commit."""
    intake = app.extensions["docqueue"].intake
    write, first, go = intake._commits._write, threading.Event(), threading.Event()

    def slow(parcels):
        if not first.is_set():
            first.set()
            assert go.wait(30)
        return write(parcels)

    intake._commits._write = slow
    intake._commits._free_lanes = 1

    def upload(number):
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = key_headers["Authorization"]
        return upload_from_memory(client, (f"{number}.txt", b"%d" % number)).json["documents"][0]["id"]

    with ThreadPoolExecutor(9) as pool:
        leader = pool.submit(upload, 0)
        assert first.wait(30)
        others = [pool.submit(upload, number) for number in range(1, 9)]
        wait_until(lambda: len(intake._commits._waiting) == 8, 30, "all of them wait")
        go.set()
        made = {one.result(30) for one in (leader, *others)}
    assert len(made) == 9
    with engine.connect() as connection:
        assert set(connection.execute(sa.select(queue_items.c.document_id)).scalars()) == made
    assert cost.writing_commits == 2
    # Without what a new connection says first.
    bells = [word for word in cost.redis_commands if word in {"SADD", "HSET", "RPUSH"}]
    assert bells == ["SADD", "HSET", "RPUSH", "SADD", *["HSET"] * 8, "RPUSH"]
