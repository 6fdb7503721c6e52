"""Keep several RQ workers running, each in a process of its own.

The workers are started as fresh programs rather than forked: a restart then has nothing of the
dead one in it, on macOS too, where a fork of a program with threads is unsafe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog

from jobs import extraction
from jobs.death_reports import new_worker_name, report_dead_worker
from jobs.errors import ConfigurationError
from jobs.horse_death import describe_exit
from jobs.parent_death import start_tied
from jobs.settings import Settings
from jobs.supervision import wait_before_restart

log = structlog.get_logger()

STOP_SECONDS = 25.0
_LAST_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_ROOT = Path(__file__).resolve().parent.parent


def require_cage(settings: Settings) -> None:
    """Look how well documents are shut in here; say so loudly when it is not as well as it can be.

    Raises:
        ConfigurationError: it is less than ``CAGE_LEVEL``.
    """
    level, wanted = extraction.cage_level(), extraction.CageLevel.named(settings.cage_level)
    if level < wanted:
        raise ConfigurationError(
            f"Documents can only be shut in at the level {level.name.lower()!r} here, and CAGE_LEVEL demands "
            f"{settings.cage_level!r}. Linux 5.13 or newer with Landlock and seccomp has all levels."
        )
    told = log.info if level is max(extraction.CageLevel) else log.warning
    told("cage", level=level.name.lower(), best=max(extraction.CageLevel).name.lower())


@dataclass
class _Place:
    """One of the pool's places: the worker in it, or when the next one is due."""

    queue: str
    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    wait: float = 0.0
    due_at: float = 0.0


class WorkerPool:
    """Starts ``WORKERS`` workers for each queue, and each again however it ends.

    Args:
        settings: how many, the queues, and which database to report a dead worker to.
        stop_seconds: how long a running job may go on after SIGTERM; then it goes back to the
            queue, uncounted.
        command: the program that runs one worker, given its name and its queue's; the real one when
            ``None``.
    """

    def __init__(
        self, settings: Settings, *, stop_seconds: float = STOP_SECONDS, command: list[str] | None = None
    ) -> None:
        self._settings = settings
        self._stop_seconds = stop_seconds
        self._command = command or [sys.executable, "-m", "jobs.rq_worker"]
        self._places = [_Place(queue) for queue in settings.queue_names for _ in range(settings.workers)]
        self._asked_at: float | None = None
        self._hurried = False

    def run(self) -> None:
        """Run until SIGTERM or SIGINT and until every worker has ended."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        while self._asked_at is None:
            for place in self._places:
                self._tend(place)
            time.sleep(_LOOK_SECONDS)
        self._stop()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        elif now - self._asked_at > 1.0:
            # A terminal, a platform and a supervisor may each send the first one.
            self._hurried = True

    def _tend(self, place: _Place) -> None:
        if place.process is None:
            if time.monotonic() >= place.due_at:
                self._start(place)
            return
        code = place.process.poll()
        if code is None:
            return
        place.process = None
        place.wait = wait_before_restart(time.monotonic() - place.started_at, place.wait)
        place.due_at = time.monotonic() + place.wait
        log.warning("worker_ended", worker=place.name, exit_code=code, restart_in_seconds=place.wait)
        report_dead_worker(self._settings, place.name, describe_exit("the worker process", code))

    def _start(self, place: _Place) -> None:
        place.name = new_worker_name()
        place.started_at = time.monotonic()
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        place.process = start_tied(
            [*self._command, place.name, place.queue],
            env={**os.environ, "PYTHONPATH": path},
        )

    def _stop(self) -> None:
        """Ask the workers to finish; later, or when asked again, tell them to end at once."""
        log.info("worker_pool_stopping")
        asked_at = self._asked_at or time.monotonic()
        self._signal_all(signal.SIGTERM)
        while self._running() and not self._hurried and time.monotonic() < asked_at + self._stop_seconds:
            time.sleep(_LOOK_SECONDS)
        # RQ takes a second signal within a second for an echo of the first.
        while self._running() and time.monotonic() < asked_at + 1.1:
            time.sleep(_LOOK_SECONDS)
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + _LAST_SECONDS
        while self._running() and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        for place in self._running():
            place.process.kill()  # type: ignore[union-attr]  # _running lists places with a process
            place.process.wait()  # type: ignore[union-attr]  # the same
            report_dead_worker(self._settings, place.name, "the worker did not stop and was killed")
        log.info("worker_pool_stopped")

    def _running(self) -> list[_Place]:
        return [place for place in self._places if place.process is not None and place.process.poll() is None]

    def _signal_all(self, number: signal.Signals) -> None:
        for place in self._running():
            place.process.send_signal(number)  # type: ignore[union-attr]  # _running lists places with a process
