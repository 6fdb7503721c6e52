"""Who is whose child, from the system's table of processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A living process."""

    pid: int
    parent: int
    arguments: tuple[str, ...]


def read_processes() -> dict[int, Process]:
    """Return every living process by its id; the dead that nobody has waited for do not count."""
    if not Path("/proc/self/stat").exists():
        return _from_ps()
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # It may end while it is being looked at.
            with contextlib.suppress(OSError, IndexError):
                process = _from_proc(int(entry.name))
                if process is not None:
                    found[process.pid] = process
    return found


def children(processes: dict[int, Process], parent: int) -> list[Process]:
    """Return the children of a process, oldest first."""
    return sorted(
        (process for process in processes.values() if process.parent == parent),
        key=lambda process: process.pid,
    )


def _from_proc(pid: int) -> Process | None:
    # The second field is the name in brackets, and may itself hold brackets and spaces.
    state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    if state in {"Z", "X"}:
        return None
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    return Process(pid, int(parent), tuple(filter(None, arguments)))


def _from_ps() -> dict[int, Process]:
    listing = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
    )
    found = {}
    for line in listing.stdout.splitlines():
        pid, parent, state, *arguments = line.split()
        if not state.startswith("Z"):
            found[int(pid)] = Process(int(pid), int(parent), tuple(arguments))
    return found
