"""Take tables out of Markdown, and keep what readers found within bounds."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, dropwhile, pairwise

from jobs.extraction.markdown import LineKind, cells, heading_of, is_table_rule, lines_of
from jobs.extraction.result import Table

CELLS_KEPT = 200_000
_TABLES_KEPT = 1_000
_TITLE_CHARS = 200


def tables_in(markdown: str, page_starts: Sequence[int] = ()) -> list[Table]:
    """Return the tables of a Markdown text, in its order.

    A heading that stands right before a table is its title: that is how sheets are written. Without a
    title, what has one row or one column only was put into a table for its looks and is none.

    Args:
        markdown: the text; what stands in code blocks is no table.
        page_starts: where each page begins in it, if it has any.
    """
    if "|" not in markdown or "--" not in markdown:
        return []
    found: list[Table] = []
    title: str | None = None
    rows: list[list[str]] | None = None
    page: int | None = None
    place = 0
    for (line, kind), (following, _) in pairwise(chain(lines_of(markdown), [("", LineKind.OTHER)])):
        is_code = kind is not LineKind.OTHER
        began, place = place, place + len(line) + 1
        if rows is not None and not is_code and "|" in line:
            if not is_table_rule(line):
                rows.append(cells(line))
            continue
        if rows is not None:
            _keep(found, rows, title, page)
            rows = title = None
        if is_code:
            title = None
        elif "|" in line and is_table_rule(following) and line.count("|") >= following.count("|") - 1:
            rows = [cells(line)]
            page = bisect.bisect_right(page_starts, began) or None
        elif line.strip():
            heading = heading_of(line)
            title = heading[1][:_TITLE_CHARS] or None if heading else None
    if rows is not None:
        _keep(found, rows, title, page)
    return found


def _keep(found: list[Table], rows: list[list[str]], title: str | None, page: int | None) -> None:
    rows = _trimmed(rows)
    if rows and (title or (len(rows) > 1 and len(rows[0]) > 1)):
        found.append(Table(rows, page, title))


def _trimmed(rows: list[list[str]]) -> list[list[str]]:
    """Drop empty rows at both ends, and columns on the right that are empty throughout."""
    while rows and not any(rows[-1]):
        rows.pop()
    rows = list(dropwhile(lambda row: not any(row), rows))
    width = max((_last_filled(row) for row in rows), default=0)
    return [row[:width] for row in rows]


def _last_filled(row: list[str]) -> int:
    return next((place for place in range(len(row), 0, -1) if row[place - 1]), 0)


def bounded(tables: Iterable[Table], chars: int) -> tuple[list[Table], bool]:
    """Make every row of each table as long as its longest, and keep the beginning of what is too much.

    Args:
        tables: as a reader found them.
        chars: how many characters all cells together may have.

    Returns:
        The tables, at most 1,000 with 200,000 cells together, and whether nothing was left out.
    """
    kept: list[Table] = []
    cells_left, chars_left = CELLS_KEPT, chars
    for table in tables:
        width = max((len(row) for row in table.rows), default=0)
        if not width:
            continue
        if len(kept) == _TABLES_KEPT:
            return kept, False
        rows: list[list[str]] = []
        for row in _filled(table.rows, width):
            cells_left -= width
            chars_left -= sum(map(len, row))
            if cells_left < 0 or chars_left < 0:
                break
            rows.append(row)
        if rows:
            kept.append(Table(rows, table.page, table.title))
        if len(rows) < len(table.rows):
            return kept, False
    return kept, True


def _filled(rows: list[list[str]], width: int) -> Iterator[list[str]]:
    for row in rows:
        yield row if len(row) == width else row + [""] * (width - len(row))
