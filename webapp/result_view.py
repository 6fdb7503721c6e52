"""What the page of a document shows of what was read: a page or a part of it, and what is searched for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from markupsafe import Markup

from jobs.extraction import Chunk, Extraction, Table
from webapp import markdown

T = TypeVar("T")

TEXT_PART_CHARS = 60_000
CHUNKS_PART = 40
TABLES_PART = 20
ROWS_SHOWN = 60
COLUMNS_SHOWN = 40
MOST_HITS = 50
_CONTEXT_CHARS = 70


@dataclass(frozen=True, slots=True)
class Hit:
    """A place in the text where the searched words are."""

    page: int | None
    part: int
    before: str
    words: str
    after: str


@dataclass(frozen=True, slots=True)
class ShownTable:
    """The beginning of a table, with its number and whole size."""

    number: int
    table: Table
    rows: list[list[str]]
    row_count: int
    column_count: int


@dataclass(slots=True)
class ResultView:
    """The right side of the page.

    Attributes:
        page: the page that it is limited to; ``None`` for the whole document.
        part: which part of what is too long for one, from 1.
        part_count: how many there are.
    """

    page: int | None
    part: int
    part_count: int = 1
    text: str = ""
    rendered: Markup | None = None
    tables: list[ShownTable] = field(default_factory=list)
    chunks: list[tuple[int, Chunk, str]] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)


def view_of(found: Extraction, tab: str, page: int | None, part: int) -> ResultView:
    """Choose what one tab shows.

    Args:
        found: what was read.
        tab: ``markdown``, ``text``, ``tables`` or ``chunks``; any other shows nothing of it.
        page: show this page only, from 1; ``None`` for all.
        part: of what is long, from 1; the nearest that there is.
    """
    if page is not None and page > len(found.pages):
        page = None
    view = ResultView(page, max(1, part))
    if tab == "text":
        text = found.text if page is None else found.pages[page - 1]
        view.text = _text_part(text, view)
    elif tab == "markdown":
        view.rendered = markdown.render(_text_part(_markdown(found, view), view))
    elif tab == "tables":
        if not any(table.page for table in found.tables):
            view.page = None
        numbered = [one for one in enumerate(found.tables, 1) if view.page in (None, one[1].page)]
        view.tables = [_shown(*one) for one in _part(numbered, TABLES_PART, view)]
    elif tab == "chunks":
        chunks = [one for one in enumerate(found.chunks) if page is None or _is_on(one[1], page)]
        shown = _part(chunks, CHUNKS_PART, view)
        view.chunks = [(index, chunk, found.text[chunk.start : chunk.end]) for index, chunk in shown]
    return view


def search(found: Extraction, words: str) -> list[Hit]:
    """Return the first places where words stand in the text, whatever their case."""
    if not words.strip():
        return []
    pattern = re.compile(r"\s+".join(map(re.escape, words.split())), re.IGNORECASE)
    starts = _page_starts(found)
    hits = []
    for match in pattern.finditer(found.text):
        begin, end = match.span()
        page = max((number for start, number in starts if start <= begin), default=None)
        before = found.text[max(0, begin - _CONTEXT_CHARS) : begin]
        after = found.text[end : end + _CONTEXT_CHARS]
        hits.append(Hit(page, begin // TEXT_PART_CHARS + 1, before, match.group(), after))
        if len(hits) == MOST_HITS:
            break
    return hits


def _page_starts(found: Extraction) -> list[tuple[int, int]]:
    """Return where pages begin in the text, with their numbers, as far as their texts follow each other."""
    starts, position = [], 0
    for number, page in enumerate(found.pages, 1):
        words = page.strip()
        begin = found.text.find(words, position) if words else -1
        if begin >= 0:
            starts.append((begin, number))
            position = begin + len(words)
    return starts


def _markdown(found: Extraction, view: ResultView) -> str:
    """Return the Markdown of the page, or of all where pages cannot be told in it."""
    if view.page is None or len(found.markdown_pages) != len(found.pages):
        view.page = None
        return found.markdown
    return found.markdown[found.markdown_pages[view.page - 1] : _end_of(found, view.page)]


def _end_of(found: Extraction, page: int) -> int:
    return found.markdown_pages[page] if page < len(found.markdown_pages) else len(found.markdown)


def _text_part(text: str, view: ResultView) -> str:
    """Return a part of a long text; parts end at line ends where these are near."""
    view.part_count = max(1, -(-len(text) // TEXT_PART_CHARS))
    view.part = min(view.part, view.part_count)
    return text[_border(text, view.part - 1) : _border(text, view.part)]


def _border(text: str, part: int) -> int:
    at = part * TEXT_PART_CHARS
    if at <= 0 or at >= len(text):
        return min(max(at, 0), len(text))
    line_end = text.rfind("\n", at - 2_000, at)
    return at if line_end < 0 else line_end + 1


def _part(found: Sequence[T], size: int, view: ResultView) -> Sequence[T]:
    view.part_count = max(1, -(-len(found) // size))
    view.part = min(view.part, view.part_count)
    return found[(view.part - 1) * size : view.part * size]


def _is_on(chunk: Chunk, page: int) -> bool:
    first, last = chunk.page_first, chunk.page_last
    return first is not None and last is not None and first <= page <= last


def _shown(number: int, table: Table) -> ShownTable:
    rows = [row[:COLUMNS_SHOWN] for row in table.rows[:ROWS_SHOWN]]
    return ShownTable(number, table, rows, len(table.rows), len(table.rows[0]) if table.rows else 0)
