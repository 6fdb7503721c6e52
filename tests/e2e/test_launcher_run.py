"""``make run`` as a person meets it: one line, everything runs, everything ends.

The web process is a stand-in that answers ``/healthz``; worker, scheduler, Redis and database are real.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
import redis

from jobs import launcher
from jobs.parent_death import start_tied
from jobs.settings import embedded_redis_socket
from tests.support.processes import ROOT, marked_processes
from tests.support.servers import free_port, wait_until

pytestmark = pytest.mark.e2e

WEB = textwrap.dedent(
    """
    import http.server, os
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()
    http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Answer).serve_forever()
    """
)
# The launcher with another Procfile in place of the project's own.
PROGRAM = """
import pathlib, sys
from jobs import launcher
launcher.ROOT = pathlib.Path(sys.argv[1])
sys.exit(launcher.main())
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "web.py").write_text(WEB)
    (tmp_path / "Procfile").write_text(
        f"web: python web.py\nworker: python {ROOT}/worker.py\nscheduler: python {ROOT}/scheduler.py\n"
    )
    return tmp_path


@pytest.fixture
def launch(root, data_dir):
    """Start the launcher; returns its process and a function that reads what it wrote."""
    mark = f"launcher-{os.getpid()}-{data_dir.name}"
    started = []

    def _launch(**more):
        output = root / f"output-{len(started)}"
        environ = {
            **os.environ, "DATA_DIR": str(data_dir), "PORT": str(free_port()), "LOG_FORMAT": "console",
            "DOCQUEUE_TEST_RUN": mark, "PYTHONPATH": str(ROOT), **more,
        }  # fmt: skip
        with output.open("wb") as file:
            process = start_tied(
                [sys.executable, "-c", PROGRAM, str(root)], env=environ, stdout=file, stderr=file
            )
        started.append(process)
        return process, output.read_text

    _launch.left = lambda containing="": [
        pid for pid, command in marked_processes(mark) if containing in command
    ]
    yield _launch
    for process in started:
        process.terminate()
    wait_until(lambda: not _launch.left(), 15, "the end of every process")
    for process in started:
        process.wait()
    for number in range(len(started)):
        print((root / f"output-{number}").read_text())


def links(text):
    return re.findall(r"http://127\.0\.0\.1:\d+/sign-in/link/\S+", text)


def test_it_prints_one_line_with_a_sign_in_link_and_stops_cleanly(launch):
    process, output = launch()
    wait_until(lambda: links(output()), 20, "the line")
    wait_until(lambda: "worker_started" in output() and "scheduler_started" in output(), 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert launch.left() == []
    assert len(links(output())) == 1
    assert "Traceback" not in output()


def test_a_killed_process_of_each_kind_comes_back_and_the_others_stay(launch):
    _, output = launch()
    wait_until(
        lambda: links(output()) and "worker_started" in output() and "scheduler_started" in output(), 20
    )
    web = launch.left("web.py")
    for part in ("worker.py", "scheduler.py"):
        before = launch.left(part)[0]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda part=part, before=before: set(launch.left(part)) - {before}, 15, part)
    assert launch.left("web.py") == web


def test_a_killed_redis_comes_back(launch, data_dir):
    _, output = launch()
    wait_until(lambda: links(output()), 20)
    with redis.Redis(unix_socket_path=str(embedded_redis_socket(data_dir))) as client:
        first = client.info("server")["process_id"]
        os.kill(first, signal.SIGKILL)

        def came_back():
            try:
                return client.info("server")["process_id"] != first
            except redis.RedisError:
                return False

        wait_until(came_back, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_nothing_lingers_when_the_launcher_is_killed(launch):
    process, output = launch()
    wait_until(lambda: links(output()) and "worker_started" in output(), 20)
    process.kill()
    process.wait()
    wait_until(lambda: not launch.left(), 15, "the end of every process")


def test_a_launcher_may_follow_a_killed_one_at_once(launch):
    port = str(free_port())
    process, output = launch(PORT=port)
    wait_until(lambda: links(output()), 20)
    process.kill()
    process.wait()
    _, second = launch(PORT=port)
    wait_until(lambda: links(second()), 20)


def test_a_second_launcher_on_the_same_folder_says_so_in_one_line(launch):
    _, output = launch()
    wait_until(lambda: links(output()), 20)
    second, second_output = launch()
    assert second.wait(10) == 1
    assert re.fullmatch(r"docqueue: .*already runs on .*\n", second_output())


def test_two_installations_run_side_by_side(launch, tmp_path):
    _, output = launch()
    _, other = launch(DATA_DIR=str(tmp_path / "other"))
    wait_until(lambda: links(output()) and links(other()), 30)


def test_the_module_is_what_make_run_starts(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-m", "jobs.launcher"], cwd=ROOT, env={**os.environ, "PORT": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 1
    assert answer.stderr == "docqueue: PORT must be between 1 and 65535, not 0.\n"
    assert launcher.ROOT == ROOT
