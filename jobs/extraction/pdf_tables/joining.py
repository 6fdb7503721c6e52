"""Join tables that headings between their rows tore apart, and take in the lines that belong to them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from jobs.extraction.pdf_tables.grid import Column, Grid, Row
from jobs.extraction.pdf_tables.shaping import word_height
from jobs.extraction.pdf_tables.text import Line, PageText, overlap, segments

# All in heights of the table's words.
_LARGEST_GAP = 6.0
_LINE_GAP = 1.6
_REACH = 14.0
_OUTDENT = 1.2
_LARGER_TYPE = 1.35
_LINES_BETWEEN = 4
_WIDE_SHARE = 0.6
# What begins so is a caption or a note.
_CAPTION = re.compile(
    r"(table|tab\.|figure|fig\.|exhibit|chart|sources?|notes?|tabelle|abbildung|quelle):?", re.IGNORECASE
)


def joined(grids: Sequence[Grid], text: PageText) -> list[Grid]:
    """Return tables with those made one that stand under each other in the same columns."""
    result: list[Grid] = []
    for grid in grids:
        whole = _join(result[-1], grid, text) if result else None
        if whole is None:
            result.append(grid)
        else:
            result[-1] = whole
    return result


def extend(grid: Grid, grids: Sequence[Grid], text: PageText) -> None:
    """Take in the lines right above and below a table: those within its rules or in its columns."""
    others = [other for other in grids if other is not grid]
    ceiling = max((other.bottom for other in others if other.bottom <= grid.top + 1), default=0.0)
    floor = min((other.top for other in others if other.top >= grid.bottom - 1), default=math.inf)
    height = word_height(grid, text)
    far = _REACH * height
    above = text.between(max(ceiling, grid.top - far), grid.top - 0.5)[::-1]
    below = text.between(grid.bottom + 0.5, min(floor, grid.bottom + far))
    border = [
        rule.at
        for rule in text.rules
        if overlap(rule.left, rule.right, grid.left, grid.right) > 0.85 * grid.width
        and rule.right - rule.left < 1.25 * grid.width + 12
    ]
    upper = min((at for at in border if grid.top - far < at < grid.top - 1.2 * height), default=math.inf)
    lower = max((at for at in border if grid.bottom + 0.7 * height < at < grid.bottom + far), default=0.0)
    top, bottom = grid.top, grid.bottom
    taken_above: list[Line] = []
    for line in above:
        if top - max(word.bottom for word in line) > _LINE_GAP * height:
            break
        if not _belongs(line, grid, height, is_within=line[0].centre > upper):
            break
        top = min(word.top for word in line)
        taken_above.append(line)
    taken_below: list[Line] = []
    for line in below:
        if min(word.top for word in line) - bottom > _LINE_GAP * height:
            break
        if not _belongs(line, grid, height, is_within=line[0].centre < lower):
            break
        bottom = max(word.bottom for word in line)
        taken_below.append(line)
    grid.rows = [
        *(grid.row_of(line) for line in reversed(taken_above)),
        *grid.rows,
        *(grid.row_of(line) for line in taken_below),
    ]
    for line in (*taken_above, *taken_below):
        grid.left, grid.right = min(grid.left, line[0].left), max(grid.right, line[-1].right)


def _belongs(line: Line, grid: Grid, height: float, *, is_within: bool) -> bool:
    """Say whether a line next to a table is one of its rows."""
    if any(word.right <= grid.left - 2 or word.left >= grid.right + 2 for word in line):
        return False
    if max(word.height for word in line) > _LARGER_TYPE * height or _CAPTION.fullmatch(line[0].text):
        return False
    parts = segments(line)
    if len(parts) == 1 and parts[0][-1].right - parts[0][0].left > 0.55 * grid.width:
        return False
    if is_within:
        return True
    over = [_column_under(part[0].left, part[-1].right, grid) for part in parts]
    is_clear = None not in over and len(set(over)) == len(over)
    return is_clear and len(over) >= max(2, len(grid.columns) / 2)


def _column_under(left: float, right: float, grid: Grid) -> int | None:
    common = [overlap(left, right, column.left, column.right) for column in grid.columns]
    most = max(common)
    return common.index(most) if most > 0 else None


def _join(upper: Grid, lower: Grid, text: PageText) -> Grid | None:
    """Return two tables as one, ``None`` when they are two."""
    if lower.top < upper.bottom - 2:
        return None
    common = overlap(upper.left, upper.right, lower.left, lower.right)
    if common < _WIDE_SHARE * min(upper.width, lower.width):
        return None
    small, large = (upper, lower) if len(upper.columns) <= len(lower.columns) else (lower, upper)
    places = _places(small, large)
    missing = len(large.columns) - len(small.columns)
    if places is None or len(places) < 2 or missing > max(1, len(large.columns) // 3):
        return None
    height = word_height(upper, text)
    left, right = min(upper.left, lower.left), max(upper.right, lower.right)
    between = text.between(upper.bottom - 0.5, lower.top + 0.5)
    if lower.top - upper.bottom > _LARGEST_GAP * height or len(between) > _LINES_BETWEEN:
        return None
    if not all(_is_subheading(line, left, right, height) for line in between):
        return None
    for place, column in zip(places, small.columns, strict=True):
        one = large.columns[place]
        large.columns[place] = Column(min(one.left, column.left), max(one.right, column.right))
    for row in small.rows:
        row.cells = _spread(row, places, len(large.columns))
    return Grid(
        columns=large.columns,
        rows=[*upper.rows, *_rows(between, large), *lower.rows],
        left=left,
        right=right,
        is_ruled=upper.is_ruled and lower.is_ruled,
        blocks=upper.blocks + lower.blocks,
    )


def _places(small: Grid, large: Grid) -> list[int] | None:
    """Return for each column of one table the one of the other that it stands over; ``None`` if none fits."""
    places: list[int] = []
    for column in small.columns:
        place = _column_under(column.left, column.right, large)
        if place is None or (places and place <= places[-1]):
            return None
        places.append(place)
    return places


def _is_subheading(line: Line, left: float, right: float, height: float) -> bool:
    """Say whether a line between two tables may head the rows below it."""
    slack = _OUTDENT * height
    if line[0].left < left - slack or max(word.right for word in line) > right + slack:
        return False
    if max(word.height for word in line) > _LARGER_TYPE * height or _CAPTION.fullmatch(line[0].text):
        return False
    parts = segments(line)
    return len(parts) > 1 or parts[0][-1].right - parts[0][0].left <= 0.62 * (right - left)


def _spread(row: Row, places: Sequence[int], width: int) -> list[str]:
    cells = [""] * width
    for place, cell in zip(places, row.cells, strict=True):
        cells[place] = cell
    return cells


def _rows(lines: Iterable[Line], grid: Grid) -> list[Row]:
    return [grid.row_of(line) for line in lines]
