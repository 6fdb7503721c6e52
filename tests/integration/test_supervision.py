"""Processes under the launcher: restarted however they end, and gone when it goes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from jobs.parent_death import start_tied
from tests.support.processes import ROOT
from tests.support.servers import wait_until

PROGRAM = textwrap.dedent(
    """
    import sys
    from jobs import supervision
    supervision.FIRST_WAIT_SECONDS = 0.1
    supervision.ASK_AGAIN_AFTER_SECONDS = 1.0
    supervision.KILL_AFTER_SECONDS = 2.0
    manager = supervision.RestartingManager()
    for number, command in enumerate(sys.argv[1:]):
        manager.add_process(f"p{number}", "exec " + command)
    manager.start()
    manager.loop()
    print("all ended", flush=True)
    """
)


@pytest.fixture
def supervise(tmp_path):
    """Run the manager with these shell commands; returns its process and a function that reads its output."""
    running = []

    def _supervise(*commands):
        output = tmp_path / f"output-{len(running)}"
        with output.open("wb") as file:
            process = start_tied(
                [sys.executable, "-c", PROGRAM, *commands], cwd=ROOT, stdout=file, stderr=file
            )
        running.append(process)
        return process, output.read_text

    yield _supervise
    for process in running:
        process.terminate()
        process.wait(10)


def note_pid(file, then):
    """A command that appends its process id to a file and then does something."""
    return f"sh -c 'echo $$ >> {file}; {then}'"


def pids(file):
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("code", [0, 3])
def test_a_process_that_ends_is_started_again_while_the_other_goes_on(supervise, tmp_path, code):
    ending, other = tmp_path / "ending", tmp_path / "other"
    supervise(note_pid(ending, f"exit {code}"), note_pid(other, "exec sleep 60"))
    wait_until(lambda: len(pids(ending)) >= 3, 10)
    assert len(pids(other)) == 1
    assert not gone(pids(other)[0])


def test_a_killed_process_is_started_again(supervise, tmp_path):
    file = tmp_path / "pids"
    supervise(note_pid(file, "exec sleep 60"))
    wait_until(lambda: pids(file))
    os.kill(pids(file)[0], signal.SIGKILL)
    wait_until(lambda: len(pids(file)) == 2, 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(supervise, tmp_path, number):
    file = tmp_path / "pids"
    process, output = supervise(note_pid(file, "exec sleep 60"), note_pid(file, "exec sleep 60"))
    wait_until(lambda: len(pids(file)) == 2)
    process.send_signal(number)
    assert process.wait(10) == 0
    assert all(gone(pid) for pid in pids(file))
    assert "all ended" in output()


def test_a_process_that_ignores_sigterm_is_killed_in_the_end(supervise, tmp_path):
    file = tmp_path / "pids"
    process, _ = supervise(note_pid(file, 'trap "" TERM; while :; do sleep 0.1; done'))
    wait_until(lambda: pids(file))
    process.terminate()
    assert process.wait(10) == 0
    wait_until(lambda: gone(pids(file)[0]))


def test_a_second_signal_kills_at_once(supervise, tmp_path):
    file = tmp_path / "pids"
    process, _ = supervise(note_pid(file, 'trap "" TERM; while :; do sleep 0.1; done'))
    wait_until(lambda: pids(file))
    process.send_signal(signal.SIGINT)
    time.sleep(1.1)  # Two signals within a second count as one.
    process.send_signal(signal.SIGINT)
    assert process.wait(3) == 0
    wait_until(lambda: gone(pids(file)[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_nothing_lingers_when_the_launcher_is_killed(supervise, tmp_path):
    file = tmp_path / "pids"
    process, _ = supervise(note_pid(file, "exec sleep 60"))
    wait_until(lambda: pids(file))
    process.kill()
    wait_until(lambda: gone(pids(file)[0]), 10)


def test_what_the_processes_say_is_passed_on_with_their_name(supervise):
    _, output = supervise("echo hello")
    wait_until(lambda: "hello" in output())
    line = next(line for line in io.StringIO(output()) if "hello" in line)
    assert "p0" in line


def test_a_process_may_still_be_stopped_by_a_signal_that_its_keeper_ignores(supervise, tmp_path):
    # An ignored signal would stay ignored in every program that the process starts.
    file = tmp_path / "pids"
    supervise(f"sh -c 'sleep 60 & echo $! > {file}; wait'")
    wait_until(lambda: pids(file))
    subprocess.run(["kill", "-TERM", str(pids(file)[0])], check=True)
    wait_until(lambda: gone(pids(file)[0]))
