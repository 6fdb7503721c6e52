"""The most memory that an attempt took, in a process that has seen other attempts before."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures from one beginning to the next."""

    def __init__(self) -> None:
        self._children = 0

    def begin(self) -> None:
        """Forget what was before, as far as the system can."""
        # Source: proc_pid_clear_refs(5): 5 makes the peak what is resident now.
        with contextlib.suppress(OSError):
            _RESET.write_text("5", "ascii")
        self._children = _peak(resource.RUSAGE_CHILDREN)

    def so_far(self) -> int:
        """Return the most bytes that this process has had since then, or one of its children that ended.

        A child counts only if none before it was larger: the system tells of the largest alone.
        """
        children = _peak(resource.RUSAGE_CHILDREN)
        return max(_peak(resource.RUSAGE_SELF), children if children > self._children else 0)


def _peak(who: int) -> int:
    # Source: getrusage(2): kilobytes, but bytes on macOS.
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
