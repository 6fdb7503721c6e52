"""A child of the cage, whichever way it was started; and the cold way: a new interpreter.

``warm`` starts children the other way, by a fork of a process that has the engines imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PROJECT_ROOT = Path(__file__).resolve().parents[2]
# Isolated mode ignores PYTHONPATH, the user's packages and the working folder, so the one folder
# that the child needs is named to it.
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from jobs.extraction.{} import main; main()"


def program_of(module: str) -> tuple[str, ...]:
    """Return the command that runs ``main`` of a module of this package in isolation."""
    return (sys.executable, "-I", "-c", _BOOT.format(module), str(PROJECT_ROOT))


CHILD_PROGRAM = program_of("child")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended.

    Attributes:
        returncode: the exit status, or the signal's number below 0.
        cpu_seconds: processor time that it used.
        peak_bytes: the peak of its resident memory as the kernel counted it, 0 when not known.
    """

    returncode: int
    cpu_seconds: float
    peak_bytes: int = 0


class Child(Protocol):
    """One process that reads one document, with whatever it starts."""

    @property
    def pid(self) -> int | None:
        """Its process id, ``None`` until it runs."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable with news for ``collect``, -1 for none."""

    def collect(self) -> Exit | None:
        """Take what is known of its end without waiting; ``None`` while it runs.

        Raises:
            Fault: the process that watches over it is lost.
        """

    def end(self) -> None:
        """Kill it and its group if it still runs, leave no zombie, and close what belongs to it."""


def environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a child; nothing of this process's own is passed on.

    Args:
        home: its scratch folder, the only one in which it finds a place for files.
    """
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "TESSDATA_PREFIX": str(Path(sys.prefix) / "share" / "tessdata"),
        "HF_HUB_OFFLINE": "1",
        "OMP_THREAD_LIMIT": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class ColdChild:
    """A child that was started as a program of its own. It dies with the thread that made it.

    Args:
        program: the command; it gets the scratch folder, the descriptor for progress and this
            process's id as its last three arguments.
        scratch: its folder.
        progress: the end of a pipe that it writes to.

    Raises:
        OSError: the machine cannot start it.
    """

    def __init__(self, program: Sequence[str], scratch: Path, progress: int) -> None:
        self._process = subprocess.Popen(
            [*program, str(scratch), str(progress), str(os.getpid())],
            env=environment(scratch),
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            pass_fds=(progress,),
            start_new_session=True,
        )
        self._news = _death_notice(self._process.pid)
        self._exit: Exit | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return a descriptor that becomes readable at its death; -1 where there is no such thing."""
        return self._news

    def collect(self) -> Exit | None:
        """Take its end, ``None`` while it runs."""
        return self._collect(os.WNOHANG)

    def end(self) -> None:
        """Kill it and its group, and leave no zombie."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The group outlives its leader while a descendant lives, so this comes even after a reap.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._collect(0)
        if self._news >= 0:
            os.close(self._news)
            self._news = -1

    def _collect(self, options: int) -> Exit | None:
        if self._exit is None:
            pid, status, used = os.wait4(self._process.pid, options)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._exit = Exit(self._process.returncode, used.ru_utime + used.ru_stime)
        return self._exit


def _death_notice(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        # Not Linux, or a kernel or container without it: the cage then looks from time to time.
        return -1
