"""What the launcher checks before it starts anything: one line each, with what to do."""

from __future__ import annotations

import os
import socket

import pytest

from jobs import launcher
from jobs.errors import ConfigurationError
from jobs.launcher import address, check_port_is_free, only_launcher
from jobs.settings import load_settings
from jobs.supervision import HEALTHY_AFTER_SECONDS, LONGEST_WAIT_SECONDS, wait_before_restart
from tests.support.servers import free_port


def settings_with(tmp_path, **environ):
    return load_settings({"DATA_DIR": str(tmp_path), **environ})


def one_line(captured):
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("docs.example", "http://docs.example:8000"),
    ],
)
def test_the_printed_address_can_be_opened_on_this_machine(tmp_path, host, expected):
    assert address(settings_with(tmp_path, HOST=host)) == expected


def test_a_port_in_use_is_said_with_the_next_one(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"{port} on 127.0.0.1 .*PORT={port + 1}"):
            check_port_is_free("127.0.0.1", port)


def test_a_free_port_passes_even_right_after_its_use():
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    check_port_is_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_a_host_that_is_not_this_machines_is_refused(host):
    with pytest.raises(ConfigurationError):
        check_port_is_free(host, free_port())


def test_a_second_launcher_is_told_where_the_first_one_is(tmp_path):
    settings = settings_with(tmp_path, PORT="8123")
    with (
        only_launcher(settings),
        pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:8123"),
        only_launcher(settings),
    ):
        pass
    with only_launcher(settings):
        pass


def test_a_bad_setting_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setenv("PORT", "eighty")
    assert launcher.main() == 1
    assert "PORT must be a whole number" in one_line(capsys.readouterr())


def test_an_unusable_data_folder_ends_with_one_line(monkeypatch, capsys, tmp_path):
    # A file in the way stops root as well, unlike missing permissions.
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))
    monkeypatch.setenv("PORT", str(free_port()))
    assert launcher.main() == 1
    assert "DATA_DIR" in one_line(capsys.readouterr())


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1/0", "redis://127.0.0.1:notaport/0", "unix:///nowhere/redis.sock"]
)
def test_a_redis_that_does_not_answer_ends_with_one_line(monkeypatch, capsys, tmp_path, url):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("REDIS_URL", url)
    assert launcher.main() == 1
    assert "REDIS_URL" in one_line(capsys.readouterr())


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/none", "postgresql://127.0.0.1:notaport/none"])
def test_a_database_that_does_not_answer_ends_with_one_line(monkeypatch, capsys, tmp_path, url):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PORT", str(free_port()))
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(launcher, "_start_redis", lambda *_: None)
    assert launcher.main() == 1
    assert "DATABASE_URL" in one_line(capsys.readouterr())


def test_waits_before_restarts_grow_to_a_limit_and_start_anew_after_a_healthy_run():
    waits = [0.0]
    for _ in range(10):
        waits.append(wait_before_restart(0.1, waits[-1]))
    assert waits[1:] == sorted(waits[1:])
    assert waits[-1] == LONGEST_WAIT_SECONDS
    assert wait_before_restart(HEALTHY_AFTER_SECONDS, waits[-1]) == waits[1]


def test_the_procfile_names_the_three_processes(tmp_path):
    manager = launcher._make_manager(settings_with(tmp_path))
    try:
        assert list(manager._processes) == ["web", "worker", "scheduler"]
        environ = manager._processes["web"]["obj"].env
        assert (environ["HOST"], environ["PORT"]) == ("127.0.0.1", "8000")
        assert environ["PATH"].split(os.pathsep)[0].endswith("bin")
    finally:
        manager.events.close()
