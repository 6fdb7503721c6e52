"""How much processor time a tree of processes has used, and everything, from the system's own tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Return the processor seconds of everything on this machine, since it was started.

    Source: proc(5), ``/proc/stat``: user, nice, system, irq and softirq.
    """
    with Path("/proc/stat").open() as file:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND


def cpu_seconds(roots: Collection[int]) -> float:
    """Return the processor seconds of some processes and all their descendants, dead ones included.

    A process's own time and that of its children that ended and were waited for stand in its line, so nothing
    counts twice. Each line is exact to about two hundredths of a second.

    Args:
        roots: the ids of processes that live.

    Source: proc(5), ``/proc/[pid]/stat``, fields 4 and 14 to 17.
    """
    table: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It may end while it is being looked at.
            with contextlib.suppress(OSError):
                # The second field is the name in brackets, and may itself hold brackets and spaces.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                table[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    ticks, found = 0, {pid for pid in roots if pid in table}
    while found:
        ticks += sum(table[pid][1] for pid in found)
        found = {pid for pid, (parent, _) in table.items() if parent in found}
    return ticks / _TICKS_PER_SECOND
