"""Tie a process to its parent, so that nothing lingers when the parent is killed with -9.

Linux can send a signal to a process at its parent's death. Where that does not exist (macOS), the
processes look at their parent's id from time to time instead.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

# Source: linux/prctl.h.
_PR_SET_PDEATHSIG = 1

# Loaded before any fork: a child between fork and exec must not wait for the import lock.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(death_signal: signal.Signals, parent_pid: int) -> None:
    """Ask the kernel for a signal at the parent's death. To be called in the child.

    The kernel means the parent's *thread*: the one that forked must live as long as the parent.

    Args:
        death_signal: what to receive.
        parent_pid: the parent as it was before the fork; when it is gone already, this process
            ends itself with the signal, because the kernel sends nothing afterwards.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), death_signal)


def tied_to_this_process(death_signal: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """Return a ``preexec_fn`` for :class:`subprocess.Popen` that ties the child to this process.

    Args:
        death_signal: what the child receives when this process dies.
    """
    parent_pid = os.getpid()

    def tie() -> None:
        die_with_parent(death_signal, parent_pid)

    return tie


def start_tied(
    command: Sequence[str], death_signal: signal.Signals = signal.SIGTERM, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program that does not outlive this process, nor the thread that calls this.

    Args:
        command: the program and its arguments.
        death_signal: what the program receives when this process dies.
        **options: as for :class:`subprocess.Popen`.
    """
    tie = tied_to_this_process(death_signal)
    # What runs between fork and exec is one system call, which threads of this process cannot disturb.
    return subprocess.Popen(command, preexec_fn=tie, **options)  # noqa: PLW1509
