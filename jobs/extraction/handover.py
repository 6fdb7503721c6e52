"""Takes members over from a child, which is not trusted: its files are looked at before they are read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Protocol

from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.result import Limits, Member
from jobs.model import JSON

MEMBERS_NAME = "members"


class MemberKeeper(Protocol):
    """Keeps the bytes of members."""

    def keep(self, name: str, file: BinaryIO) -> Member:
        """Copy a member's bytes.

        Args:
            name: as the document's sender gave it.
            file: its bytes, read once from their beginning.
        """


def take_members(scratch: Path, names: JSON, limits: Limits, keeper: MemberKeeper) -> list[Member]:
    """Hand the files that a child wrote to somebody who keeps them.

    Args:
        scratch: the child's folder; the child is dead.
        names: what the child says that its files ``0``, ``1`` and so on are called.
        limits: the bounds, which the child should have kept.
        keeper: gets them one by one.

    Raises:
        Fault: there are more than allowed, or larger, or one is anything but a plain file.
    """
    if not names:
        return []
    if not isinstance(names, list) or len(names) > limits.members:
        raise Fault(FaultCode.READER_CRASHED, detail="no valid members")
    left = limits.members_bytes
    kept: list[Member] = []
    try:
        folder = os.open(scratch / MEMBERS_NAME, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for number, name in enumerate(names):
                with _open(folder, number) as file:
                    size = _size_of(file)
                    left -= size
                    if not isinstance(name, str) or size > limits.member_bytes or left < 0:
                        raise Fault(FaultCode.READER_CRASHED, detail="no valid members")
                    kept.append(keeper.keep(name, file))
        finally:
            os.close(folder)
    except OSError as error:
        note = type(error).__name__
        raise Fault(FaultCode.READER_CRASHED, detail="no valid members", note=note) from error
    return kept


def _open(folder: int, number: int) -> BinaryIO:
    # Without waiting: a pipe would never open.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(str(number), flags, dir_fd=folder), "rb")


def _size_of(file: BinaryIO) -> int:
    """Return a plain file's size; a second name would be somebody else's file."""
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise Fault(FaultCode.READER_CRASHED, detail="no valid members")
    return found.st_size
