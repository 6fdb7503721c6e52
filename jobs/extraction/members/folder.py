"""The folder that members are written into, with its bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from jobs.extraction.result import Limits

# A member may grow to so many times its packed size, once it is larger than the second figure.
_RATIO = 200
_FREE_OF_RATIO_BYTES = 8 * 1024 * 1024
_NAME_CHARS = 1_000


class Enough(Exception):
    """A bound of the whole document is reached: nothing more is taken out."""


class MemberFolder:
    """Numbered files, bounded in number, in size and together.

    Args:
        folder: made with the first member.
        limits: the bounds.

    Attributes:
        names: of the files, in order.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.names: list[str] = []
        self._folder = folder
        self._limits = limits
        self._left = limits.members_bytes
        self._left_out: Counter[str] = Counter()
        self._stopped = ""

    def add(self, name: str, chunks: Iterable[bytes], packed: int | None = None) -> None:
        """Write a member.

        Args:
            name: as the sender gave it; never a path here.
            chunks: its bytes.
            packed: how many bytes it takes in the archive, where known.

        Raises:
            Enough: the document has more members, or more bytes in them, than are taken.
        """
        if len(self.names) >= self._limits.members:
            raise self.enough(f"Only the first {self._limits.members:,} members were taken out.")
        self._folder.mkdir(exist_ok=True)
        path = self._folder / str(len(self.names))
        most = min(self._limits.member_bytes, self._limits.file_bytes)
        if packed is not None:
            most = min(most, max(_FREE_OF_RATIO_BYTES, _RATIO * packed))
        size = 0
        is_whole = False
        try:
            with path.open("xb") as file:
                for chunk in chunks:
                    size += len(chunk)
                    if size > self._left:
                        raise self.enough("Not all members were taken out: together they are too large.")
                    if size > most:
                        self.leave_out("they are too large")
                        return
                    file.write(chunk)
            is_whole = True
        finally:
            if not is_whole:
                path.unlink(missing_ok=True)
        self._left -= size
        self.names.append(name[:_NAME_CHARS])

    def leave_out(self, cause: str) -> None:
        """Note that a member was left out.

        Args:
            cause: the rest of a sentence, as in "they are protected".
        """
        self._left_out[cause] += 1

    def warnings(self) -> list[str]:
        """Return a sentence for each cause that something was left out."""
        told = [
            f"{count:,} {'member was' if count == 1 else 'members were'} left out: {cause}."
            for cause, count in self._left_out.items()
        ]
        return [*told, self._stopped] if self._stopped else told

    def enough(self, warning: str) -> Enough:
        """Note why nothing more is taken out, and return what is to be raised."""
        self._stopped = warning
        return Enough(warning)
