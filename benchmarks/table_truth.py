"""Score tables of PDFs against the human truth of the ICDAR 2013 table competition.

Three measures, so that none of them is chased alone:

- *detection*: tables counted page by page, and *structure*: how alike the cells of tables are that come in
  the same place on a page, row by row, punished for another number of rows or columns. This is how camelot's
  own benchmark counts (``bench/_metrics.py`` of camelot-dev/camelot, MIT), so that figures can be compared.
- *neighbours*: of all pairs of a filled cell and the next filled one on its right or below it, those that are
  found; the measure of the competition (Göbel, Hassan, Oro, Orsi, ICDAR 2013), without white space.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

Rows = list[list[str]]
# The tables of a document by page.
Tables = Mapping[int, Sequence[Rows]]

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Scores:
    """How well tables were found, each from 0 to 1.

    Attributes:
        detection: harmonic mean of precision and recall of tables, counted on each page.
        structure: mean likeness of the tables that were paired.
        neighbours: harmonic mean of precision and recall of neighbouring cells in all documents together.
        rows: share of the paired tables with the exact number of rows.
        columns: the same of columns.
    """

    detection: float
    structure: float
    neighbours: float
    rows: float
    columns: float


def read_truth(folder: Path) -> dict[str, Tables]:
    """Return the tables of each document that has both a PDF and a truth, by the name of the PDF.

    A cell that spans several rows or columns stands in the first of them.
    """
    found: dict[str, Tables] = {}
    for path in sorted(folder.glob("*-str.xml")):
        pdf = path.with_name(path.name.removesuffix("-str.xml") + ".pdf")
        if not pdf.exists():
            continue
        pages: dict[int, list[Rows]] = {}
        for region in ET.parse(path).getroot().iter("region"):
            pages.setdefault(int(region.get("page", "1")), []).append(_grid(region))
        found[pdf.name] = pages
    return found


def score(found: Mapping[str, Tables], truth: Mapping[str, Tables]) -> Scores:
    """Compare the tables of documents with the truth.

    Args:
        found: the tables by document; one that is missing has none.
        truth: the same of every document that counts.
    """
    right = wrong = missed = 0
    likeness: list[float] = []
    rows = columns = 0
    for name, pages in truth.items():
        own = found.get(name, {})
        for page in pages.keys() | own.keys():
            expected, given = pages.get(page, []), own.get(page, [])
            right += min(len(expected), len(given))
            wrong += max(0, len(given) - len(expected))
            missed += max(0, len(expected) - len(given))
            for one, other in zip(given, expected, strict=False):
                likeness.append(_likeness(one, other))
                rows += len(one) == len(other)
                columns += _width(one) == _width(other)
    pairs = max(1, len(likeness))
    return Scores(
        detection=_harmonic(right, right + wrong, right + missed),
        structure=sum(likeness) / pairs,
        neighbours=_score_neighbours(found, truth),
        rows=rows / pairs,
        columns=columns / pairs,
    )


def _grid(region: ET.Element) -> Rows:
    cells: dict[tuple[int, int], str] = {}
    for cell in region.findall("cell"):
        place = int(cell.get("start-row", "0")), int(cell.get("start-col", "0"))
        cells[place] = " ".join((cell.findtext("content") or "").split())
    height, width = (1 + max((place[axis] for place in cells), default=-1) for axis in (0, 1))
    return [[cells.get((row, column), "") for column in range(width)] for row in range(height)]


def _width(rows: Rows) -> int:
    return max(map(len, rows), default=0)


def _likeness(given: Rows, expected: Rows) -> float:
    texts = [[" ".join(cell.split()).lower() for row in rows for cell in row] for rows in (given, expected)]
    content = difflib.SequenceMatcher(None, *texts).ratio()
    sizes = len(given) + _width(given) + len(expected) + _width(expected)
    difference = abs(len(given) - len(expected)) + abs(_width(given) - _width(expected))
    return content * (1 - difference / (sizes + 1))


def _score_neighbours(found: Mapping[str, Tables], truth: Mapping[str, Tables]) -> float:
    right = given = expected = 0
    for name, pages in truth.items():
        own, true = (Counter(_neighbours(tables)) for tables in (found.get(name, {}), pages))
        right += (own & true).total()
        given += own.total()
        expected += true.total()
    return _harmonic(right, given, expected)


def _neighbours(tables: Tables) -> Iterator[tuple[str, str, str]]:
    for rows in (rows for page in tables.values() for rows in page):
        width = _width(rows)
        square = [[_SPACE.sub("", cell) for cell in row] + [""] * (width - len(row)) for row in rows]
        for direction, lines in (("right", square), ("below", zip(*square, strict=True))):
            for line in lines:
                filled = [cell for cell in line if cell]
                yield from ((direction, one, other) for one, other in itertools.pairwise(filled))


def _harmonic(right: int, given: int, expected: int) -> float:
    """Return the harmonic mean of precision and recall."""
    return 2 * right / (given + expected) if right else 0.0
