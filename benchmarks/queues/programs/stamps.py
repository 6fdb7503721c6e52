"""When each job was sent and when it began: a file that every process maps, so that a stamp costs no call.

Three numbers of 64 bits for each job, in nanoseconds of the system's one monotonic clock; 0: not yet.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

_CALLED, _COMMITTED, _STARTED, _EACH = 0, 1, 2, 3

with Path(os.environ["BENCH_STAMPS"]).open("r+b") as _file:
    _slots = memoryview(mmap.mmap(_file.fileno(), 0)).cast("q")


def called(number: int) -> None:
    """Note that the call that sends a job comes now."""
    _slots[_EACH * number + _CALLED] = time.monotonic_ns()


def committed(number: int) -> None:
    """Note that the job's row is committed, and that its worker is told now."""
    _slots[_EACH * number + _COMMITTED] = time.monotonic_ns()


def started(number: int) -> None:
    """Note that the job runs: its first line."""
    _slots[_EACH * number + _STARTED] = time.monotonic_ns()


def has_started(number: int) -> bool:
    """Tell whether the job has begun."""
    return _slots[_EACH * number + _STARTED] != 0
