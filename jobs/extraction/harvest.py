"""The pages that children have delivered so far, as the waiting process has read and checked them."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from jobs.extraction.page_log import PAGES_NAME
from jobs.extraction.progress import Progress
from jobs.extraction.result import Limits, storable

OnPages = Callable[[Mapping[int, str], int], None]
"""Takes the Markdown of the pages that are read, by number from 1, and how many there are to read."""


class Harvest:
    """What is known of a document's pages while they are read; it outlives each child.

    Args:
        limits: bound what is taken from all children together.
        on_pages: called with what is there when there is more of it.

    Attributes:
        texts: the Markdown of each page that is done, by number from 1.
        failed: the pages that are given up, and the code of the fault.
        at: what was told last.
    """

    def __init__(self, limits: Limits, on_pages: OnPages | None = None) -> None:
        self._limits = limits
        self._on_pages = on_pages
        self._left = limits.result_bytes
        self._offset = 0
        self.texts: dict[int, str] = {}
        self.failed: dict[int, str] = {}
        self.at = Progress(0.0)

    def begin(self) -> None:
        """Get ready for a child of its own scratch folder."""
        self._offset = 0
        self.at = self.at._replace(at_page=0)

    def collect(self, scratch: Path) -> None:
        """Take the pages that a child has written since the last time.

        The child is not trusted: what is no page, or too much, is left where it is.

        Args:
            scratch: its folder.
        """
        lines = self._new_lines(scratch / PAGES_NAME)
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                told = json.loads(line)
                page, text = told if isinstance(told, list) and len(told) == 2 else (None, None)
                if type(page) is int and 0 < page <= self._limits.max_pages and type(text) is str:
                    self.texts[page] = storable(text)
        if lines and self._on_pages is not None:
            self._on_pages(self.texts, max(self.at.page_count, len(self.texts)))

    def _new_lines(self, path: Path) -> list[bytes]:
        try:
            # A child might put a pipe there, and nobody should wait for it.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return []
            file.seek(self._offset)
            whole, end, _rest = file.read(self._left).rpartition(b"\n")
        taken = len(whole) + len(end)
        self._offset += taken
        self._left -= taken
        return whole.split(b"\n") if whole else []
