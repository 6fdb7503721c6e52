"""Mend one table: rows that hold several, prose taken for rows, a column that was left out, its heading."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from jobs.extraction.pdf_tables.grid import Column, Grid, Row
from jobs.extraction.pdf_tables.text import Line, PageText, Rule, Word, overlap, words_text

# A space narrower than this part of the words' height stands between words of one sentence.
_WORD_SPACE = 0.5
_LEAST_GOOD, _LEAST_GOOD_SHARE = 2, 0.33
_LEAST_FILLED = 0.4
_LEAST_LINES = 3
_FULL_SHARE = 0.7
_LEAST_LEFT_SHARE = 0.5
_MOST_STRAY_SHARE = 0.34
_MOST_HEADING_LINES = 6
_NUMBER = re.compile(
    r"[^\w]{0,3}\d[\d.,:%\s\N{EN DASH}\N{EM DASH}/-]*\W{0,3}"
    r"|[-\N{EN DASH}\N{EM DASH}\N{DAGGER}\N{DOUBLE DAGGER}*.]+"
    r"|n\.?a\.?",
    re.IGNORECASE,
)


def word_height(grid: Grid, text: PageText) -> float:
    """Return the usual height of the words in a table."""
    heights = [word.height for line in text.between(grid.top, grid.bottom) for word in line]
    return statistics.median_high(heights) if heights else 10.0


def part_rows(grid: Grid, text: PageText) -> None:
    """Part rows that hold several lines because no rules are drawn between those."""
    rows: list[Row] = []
    for row in grid.rows:
        lines = text.within(grid.left - 2, row.top - 0.5, grid.right + 2, row.bottom + 0.5)
        parts = [grid.row_of(line) for line in lines]
        least = max(2, len(grid.columns) / 2)
        is_full = [part.filled >= least for part in parts]
        enough = max(_LEAST_LINES, _FULL_SHARE * len(parts))
        if not parts or not is_full[0] or sum(is_full) < enough:
            rows.append(row)
            continue
        for part, begins in zip(parts, is_full, strict=True):
            part.edges = row.edges
            if begins:
                rows.append(part)
            else:
                _append(rows[-1], part)
    grid.rows = rows


def cut_prose(grid: Grid, text: PageText) -> bool:
    """Cut off the rows at both ends that are sentences; return whether a table is left."""
    is_prose = [_is_prose(row, grid, text) for row in grid.rows]
    good = [place for place, row in enumerate(grid.rows) if row.filled >= _LEAST_GOOD and not is_prose[place]]
    if len(good) < max(_LEAST_GOOD, _LEAST_GOOD_SHARE * _written(grid.rows)):
        return False
    first, last = good[0], good[-1] + 1
    if len(good) < _written(grid.rows[first:last]) / 2:
        return False
    begin = first if any(is_prose[:first]) else 0
    end = last if any(is_prose[last:]) else len(grid.rows)
    grid.rows = grid.rows[begin:end]
    return True


def is_sparse(grid: Grid) -> bool:
    """Say whether so many cells are empty that it is rather a chart."""
    cells = len(grid.columns) * len(grid.rows)
    return sum(row.filled for row in grid.rows) < _LEAST_FILLED * cells


def add_left_column(grid: Grid, grids: Sequence[Grid], text: PageText) -> None:
    """Take the words on the left of the rows for a column that was left out."""
    if any(other.right <= grid.left and _is_beside(other, grid) for other in grids if other is not grid):
        return
    found: dict[int, list[Word]] = {}
    stray = count = place = 0
    for line in text.between(grid.top - 1, grid.bottom + 1):
        words = [word for word in line if word.right <= grid.left + 1]
        if not words:
            continue
        count += 1
        centre = line[0].centre
        while place < len(grid.rows) - 1 and grid.rows[place].bottom + 1 < centre:
            place += 1
        if grid.rows[place].top - 1 <= centre <= grid.rows[place].bottom + 1:
            found.setdefault(place, []).extend(words)
        else:
            stray += 1
    if len(found) < max(2, _LEAST_LEFT_SHARE * len(grid.rows)) or stray > _MOST_STRAY_SHARE * count:
        return
    words = [word for row in found.values() for word in row]
    column = Column(min(word.left for word in words), max(word.right for word in words))
    grid.columns.insert(0, column)
    grid.left = column.left
    for number, row in enumerate(grid.rows):
        row.cells.insert(0, words_text(found.get(number, [])))


def drop_empty_rows(grid: Grid) -> None:
    """Drop the rows in which nothing stands."""
    grid.rows = [row for row in grid.rows if row.filled]


def join_heading(grid: Grid, text: PageText) -> None:
    """Make one row of the lines of a heading that no rule parts."""
    first = next((place for place, row in enumerate(grid.rows) if _is_body(row)), 0)
    if not 2 <= first <= _MOST_HEADING_LINES:
        return
    height = word_height(grid, text)
    heading = [grid.rows[0]]
    for row in grid.rows[1:first]:
        last = heading[-1]
        is_near = row.top - last.bottom < height / 2 and row.bottom - row.top < 1.6 * height
        if is_near and not _is_parted(last, row, grid, text.rules, height):
            _append(last, row)
        else:
            heading.append(row)
    grid.rows[:first] = heading


def _written(rows: Sequence[Row]) -> int:
    return sum(row.filled > 0 for row in rows)


def _append(row: Row, more: Row) -> None:
    row.cells = [f"{one} {other}".strip() for one, other in zip(row.cells, more.cells, strict=True)]
    row.bottom = more.bottom


def _is_prose(row: Row, grid: Grid, text: PageText) -> bool:
    """Say whether words go on over the edges of the cells as they do in a sentence."""
    crossed = prose = 0
    for line in text.within(grid.left - 1, row.top - 0.5, grid.right + 1, row.bottom + 0.5):
        for gap in _gaps(line, row.edges):
            crossed += 1
            prose += gap
    return crossed > 0 and prose >= crossed / 2


def _gaps(line: Line, edges: Sequence[float]) -> list[bool]:
    """Say for each edge that a line crosses whether the space there is one between words."""
    found: list[bool] = []
    for edge in edges:
        left = [word for word in line if word.middle < edge]
        right = [word for word in line if word.middle >= edge]
        if left and right:
            found.append(right[0].left - left[-1].right < _WORD_SPACE * right[0].height)
    return found


def _is_beside(one: Grid, other: Grid) -> bool:
    return overlap(one.top, one.bottom, other.top, other.bottom) > 0


def _is_body(row: Row) -> bool:
    """Say whether what stands behind the first column is mostly numbers.

    Without a name in the first column, years and units may be meant that belong to the heading.
    """
    cells = [cell for cell in row.cells[1:] if cell]
    numbers = sum(_NUMBER.fullmatch(cell) is not None for cell in cells)
    return bool(cells) and 2 * numbers >= len(cells) and (row.cells[0] != "" or numbers == len(row.cells) - 1)


def _is_parted(upper: Row, lower: Row, grid: Grid, rules: Sequence[Rule], height: float) -> bool:
    return any(
        upper.bottom - 0.35 * height <= rule.at <= lower.top + 0.35 * height
        and overlap(rule.left, rule.right, grid.left, grid.right) > 15
        for rule in rules
    )
