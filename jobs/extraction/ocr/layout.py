"""The order in which boxes of text are read: columns one after the other, each row by row."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from jobs.extraction.ocr.seen import Box

# A box wider than this share of its region crosses every column: a title, or a line of a single
# column.
_CROSSING_SHARE = 0.6
# Both sides of a gutter must look like text, not like labels and their amounts: so many rows, and
# boxes that are so many times as wide as high and fill this share of their side.
_COLUMN_ROWS = 4
_COLUMN_LENGTH = 6
_COLUMN_FILL = 0.4
_SAME_ROW = 0.5


def reading_order(boxes: Sequence[Box]) -> list[list[list[int]]]:
    """Put boxes into reading order.

    Args:
        boxes: of lines or pieces of lines, upright.

    Returns:
        Blocks of rows of indexes into ``boxes``; each index stands once.
    """
    return _blocks(boxes, list(range(len(boxes))))


def has_columns(boxes: Sequence[Box]) -> bool:
    """Say whether lines stand in columns side by side."""
    return any(_gutter(boxes, band) is not None for band in _bands(boxes, list(range(len(boxes)))))


def _blocks(boxes: Sequence[Box], indexes: list[int]) -> list[list[list[int]]]:
    found: list[list[list[int]]] = []
    waiting: list[int] = []
    for band in _bands(boxes, indexes):
        gutter = _gutter(boxes, band)
        if gutter is None:
            waiting.extend(band)
            continue
        if waiting:
            found.append(_rows(boxes, waiting))
            waiting = []
        for side in _sides(boxes, band, gutter):
            found.extend(_blocks(boxes, side))
    if waiting:
        found.append(_rows(boxes, waiting))
    return found


def _bands(boxes: Sequence[Box], indexes: list[int]) -> list[list[int]]:
    """Part a region at the boxes that cross it; each of these is a band of its own."""
    if not indexes:
        return []
    left, right = min(boxes[i][0] for i in indexes), max(boxes[i][2] for i in indexes)
    limit = _CROSSING_SHARE * (right - left)
    bands: list[list[int]] = [[]]
    for index in sorted(indexes, key=lambda i: boxes[i][1] + boxes[i][3]):
        if boxes[index][2] - boxes[index][0] > limit:
            bands += [[index], []]
        else:
            bands[-1].append(index)
    return [band for band in bands if band]


def _gutter(boxes: Sequence[Box], band: list[int]) -> float | None:
    """Return where an empty strip parts a band into two columns of text, ``None`` where none does."""
    height = median(boxes[i][3] - boxes[i][1] for i in band)
    # A page that lies a little askew has boxes that reach over its gutters.
    slack = height / 2
    reach = float("-inf")
    best: tuple[float, float] | None = None
    for index in sorted(band, key=lambda i: boxes[i][0]):
        gap = boxes[index][0] + slack - reach
        if reach > float("-inf") and gap > slack / 2 and (best is None or gap > best[0]):
            middle = reach + gap / 2
            if all(_is_column(boxes, side) for side in _sides(boxes, band, middle)):
                best = (gap, middle)
        reach = max(reach, boxes[index][2] - slack)
    return None if best is None else best[1]


def _sides(boxes: Sequence[Box], band: list[int], gutter: float) -> tuple[list[int], list[int]]:
    return (
        [i for i in band if boxes[i][0] + boxes[i][2] <= 2 * gutter],
        [i for i in band if boxes[i][0] + boxes[i][2] > 2 * gutter],
    )


def _is_column(boxes: Sequence[Box], side: list[int]) -> bool:
    if len(_rows(boxes, side)) < _COLUMN_ROWS:
        return False
    left, right = min(boxes[i][0] for i in side), max(boxes[i][2] for i in side)
    usual = median(boxes[i][2] - boxes[i][0] for i in side)
    height = median(boxes[i][3] - boxes[i][1] for i in side)
    return usual > _COLUMN_FILL * (right - left) and usual > _COLUMN_LENGTH * height


def _rows(boxes: Sequence[Box], indexes: list[int]) -> list[list[int]]:
    rows: list[list[int]] = []
    for index in sorted(indexes, key=lambda i: boxes[i][1] + boxes[i][3]):
        if rows and _is_beside(boxes[rows[-1][-1]], boxes[index]):
            rows[-1].append(index)
        else:
            rows.append([index])
    return [sorted(row, key=lambda i: boxes[i][0]) for row in rows]


def _is_beside(one: Box, other: Box) -> bool:
    shared = min(one[3], other[3]) - max(one[1], other[1])
    return shared > _SAME_ROW * min(one[3] - one[1], other[3] - other[1])
