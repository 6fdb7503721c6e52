"""The real processes of the service, started for one test and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

from jobs.parent_death import start_tied
from tests.support.servers import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
_MARK = "DOCQUEUE_TEST_RUN"
COMMANDS = {
    "web": [sys.executable, "-m", "gunicorn", "-c", "webapp/gunicorn_conf.py", "webapp:create_app()"],
    "worker": [sys.executable, "worker.py"],
    "scheduler": [sys.executable, "scheduler.py"],
    "launcher": [sys.executable, "-m", "jobs.launcher"],
}


class Service:
    """Web, worker and scheduler as real processes, or the launcher that runs all three.

    Args:
        environ: the settings as environment variables.
        folder: for the logs.
        parts: which of :data:`COMMANDS` to start.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        folder: Path,
        parts: tuple[str, ...] = ("web", "worker", "scheduler"),
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.port = int(environ.get("PORT") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.parts = parts
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder
        self._environ = {
            **_inherited(), **environ, "PORT": str(self.port), "HOST": "127.0.0.1", _MARK: self.mark,
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip

    def start(self, *parts: str) -> None:
        """Start these parts, all by default; wait until the web process is healthy if it is one of them."""
        for part in parts or self.parts:
            with self.log(part).open("ab") as log:
                self.processes[part] = start_tied(
                    COMMANDS[part], cwd=ROOT, env=self._environ, stdout=log, stderr=log,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
        if {"web", "launcher"} & set(parts or self.parts):
            self.wait_healthy()

    def is_healthy(self) -> bool:
        """Tell whether ``/healthz`` answers 200."""
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def wait_healthy(self, seconds: float = 30.0) -> None:
        """Wait for ``/healthz``; fail at once when the process that should answer has ended."""
        deadline = time.monotonic() + seconds
        while not self.is_healthy():
            for part in ("web", "launcher"):
                process = self.processes.get(part)
                assert process is None or process.poll() is None, f"{part} ended:\n{self.output(part)}"
            assert time.monotonic() < deadline, f"not healthy within {seconds} s:\n{self.all_output()}"
            time.sleep(0.05)

    def kill(self, part: str) -> None:
        """SIGKILL the part's main process, and only it."""
        self.processes[part].kill()
        self.processes[part].wait()

    def stop(self, *parts: str, seconds: float = 35.0) -> None:
        """SIGTERM these parts, all by default, and wait for them."""
        chosen = [self.processes[part] for part in parts or list(self.processes)]
        for process in chosen:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + seconds
        for process in chosen:
            process.wait(max(0.1, deadline - time.monotonic()))

    def restart(self, *parts: str) -> None:
        """Stop and start."""
        self.stop(*parts)
        self.start(*(parts or tuple(self.processes)))

    def descendants(self, containing: str = "") -> list[int]:
        """Return the ids of all living processes of this service, by their command line."""
        return [pid for pid, command in marked_processes(self.mark) if containing in command]

    def log(self, part: str) -> Path:
        return self._folder / f"{part}.log"

    def output(self, part: str) -> str:
        """Return what the part has written so far."""
        return self.log(part).read_text("utf-8", "replace") if self.log(part).exists() else ""

    def all_output(self) -> str:
        return "\n".join(
            f"--- {part}\n{self.output(part)[-20_000:]}" for part in COMMANDS if self.output(part)
        )

    def close(self) -> None:
        """End everything, however deep, at once."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.descendants(), seconds=2.0)
        while left := self.descendants():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for process in self.processes.values():
            process.wait()


def marked_processes(mark: str) -> Iterator[tuple[int, str]]:
    """Yield id and command line of every living process that was started under this mark."""
    needle = f"{_MARK}={mark}"
    if not Path("/proc/self/environ").exists():
        listing = subprocess.run(
            ["ps", "axEww", "-o", "pid=,command="], capture_output=True, text=True, check=True
        )
        for line in listing.stdout.splitlines():
            pid, _, command = line.strip().partition(" ")
            if needle in command:
                yield int(pid), command
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # A zombie's environment is empty, so that it does not count as alive.
            if needle.encode() in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                yield int(entry.name), command
        except OSError:
            continue


def _inherited() -> dict[str, str]:
    """Return this environment without anything that would be read as a setting."""
    from dataclasses import fields

    from jobs.settings import Settings

    names = {spec.name.upper() for spec in fields(Settings)}
    return {name: value for name, value in os.environ.items() if name not in names}
