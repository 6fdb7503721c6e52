"""How well documents are shut in on this machine: found out by trying, in a child of the cage."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
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
    confine(Limits(), parent_pid)
    level = shut_in(scratch / cage.REQUEST_NAME, scratch)
    if level is CageLevel.SANDBOXED and _succeeds(lambda: os.close(os.open(_FOREIGN_FILE, os.O_RDONLY))):
        level = CageLevel.FILTERED
    if level is CageLevel.FILTERED and _succeeds(lambda: socket.socket().close()):
        level = CageLevel.LIMITS
    (scratch / cage.RESULT_NAME).write_text(json.dumps({"level": level.name}), encoding="ascii")


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
