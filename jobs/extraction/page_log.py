"""The child's book of pages: tells which one is in hand, and writes down those that are done.

What is done stands in a file of the scratch folder, from where the waiting process shows it to people, and
goes on with it if this child does not survive the next page.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from jobs.extraction.progress import Progress

PAGES_NAME = "pages.jsonl"

# Nobody looks at the pages of a document that is read so soon.
_WRITE_AFTER_SECONDS = 0.7


class PageLog:
    """Takes note of pages; made for one reading.

    Args:
        tell: takes a line for the pipe.
        path: the file for the pages that are done; none is written without it.
        at_once: whether to write each page as soon as it is done, because the next may be the last.
    """

    def __init__(
        self, tell: Callable[[bytes], object], path: Path | None = None, *, at_once: bool = False
    ) -> None:
        self._tell = tell
        self._path = path
        self._write_at = 0.0 if at_once else time.monotonic() + _WRITE_AFTER_SECONDS
        self._unwritten: list[tuple[int, str]] = []
        self._at = Progress(0.0)

    def expect(self, page_count: int, done: int = 0) -> None:
        """Say how many pages there are to read, and how many of them had been read before."""
        self._at = self._at._replace(page=done, page_count=page_count)

    def begin(self, page: int) -> None:
        """Tell which page is touched next; pages count from 1."""
        self._at = self._at._replace(at_page=page)
        self._tell(self._at.to_line())

    def done(self, page: int, markdown: str) -> None:
        """Take note of a page's text; it is told with the next report."""
        self._unwritten.append((page, markdown))
        self._count()

    def failed(self) -> None:
        """Take note that a page was given up."""
        self._count()

    def report(self, share: float) -> None:
        """Tell how much of the work is done, 0 to 1, and what became of the pages by now."""
        if time.monotonic() >= self._write_at:
            self._write()
        self._at = self._at._replace(share=min(1.0, max(share, self._at.share)))
        self._tell(self._at.to_line())

    def _count(self) -> None:
        at = self._at
        self._at = at._replace(page=min(at.page + 1, at.page_count), at_page=0)

    def _write(self) -> None:
        pages, self._unwritten = self._unwritten, []
        if self._path is None or not pages:
            return
        lines = [json.dumps([page, markdown]) + "\n" for page, markdown in pages]
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write("".join(lines).encode("ascii"))


def silent() -> PageLog:
    """Return a book that nobody reads."""
    return PageLog(lambda _line: None)
