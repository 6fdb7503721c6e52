"""The most memory that an attempt took, in a process that has seen other attempts before."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_RESET = Path("/proc/self/clear_refs")


class _Children:
    peak_bytes = 0


_children = _Children()


def note_child(peak_bytes: int) -> None:
    """Take note of the most memory that a process had which worked for this one.

    The system does not tell: such a process may be the child of another, and of its own children
    it names the largest that there ever was.
    """
    _children.peak_bytes = max(_children.peak_bytes, peak_bytes)


class PeakMemory:
    """Measures from one beginning to the next."""

    def begin(self) -> None:
        """Forget what was before, as far as the system can."""
        # Source: proc_pid_clear_refs(5): 5 makes the peak what is resident now.
        with contextlib.suppress(OSError):
            _RESET.write_text("5", "ascii")
        _children.peak_bytes = 0

    def so_far(self) -> int:
        """Return the most bytes that this process, or one that was noted, has had since then."""
        return max(_own_peak(), _children.peak_bytes)


def _own_peak() -> int:
    # Source: getrusage(2): kilobytes, but bytes on macOS.
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
