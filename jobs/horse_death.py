"""How a process ended, told for people: by which signal, limit or exit, and with how much memory.

The kernel's out-of-memory killer sends the same SIGKILL as anybody else. It counts what it kills,
for each control group and for the machine: only a count that rose shows that it was the killer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from resource import struct_rusage

# Of two processes the kernel then takes the work horse, or a program that it started, rather than a web
# process or a database on the same machine; of horses the largest. A thousand would mean always.
_OOM_SCORE = 500


def describe_death(
    status: int | None, usage: struct_rusage | None, *, ran_out_of_memory: bool = False, cause: str = ""
) -> str:
    """Say how a work horse ended.

    Args:
        status: what ``wait4`` returned; ``None`` when there was no such process any more.
        usage: its rusage, children included.
        ran_out_of_memory: whether the kernel is known to have killed a process for want of memory.
        cause: what is known better than the status tells.

    Returns:
        A sentence without its full stop, e.g. ``"the work process was killed by signal 11 (SIGSEGV),
        having used 212 MB"``.
    """
    if status is None:
        return cause or "the work process vanished"
    code = os.waitstatus_to_exitcode(status)
    if not cause and code == -signal.SIGKILL and ran_out_of_memory:
        cause = f"the work process ran out of memory and was killed by the system, {_signal_name(-code)}"
    peak = peak_memory_bytes(usage)
    used = "" if peak is None else f", having used {peak / 1_000_000:.0f} MB"
    return f"{cause or describe_exit('the work process', code)}{used}"


def describe_exit(what: str, code: int) -> str:
    """Say how a process ended.

    Args:
        what: names the process.
        code: its exit code, or the negative number of the signal that ended it.
    """
    if code < 0:
        return f"{what} was killed by {_signal_name(-code)}"
    return f"{what} ended with exit code {code}"


def peak_memory_bytes(usage: struct_rusage | None) -> int | None:
    """Return the most memory that one process of those that a rusage counts has had, in bytes."""
    if usage is None:
        return None
    # Source: getrusage(2): kilobytes, but bytes on macOS.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def oom_kills(root: Path = Path("/")) -> int | None:
    """Count the processes that the kernel has killed so far for want of memory.

    Those of this process's control group where it can be read, because the machine may be shared with
    strangers; those of the whole machine otherwise. A rise is no proof which process of the group it was.

    Args:
        root: of the file system.

    Returns:
        The count, or ``None`` where the system does not tell.
    """
    for path in _counters(root):
        with contextlib.suppress(OSError):
            for line in path.read_text("ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return None


def prefer_as_oom_victim() -> None:
    """Let the kernel take this process, and what it starts, first when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), "ascii")


def _counters(root: Path) -> Iterator[Path]:
    """Yield the files that may hold the count, the nearest first.

    Source: linux/Documentation/admin-guide/cgroup-v2.rst (memory.events), cgroup-v1/memory.rst.
    """
    groups = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield groups / path.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield groups / "memory" / path.lstrip("/") / "memory.oom_control"
                # In a container the path may be the host's, and the container's own group the root.
                yield groups / "memory/memory.oom_control"
    yield groups / "memory.events"
    yield root / "proc/vmstat"


def _signal_name(number: int) -> str:
    known = number in set(signal.Signals)
    return f"signal {number} ({signal.Signals(number).name if known else 'unknown'})"
