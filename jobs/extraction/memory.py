"""Watch the resident memory of a process and its descendants through ``/proc``."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from jobs.peak_memory import note_child

_HIGH_WATER = re.compile(rb"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_RESIDENT = re.compile(rb"^VmRSS:\s+(\d+) kB", re.MULTILINE)
_MAX_PROCESSES = 64


class MemoryWatch:
    """Samples one process tree.

    Where there is no ``/proc`` every sample is 0, and the address-space limit alone holds.

    Args:
        pid: the root of the tree. It may end at any time; then a sample is 0.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_bytes = 0

    def sample(self) -> int:
        """Return the bytes that count against the limit now, and keep the peak.

        The root counts with its high-water mark, so that a peak between two samples is seen; its
        descendants count with what they hold.
        """
        total = _kilobytes(self._pid, _HIGH_WATER)
        total += sum(_kilobytes(pid, _RESIDENT) for pid in _descendants(self._pid))
        self.peak_bytes = max(self.peak_bytes, total * 1024)
        return total * 1024

    def tell(self) -> None:
        """Let the peak count as this process's doing, for whoever measures an attempt."""
        note_child(self.peak_bytes)


def _kilobytes(pid: int, pattern: re.Pattern[bytes]) -> int:
    try:
        found = pattern.search(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < _MAX_PROCESSES:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    # Threads, and the process itself, may end between the listing and the look.
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - this runs many times a second
            with contextlib.suppress(OSError):
                listed = Path(f"/proc/{pid}/task/{thread}/children").read_bytes()
                children += [int(word) for word in listed.split()]
    return children
