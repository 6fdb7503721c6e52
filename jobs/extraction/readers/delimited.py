"""CSV and TSV: one Markdown table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from jobs.extraction import media_types as mt
from jobs.extraction.markdown import table
from jobs.extraction.readers.plain_text import load
from jobs.extraction.reading import Reading, Source
from jobs.extraction.result import Table

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_SAMPLE_CHARS = 64 * 1024
_FIELD_CHARS = 1024 * 1024
_MAX_COLUMNS = 500
# A quoted field that spans more lines than this was never closed.
_QUOTED_LINES = 200


def read(source: Source) -> Reading:
    """Read a table; its first row is taken for the heading."""
    text, encoding, warnings = load(source)
    delimiter = "\t" if source.media_type == mt.TSV else guess_delimiter(text)
    rows, is_broken = parse(text, delimiter)
    if is_broken:
        warnings.append("A quotation mark is never closed; quotation marks were read as text.")
    width = min(max((len(row) for row in rows), default=0), _MAX_COLUMNS)
    if any(len(row) > width for row in rows):
        warnings.append(f"Only the first {width:,} columns were read.")
    return Reading(
        markdown=table(rows, width) if width else "",
        text="\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in rows),
        tables=[Table([row[:width] for row in rows])] if width else [],
        engine="csv",
        metadata={
            "encoding": encoding,
            "delimiter": delimiter,
            "row_count": max(0, len(rows) - 1),
            "column_count": width,
        },
        warnings=warnings,
    )


def guess_delimiter(text: str) -> str:
    """Return the character between fields: a comma when nothing speaks for another.

    The one that divides most lines into the same number of fields, 2 or more, wins.
    """
    sample = text[:_SAMPLE_CHARS].splitlines()[:_SAMPLE_LINES]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in _rows("\n".join(sample), delimiter, quoted=True) if row]
        usual = max(set(widths), key=widths.count, default=1)
        if usual < 2:
            continue
        score = widths.count(usual) / len(widths) + min(usual, 50) / 1000
        if score > best_score:
            best, best_score = delimiter, score
    return best


def parse(text: str, delimiter: str) -> tuple[list[list[str]], bool]:
    """Divide a text into rows of fields, without empty rows.

    Returns:
        The rows, and whether a quotation mark was left open, in which case quotation marks are
        part of the fields' text.
    """
    try:
        rows = [row for row in _rows(text, delimiter, quoted=True) if any(row)]
    except csv.Error:
        rows = None
    if rows is not None and not any(cell.count("\n") > _QUOTED_LINES for row in rows for cell in row):
        return rows, False
    return [row for row in _rows(text, delimiter, quoted=False) if any(row)], True


def _rows(text: str, delimiter: str, *, quoted: bool) -> Iterator[list[str]]:
    csv.field_size_limit(_FIELD_CHARS if quoted else len(text) + 1)
    lines = io.StringIO(text, newline="")
    if quoted:
        return csv.reader(lines, delimiter=delimiter)
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
