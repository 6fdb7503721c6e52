"""Tables of PDF pages: what liteparse finds, put together from the words and rules of the page.

liteparse finds nearly every table but tears those apart that have headings between their rows, takes prose
for rows, and leaves out columns and lines that stand apart. Here the pieces are joined, what is prose goes
back to the text, and lines within a table's rules become its rows.
"""

from __future__ import annotations

import liteparse

from jobs.extraction.pdf_tables.finding import find
from jobs.extraction.pdf_tables.text import PageText
from jobs.extraction.pdf_tables.typography import Typography
from jobs.extraction.pdf_tables.writing import write

# With more words than this a page is no page that somebody reads.
_MOST_WORDS = 20_000

__all__ = ["Typography", "has_tables", "markdown_of"]


def has_tables(page: liteparse.ParsedPage) -> bool:
    """Say whether there is anything to put together on a page that was parsed with its blocks."""
    return any(block.kind == "table" for block in page.blocks or ())


def markdown_of(page: liteparse.ParsedPage, typography: Typography) -> str:
    """Return the Markdown of a page with its tables put together.

    Args:
        page: parsed with blocks and vector graphics.
        typography: the dashes and quotation marks of the page, which liteparse writes in plain ASCII.
    """
    text = PageText.of(page)
    if text.word_count > _MOST_WORDS:
        return str(page.markdown)
    return write(page.blocks or [], text, find(page, text), typography)
