"""How well documents are shut in on this machine: found out by trying, in a child of the cage."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobs.extraction import cage
from jobs.extraction.children import program_of
from jobs.extraction.confine import CageLevel, confine, shut_in
from jobs.extraction.faults import Fault
from jobs.extraction.result import Limits

_SECONDS = 20.0
# It is there on every machine, and no reader needs it.
_FOREIGN_FILE = "/etc/passwd"


def main() -> None:
    """Shut this process in and tell how far that went; the program that :func:`cage_level` starts."""
    scratch, parent_pid = Path(sys.argv[-3]), int(sys.argv[-1])
    level = _tried(scratch, parent_pid)
    (scratch / cage.RESULT_NAME).write_text(json.dumps({"level": level.name}), encoding="ascii")


def _tried(scratch: Path, parent_pid: int) -> CageLevel:
    """Shut this process in, and see whether it is; it is of no other use afterwards."""
    confine(Limits(), parent_pid)
    level = shut_in(scratch / cage.REQUEST_NAME, scratch)
    if level is CageLevel.SANDBOXED and _succeeds(lambda: os.close(os.open(_FOREIGN_FILE, os.O_RDONLY))):
        level = CageLevel.FILTERED
    if level is CageLevel.FILTERED and _succeeds(lambda: socket.socket().close()):
        level = CageLevel.LIMITS
    return level


def _has_one_thread() -> bool:
    """Say whether this process may be forked, which is much cheaper than a new interpreter."""
    tasks = Path("/proc/self/task")
    return tasks.is_dir() and len(list(tasks.iterdir())) == 1


def _forked() -> CageLevel:
    """Try it in a fork of this process."""
    parent_pid = os.getpid()
    with tempfile.TemporaryDirectory(prefix="cage-") as scratch:
        (Path(scratch) / cage.REQUEST_NAME).touch()
        pid = os.fork()
        if pid == 0:
            level = CageLevel.LIMITS
            try:
                os.setsid()
                level = _tried(Path(scratch), parent_pid)
            finally:
                os._exit(level)
        _pid, status = os.waitpid(pid, 0)
    # Whatever ended it otherwise has not shut it in.
    return CageLevel(os.WEXITSTATUS(status)) if os.WIFEXITED(status) else CageLevel.LIMITS


def _succeeds(attempt: Callable[[], None]) -> bool:
    with contextlib.suppress(OSError):
        attempt()
        return True
    return False


@functools.cache
def cage_level() -> CageLevel:
    """Return how well a document is shut in here; it is tried once in a process's life.

    Returns:
        The level; the lowest when the child cannot be started.
    """
    if _has_one_thread():
        return _forked()
    try:
        answer, _usage = cage.run(
            {},
            limits=Limits(),
            seconds=_SECONDS,
            on_progress=lambda _share: None,
            program=program_of("strength"),
        )
        return CageLevel[str(answer.get("level"))]
    except (Fault, KeyError):
        return CageLevel.LIMITS
