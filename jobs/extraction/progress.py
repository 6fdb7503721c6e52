"""How far a reading is, as the child tells it in one line of its pipe."""

from __future__ import annotations

from typing import NamedTuple, Self

# More pages than any reader reads; what is beyond was not told by ours.
_MOST_PAGES = 1_000_000
LONGEST_LINE = 64


class Progress(NamedTuple):
    """How far a reading is.

    Attributes:
        share: of the work that is done, 0 to 1.
        page: how many pages are read, 0 where the format has none.
        page_count: how many are to be read, 0 while that is not known.
        at_page: the page in hand, 0 where several are read at once.
    """

    share: float
    page: int = 0
    page_count: int = 0
    at_page: int = 0

    def to_line(self) -> bytes:
        """Return the line that tells it; ``from_line`` reads it back."""
        return f"{self.share:.4f} {self.page} {self.page_count} {self.at_page}\n".encode("ascii")

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read a line that may come from an untrusted process; one number alone is the share.

        Raises:
            ValueError: it is no such line, or tells what cannot be.
        """
        first, *rest = line[:LONGEST_LINE].split()
        share = float(first)
        page, page_count, at_page = map(int, rest) if rest else (0, 0, 0)
        if not (0 <= share <= 1 and 0 <= page <= page_count <= _MOST_PAGES and 0 <= at_page <= _MOST_PAGES):
            raise ValueError("a progress that cannot be")
        return cls(share, page, page_count, at_page)

    def follows(self, other: Progress) -> bool:
        """Say whether this goes beyond another one and back in nothing."""
        ahead = self.share >= other.share and self.page >= other.page
        return ahead and self.page_count >= other.page_count and self != other
