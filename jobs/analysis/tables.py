"""One sentence that tells what a table holds: its rows and the names of its columns."""

from __future__ import annotations

from jobs.analysis.text import one_line

_MAX_NAMES = 8
_MAX_NAME_CHARACTERS = 40
_HEADER_SEARCH_ROWS = 20


def describe_table(markdown: str) -> str | None:
    """Return a sentence that tells a table's rows and columns.

    Args:
        markdown: cleaned Markdown; its pipe tables are read, or its lines when they hold tabs.

    Returns:
        ``A table of 3 rows with the columns Team, City and Cups.``, for example;
        ``None`` when there is no table, or no row that could name its columns.
    """
    rows = [cells for cells in map(_cells, markdown.split("\n")) if cells]
    if len(rows) < 2:
        return None
    width = max(_filled(cells) for cells in rows[:_HEADER_SEARCH_ROWS])
    header = next(
        (number for number, cells in enumerate(rows[:_HEADER_SEARCH_ROWS]) if _names_columns(cells, width)),
        None,
    )
    if header is None:
        return None
    names = [one_line(name, _MAX_NAME_CHARACTERS) for name in rows[header] if name]
    count = len(rows) - header - 1
    more = len(names) - _MAX_NAMES
    told = [*names[:_MAX_NAMES], f"{more} more"] if more > 0 else names
    listed = ", ".join(told[:-1]) + f" and {told[-1]}" if len(told) > 1 else told[0]
    columns = "column" if len(names) == 1 else "columns"
    return f"A table of {count:,} {'row' if count == 1 else 'rows'} with the {columns} {listed}."


def _cells(line: str) -> list[str] | None:
    """Return a row's cells; ``None`` for a rule, an empty row or a line that is no row."""
    line = line.strip(" ")
    if line.startswith("|"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
    elif "\t" in line:
        cells = [cell.strip() for cell in line.split("\t")]
    else:
        return None
    return cells if any(cell.strip(":- ") for cell in cells) else None


def _filled(cells: list[str]) -> int:
    """Return how many cells hold something."""
    return sum(bool(cell) for cell in cells)


def _names_columns(cells: list[str], width: int) -> bool:
    """Return whether a row is nearly as wide as the table and holds words, not figures."""
    words = sum(any(character.isalpha() for character in cell) for cell in cells)
    return _filled(cells) >= 0.6 * width and words >= 0.8 * _filled(cells) and words > 0
