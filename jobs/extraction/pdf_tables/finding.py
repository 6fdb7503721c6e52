"""Find the tables of a page: take what liteparse found, and mend it step by step."""

from __future__ import annotations

import liteparse

from jobs.extraction.pdf_tables import joining, shaping
from jobs.extraction.pdf_tables.grid import Grid, grid_of
from jobs.extraction.pdf_tables.text import PageText

# Without drawn cells, fewer are no table.
_LEAST_CELLS = 6


def find(page: liteparse.ParsedPage, text: PageText) -> list[Grid]:
    """Return the tables of a page from top to bottom, as its blocks have them.

    Args:
        page: parsed with its blocks.
        text: its words and rules.
    """
    grids: list[Grid] = []
    for place, block in enumerate(page.blocks or ()):
        grid = grid_of(block, place) if block.kind == "table" else None
        if grid is None or len(grid.columns) < 2:
            continue
        shaping.part_rows(grid, text)
        if shaping.cut_prose(grid, text) and not shaping.is_sparse(grid):
            grids.append(grid)
    for grid in grids:
        shaping.add_left_column(grid, grids, text)
    grids = joining.joined(grids, text)
    for grid in grids:
        joining.extend(grid, grids, text)
        shaping.drop_empty_rows(grid)
        shaping.join_heading(grid, text)
    return [grid for grid in grids if grid.is_ruled or len(grid.rows) * len(grid.columns) >= _LEAST_CELLS]
