"""Honcho with restarts: a process that ends is started again, the others never notice.

Plain honcho ends everything as soon as one process ends. Here each process has a keeper (honcho
runs one small process per line anyway, to read its output) which starts it again after a
short wait, and which alone decides about stopping: first SIGTERM, then SIGTERM again for those that
finish their work in hand, then SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from honcho.manager import Manager
from honcho.process import Popen, Process

from jobs.parent_death import die_with_parent, tied_to_this_process

ASK_AGAIN_AFTER_SECONDS = 7.0
KILL_AFTER_SECONDS = 9.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0
# A process that lived this long is not blamed for its earlier ends.
HEALTHY_AFTER_SECONDS = 20.0


def wait_before_restart(lived_seconds: float, last_wait: float) -> float:
    """Say how long to wait before a process is started again.

    Args:
        lived_seconds: how long it ran.
        last_wait: the wait before that run; 0 for the first.

    Returns:
        Seconds; doubled each time, back to the first after a healthy run.
    """
    if lived_seconds >= HEALTHY_AFTER_SECONDS or last_wait <= 0:
        return FIRST_WAIT_SECONDS
    return min(last_wait * 2, LONGEST_WAIT_SECONDS)


class KeptProcess(Process):  # type: ignore[misc]  # honcho is not typed
    """One line of the Procfile, kept running until it is told to stop.

    Attributes:
        stopping: set by the manager: end the process, start it no more.
        killing: set by the manager: end it at once.
        manager_pid: the launcher's process id.
    """

    stopping: Any
    killing: Any
    manager_pid: int

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: ARG002  # honcho's signature
        """Keep the process running. This is a process's main function."""
        # A terminal's Ctrl-C reaches the keepers too; only the manager decides. A handler that does
        # nothing, because an ignored signal would stay ignored in the process that is started.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        # A keeper killed with the launcher takes its process along, by the tie in _start.
        die_with_parent(signal.SIGKILL, self.manager_pid)
        self._events = events
        threading.Thread(target=self._end_when_told, daemon=True).start()
        wait = 0.0
        code = 0
        while not self.stopping.is_set():
            started = time.monotonic()
            self._start()
            code = self._read_until_end()
            if self.stopping.is_set():
                break
            wait = wait_before_restart(time.monotonic() - started, wait)
            self._send_message(f"ended ({code}); starting again in {wait:g} s\n".encode())
            self.stopping.wait(wait)
        self._send_message({"returncode": code}, type="stop")

    def _start(self) -> None:
        self._child = Popen(
            self.cmd, env=self.env, cwd=self.cwd, preexec_fn=tied_to_this_process(signal.SIGTERM)
        )
        self._send_message({"pid": self._child.pid}, type="start")
        if self.stopping.is_set():
            # The order to stop came between the check and the start.
            _signal_group(self._child.pid, signal.SIGTERM)

    def _read_until_end(self) -> int:
        """Pass the output on until the process ends.

        The end of the output is not awaited: a grandchild that outlives the process, if only for a
        moment, holds the pipe open.
        """
        child = self._child
        reader = threading.Thread(target=self._pass_output_on, args=(child.stdout,), daemon=True)
        reader.start()
        code = child.wait()
        # Whatever it left behind in its session would hold the port or the lock of the next one.
        _signal_group(child.pid, signal.SIGTERM)
        reader.join(1.0)
        return int(code)

    def _pass_output_on(self, stream: Any) -> None:
        for line in iter(stream.readline, b""):
            self._send_message(line)
        stream.close()

    def _end_when_told(self) -> None:
        while not self.stopping.wait(1.0):
            # Where the kernel does not tell.
            if os.getppid() != self.manager_pid:
                self.stopping.set()
        for death_signal, seconds in (
            (signal.SIGTERM, ASK_AGAIN_AFTER_SECONDS),
            (signal.SIGTERM, KILL_AFTER_SECONDS - ASK_AGAIN_AFTER_SECONDS),
            (signal.SIGKILL, 0.0),
        ):
            # Told to stop while it was being started, the child is not there yet.
            if self._child is not None and self._child.poll() is None:
                _signal_group(self._child.pid, signal.SIGKILL if self.killing.is_set() else death_signal)
            self.killing.wait(seconds)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


class RestartingManager(Manager):  # type: ignore[misc]  # honcho is not typed
    """Honcho's manager with processes that are kept running.

    Args:
        printer: where the lines go; honcho's own when ``None``.
    """

    def __init__(self, printer: Any = None) -> None:
        super().__init__(printer)
        self._process_ctor = KeptProcess
        # Never through a fork server: a keeper's parent must be this process. A fork is safe on Linux only.
        self._context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self.events = self._context.Queue()
        self._stopping = self._context.Event()
        self._killing = self._context.Event()
        self._first_signal_at = 0.0
        self._signalled_twice = False

    def add_process(self, *args: Any, **kwargs: Any) -> KeptProcess:
        """Add a line; see honcho's method."""
        process: KeptProcess = super().add_process(*args, **kwargs)
        process.stopping = self._stopping
        process.killing = self._killing
        process.manager_pid = os.getpid()
        return process

    def start(self) -> None:
        """Start every process. To be called before this program has threads."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        for name, kept in self._processes.items():
            kept["process"] = self._context.Process(
                name=name, target=kept["obj"].run, args=(self.events, True)
            )
            kept["process"].start()

    def loop(self) -> None:
        """Print what the processes say until all have ended, which is after :meth:`terminate`."""
        stopped: set[str] = set()
        while len(stopped) < len(self._processes):
            if self._first_signal_at:
                self._stopping.set()
            if self._signalled_twice:
                self._killing.set()
            try:
                message = self.events.get(timeout=0.2)
            except queue.Empty:
                stopped.update(
                    name for name, kept in self._processes.items() if not kept["process"].is_alive()
                )
                continue
            if message.type == "line":
                self._printer.write(message)
            elif message.type == "stop":
                stopped.add(message.name)
        for kept in self._processes.values():
            kept["process"].join()

    def terminate(self) -> None:
        """Ask every process to end; a second call, a second later or more, ends them at once.

        Only notes it down, and so may be called from a signal handler; :meth:`loop` acts on it. One
        Ctrl-C may arrive twice, from the terminal and from ``make``.
        """
        now = time.monotonic()
        if not self._first_signal_at:
            self._first_signal_at = now
        elif now - self._first_signal_at > 1.0:
            self._signalled_twice = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.terminate()
