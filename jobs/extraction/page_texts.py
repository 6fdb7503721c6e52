"""A document as its pages: one Markdown made of theirs, taken apart again, and mended page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from jobs.extraction.result import Extraction, FailedPage

NO_TEXT = "No text was found in this document."
_LISTED = 20


def join(texts: Sequence[str]) -> tuple[str, list[int]]:
    """Make one Markdown of the pages'.

    Args:
        texts: the pages' Markdown in order; a page without text may be empty.

    Returns:
        The whole, and for each page the place where it begins, or would.
    """
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for text in texts:
        own = text.strip()
        starts.append(length)
        if own:
            parts.append(own)
            length += len(own) + 2
    return "\n\n".join(parts) + "\n", starts


def split(markdown: str, starts: Sequence[int]) -> list[str]:
    """Undo ``join``."""
    return [markdown[begin:end].strip() for begin, end in pairwise([*starts, len(markdown)])]


def failure_sentence(failed: Sequence[FailedPage], page_count: int | None) -> str:
    """Tell which pages could not be read."""
    numbers = ", ".join(f"{one.page:,}" for one in failed[:_LISTED])
    more = f" and {len(failed) - _LISTED:,} more" if len(failed) > _LISTED else ""
    of_all = f" of {page_count:,}" if page_count else ""
    are = "page" if len(failed) == 1 and not of_all else "pages"
    return f"{len(failed):,}{of_all} {are} could not be read: {numbers}{more}."


def merge(base: Extraction, more: Extraction, wanted: Sequence[int]) -> Extraction:
    """Put pages that were read later into an extraction that lacks them.

    Args:
        base: the extraction; it has ``page_starts``.
        more: another one of the same bytes, each of its pages in its own place.
        wanted: the pages to take from it, from 1.

    Returns:
        The whole. Language, title and metadata stay the first one's where that knows them.
    """
    failed = {one.page: one for one in base.failed_pages}
    still = {one.page: one for one in more.failed_pages}
    markdowns = dict(enumerate(split(base.markdown, base.page_starts), 1))
    plain = dict(enumerate(base.pages, 1))
    others = dict(enumerate(split(more.markdown, more.page_starts), 1))
    for page in wanted:
        if page in still:
            failed[page] = still[page]
        elif 0 < page <= len(more.pages):
            failed.pop(page, None)
            markdowns[page], plain[page] = others[page], more.pages[page - 1]
    last = max(plain, default=0)
    markdown, starts = join(_in_order(markdowns, last))
    pages = _in_order(plain, last)
    text = "\n\n".join(page for page in pages if page)
    left = [failed[page] for page in sorted(failed)]
    taken = set(wanted) - set(still)
    tables = [table for table in base.tables if table.page not in taken]
    tables += [table for table in more.tables if table.page in taken]
    return replace(
        base,
        text=text,
        markdown=markdown,
        title=base.title or more.title,
        language=base.language or more.language,
        metadata={
            **more.metadata,
            **base.metadata,
            "char_count": len(text),
            "word_count": len(text.split()),
        },
        engine="+".join(dict.fromkeys([*base.engine.split("+"), *more.engine.split("+")])),
        warnings=_warnings(base, more, left),
        pages=pages,
        page_starts=starts,
        failed_pages=left,
        tables=sorted(tables, key=lambda table: table.page or 0),
    )


def _in_order(found: Mapping[int, str], last: int) -> list[str]:
    return [found.get(page, "") for page in range(1, last + 1)]


def _warnings(base: Extraction, more: Extraction, left: list[FailedPage]) -> list[str]:
    gone = {failure_sentence(one.failed_pages, one.page_count) for one in (base, more) if one.failed_pages}
    kept = [warning for warning in base.warnings if warning not in gone]
    if any(base.pages) or any(more.pages):
        kept = [warning for warning in kept if warning != NO_TEXT]
    return [*kept, failure_sentence(left, base.page_count)] if left else kept
