"""Tables as files: CSV and XLSX. No cell of a foreign document becomes a formula.

Source: OWASP, CSV Injection: cells that begin with one of ``= + - @``, a tab or a line end get an apostrophe
in front; the wide forms of the four as well. A number with a sign is harmless and stays as it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import xlsxwriter

from jobs.extraction import Table

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[+-]?\d[\d.,\u00a0\u202f' ]*%?")
# What a spreadsheet may keep as a number without changing it: no leading zeros, at most 15 digits.
_EXACT_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,10})?")
_EXACT_DIGITS = 15
_LONGEST_CELL = 32_767
_LONGEST_SHEET_NAME = 31
_NOT_IN_SHEET_NAMES = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_RESERVED_SHEET_NAMES = frozenset({"history"})


def to_csv(table: Table) -> str:
    """Write a table as CSV (RFC 4180); cells that a spreadsheet would calculate begin with an apostrophe."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([_harmless(cell) for cell in row] for row in table.rows)
    return out.getvalue()


def _harmless(cell: str) -> str:
    if cell.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(cell):
        return "'" + cell
    return cell


def to_xlsx(tables: Sequence[Table]) -> bytes:
    """Write tables as a workbook, a sheet for each: numbers as numbers, all else as text.

    Args:
        tables: at least one sheet is made, an empty one when there is no table.
    """
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    names: set[str] = set()
    for number, table in enumerate(tables, 1):
        sheet = book.add_worksheet(_sheet_name(table.title or f"Table {number}", names))
        for at_row, row in enumerate(table.rows):
            for at_column, cell in enumerate(row):
                # Never the writer's own guess, which would make formulas and links of foreign words.
                if _EXACT_NUMBER.fullmatch(cell) and sum(map(str.isdigit, cell)) <= _EXACT_DIGITS:
                    sheet.write_number(at_row, at_column, float(cell))
                elif cell:
                    sheet.write_string(at_row, at_column, cell[:_LONGEST_CELL])
    if not tables:
        book.add_worksheet("No tables")
    book.close()
    return out.getvalue()


def _sheet_name(title: str, taken: set[str]) -> str:
    """Make a name that a spreadsheet accepts, and that no other sheet has."""
    base = _NOT_IN_SHEET_NAMES.sub(" ", title).strip(" '")[:_LONGEST_SHEET_NAME].strip(" '")
    base = base if base and base.lower() not in _RESERVED_SHEET_NAMES else "Table"
    name, number = base, 1
    while name.lower() in taken:
        number += 1
        tail = f" ({number})"
        name = base[: _LONGEST_SHEET_NAME - len(tail)] + tail
    taken.add(name.lower())
    return name
