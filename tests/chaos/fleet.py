"""The processes of a chaos run, kept alive as a platform would: what ended is started again.

Two web processes, two schedulers, and two "machines": worker pools that can be killed as a whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import requests

from jobs.parent_death import start_tied
from tests.chaos.process_table import Process, children, read_processes
from tests.chaos.worker import COMMAND as WORKER
from tests.support.processes import COMMANDS, ROOT, _inherited, marked_processes
from tests.support.servers import free_port, wait_until

# What a platform needs to see that a process ended, and to start it again.
_RESTART_SECONDS = 0.3
_STOP_SECONDS = 35.0


@dataclass
class Part:
    """One process of the fleet and what starts it."""

    name: str
    command: list[str]
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    ended_at: float | None = None
    wanted: bool = field(default=True)

    @property
    def pid(self) -> int | None:
        """Its id while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A worker and its horse, if it has one now."""

    name: str
    pid: int
    horse: int | None


class Fleet:
    """Starts, tends and ends the processes. All calls from one thread, which must outlive them.

    Args:
        environ: the settings as environment variables.
        folder: for the logs.
        machines: how many worker pools.
        webs: how many web processes, each at a port of its own.
        schedulers: how many schedulers.
    """

    def __init__(
        self, environ: Mapping[str, str], folder: Path, *, machines: int, webs: int, schedulers: int
    ) -> None:
        self._folder = folder
        self._mark = uuid.uuid4().hex
        base = {**_inherited(), **environ, "DOCQUEUE_TEST_RUN": self._mark, "PYTHONUNBUFFERED": "1"}
        base["HOST"] = "127.0.0.1"
        self.machines = [Part(f"machine-{n}", [*WORKER, "pool"], dict(base)) for n in range(machines)]
        self.webs = [
            Part(f"web-{n}", COMMANDS["web"], {**base, "PORT": str(free_port())}) for n in range(webs)
        ]
        self.schedulers = [
            Part(f"scheduler-{n}", COMMANDS["scheduler"], dict(base)) for n in range(schedulers)
        ]

    @property
    def parts(self) -> list[Part]:
        """Every part."""
        return [*self.webs, *self.machines, *self.schedulers]

    @property
    def urls(self) -> list[str]:
        """Where the web processes answer."""
        return [f"http://127.0.0.1:{web.environ['PORT']}" for web in self.webs]

    def start(self) -> None:
        """Start everything and wait until every web process answers."""
        for part in self.parts:
            self.launch(part)
        wait_until(lambda: all(is_healthy(url) for url in self.urls), 60.0, f"the web, see {self._folder}")

    def launch(self, part: Part, **environ: str) -> None:
        """Start one part, with these settings changed until its next start."""
        part.wanted, part.ended_at = True, None
        with self.log(part).open("ab") as log:
            part.process = start_tied(
                part.command, cwd=ROOT, env={**part.environ, **environ}, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def tend(self) -> None:
        """Start again what has ended a moment ago."""
        now = time.monotonic()
        for part in self.parts:
            if part.pid is not None or not part.wanted:
                continue
            part.ended_at = part.ended_at or now
            if now - part.ended_at >= _RESTART_SECONDS:
                self.launch(part)

    def stop(self, part: Part) -> None:
        """End one part as a platform does, and leave it ended.

        Raises:
            subprocess.TimeoutExpired: it did not end.
        """
        part.wanted = False
        if part.process is not None and part.process.poll() is None:
            part.process.terminate()
            part.process.wait(_STOP_SECONDS)

    def workers(self, machine: Part | None = None) -> list[WorkerProcess]:
        """Return the workers of a machine, of all by default, as they are at this moment."""
        table = read_processes()
        pools = [part.pid for part in ([machine] if machine else self.machines) if part.pid is not None]
        return [self._worker(table, process) for pool in pools for process in children(table, pool)]

    def web_processes(self, web: Part) -> list[int]:
        """Return gunicorn's workers below their master."""
        return [] if web.pid is None else [one.pid for one in children(read_processes(), web.pid)]

    def log(self, part: Part) -> Path:
        """Return the part's log."""
        return self._folder / f"{part.name}.log"

    def count_logged(self, event: str) -> int:
        """Count the log lines of an event, over all parts."""
        needle = f'"event": "{event}"'
        logs = [self.log(part) for part in self.parts]
        return sum(log.read_text("utf-8", "replace").count(needle) for log in logs if log.exists())

    def tails(self, size: int = 3000) -> str:
        """Return the end of every log, for a failed test."""
        logs = [self.log(part) for part in self.parts]
        return "\n".join(
            f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-size:]}" for log in logs if log.exists()
        )

    def lines_about(self, words: Collection[str], most: int = 60) -> list[str]:
        """Return the log lines that hold one of the words, from all logs, in the order of their time."""
        found = []
        for part in self.parts:
            if words and self.log(part).exists():
                lines = self.log(part).read_text("utf-8", "replace").splitlines()
                found += [f"{part.name}: {line}" for line in lines if any(word in line for word in words)]
        # JSON lines end with their time.
        return sorted(found, key=lambda line: line.rpartition('"timestamp"')[2])[:most]

    def close(self) -> None:
        """End everything, however deep, at once."""
        for part in self.parts:
            part.wanted = False
            if part.pid is not None and part.process is not None:
                part.process.terminate()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._left(), 3.0)
        while left := self._left():
            for pid in left:
                send(pid, signal.SIGKILL)
            time.sleep(0.05)
        for part in self.parts:
            if part.process is not None:
                part.process.wait()

    def _left(self) -> list[int]:
        return [pid for pid, _ in marked_processes(self._mark)]

    @staticmethod
    def _worker(table: dict[int, Process], process: Process) -> WorkerProcess:
        horses = children(table, process.pid)
        # Between fork and exec it is still called as the pool is.
        name = next((after for before, after in pairwise(process.arguments) if before == WORKER[-1]), "")
        return WorkerProcess(name, process.pid, horses[0].pid if horses else None)


def is_healthy(url: str) -> bool:
    """Tell whether a web process answers 200 to ``/healthz``."""
    try:
        return requests.get(f"{url}/healthz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; ``False`` when there is no such process any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
