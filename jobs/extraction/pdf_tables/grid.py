"""A table as it is put together: its columns and rows with their places on the page."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import liteparse

from jobs.extraction.pdf_tables.text import Line, overlap, segments, words_text

_TILED = 0.5
_TILED_SHARE = 0.8
_CELL_GAP = 0.9
_LEAST_SHARE_IN_COLUMN = 0.3


@dataclass(slots=True)
class Row:
    """A row: where it stands, and the text of each column.

    Attributes:
        edges: where its own cells meet.
    """

    top: float
    bottom: float
    cells: list[str]
    edges: Sequence[float] = ()

    @property
    def filled(self) -> int:
        """How many cells are not empty."""
        return sum(map(bool, self.cells))


@dataclass(slots=True)
class Column:
    """What is usual for a column: where its cells begin and end."""

    left: float
    right: float


@dataclass(slots=True)
class Grid:
    """A table, of one block of a page or of several.

    Attributes:
        is_ruled: whether its cells are drawn.
        blocks: the places of its blocks among those of the page.
    """

    columns: list[Column]
    rows: list[Row]
    left: float
    right: float
    is_ruled: bool
    blocks: list[int]

    @property
    def top(self) -> float:
        """Where the first row begins."""
        return self.rows[0].top

    @property
    def bottom(self) -> float:
        """Where the last row ends."""
        return self.rows[-1].bottom

    @property
    def width(self) -> float:
        """From the first column to the last."""
        return self.right - self.left

    def column_of(self, left: float, right: float) -> int:
        """Return the first column in which a good part of an interval lies, or the nearest."""
        for number, column in enumerate(self.columns):
            common = overlap(left, right, column.left, column.right)
            if common > _LEAST_SHARE_IN_COLUMN * min(right - left, column.right - column.left):
                return number
        middle = left + right
        distances = [abs(column.left + column.right - middle) for column in self.columns]
        return distances.index(min(distances))

    def row_of(self, line: Line) -> Row:
        """Return a line of words as a row of this table."""
        cells = [""] * len(self.columns)
        for segment in segments(line, _CELL_GAP):
            column = self.column_of(segment[0].left, segment[-1].right)
            cells[column] = f"{cells[column]} {words_text(segment)}".strip()
        return Row(min(word.top for word in line), max(word.bottom for word in line), cells)


def grid_of(block: liteparse.LayoutBlock, place: int) -> Grid | None:
    """Return a block that liteparse takes for a table; ``None`` when nothing stands in it.

    Args:
        block: of the kind ``table``.
        place: its place among the blocks of the page.
    """
    lines = [cells for cells in ([block.header] if block.header else []) + (block.rows or []) if cells]
    width = max(map(len, lines), default=0)
    # What a heading spans says little of the columns.
    columns = _columns(lines[1:] if len(lines) > 2 else lines, lines, width)
    kept = [number for number in range(width) if columns[number]]
    rows = [row for cells in lines if (row := _row(cells, kept))]
    boxes = [cell.bbox for cells in lines for cell in cells if cell.bbox and cell.text.strip()]
    if not rows or not kept:
        return None
    return Grid(
        columns=[column for column in columns if column],
        rows=rows,
        left=min(box.x for box in boxes),
        right=max(box.x + box.width for box in boxes),
        is_ruled=_is_ruled(lines),
        blocks=[place],
    )


def _columns(
    body: list[list[liteparse.LayoutCell]], lines: list[list[liteparse.LayoutCell]], width: int
) -> list[Column | None]:
    return [_column(body, number) or _column(lines, number) for number in range(width)]


def _column(lines: list[list[liteparse.LayoutCell]], number: int) -> Column | None:
    boxes = [cells[number].bbox for cells in lines if number < len(cells) and cells[number].text.strip()]
    found = [box for box in boxes if box]
    if not found:
        return None
    return Column(
        statistics.median_high([box.x for box in found]),
        statistics.median_high([box.x + box.width for box in found]),
    )


def _row(cells: list[liteparse.LayoutCell], kept: list[int]) -> Row | None:
    boxes = [cell.bbox for cell in cells if cell.bbox]
    if not boxes:
        return None
    own = [cell.bbox for cell in cells if cell.bbox and cell.text.strip()]
    return Row(
        top=min(box.y for box in boxes),
        bottom=max(box.y + box.height for box in boxes),
        cells=[" ".join(cells[number].text.split()) if number < len(cells) else "" for number in kept],
        edges=[(one.x + one.width + other.x) / 2 for one, other in itertools.pairwise(own)],
    )


def _is_ruled(lines: list[list[liteparse.LayoutCell]]) -> bool:
    """Say whether cells touch each other, as those do that are drawn."""
    gaps = [
        abs(one.bbox.x + one.bbox.width - other.bbox.x)
        for cells in lines
        for one, other in itertools.pairwise(cells)
        if one.bbox and other.bbox
    ]
    return bool(gaps) and sum(gap < _TILED for gap in gaps) > _TILED_SHARE * len(gaps)
