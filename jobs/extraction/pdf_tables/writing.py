"""Write a page as Markdown: its blocks as liteparse writes them, and its tables as they were put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import liteparse

from jobs.extraction.markdown import escape, fence, table
from jobs.extraction.pdf_tables.grid import Grid
from jobs.extraction.pdf_tables.text import PageText, Word, words_text
from jobs.extraction.pdf_tables.typography import Typography


def write(
    blocks: Sequence[liteparse.LayoutBlock], text: PageText, grids: Sequence[Grid], typography: Typography
) -> str:
    """Return the Markdown of a page.

    Args:
        blocks: of the page, in the order in which it is read.
        text: its words.
        grids: its tables; what stands in them is written there and nowhere else.
        typography: how its words are written exactly.
    """
    taken: set[int] = set()
    for grid in grids:
        _take_words(grid, text, taken)
    tables = {grid.blocks[0]: grid for grid in grids}
    parts: list[str] = []
    for place, block in enumerate(blocks):
        own = tables.get(place)
        if own is not None:
            left = _left_over(block, text, taken)
            parts += _paragraphs([line for line in left if line[0].centre < own.top])
            rows = [[typography.restored(cell) for cell in row.cells] for row in own.rows]
            parts.append(table(rows, len(own.columns)))
            parts += _paragraphs([line for line in left if line[0].centre >= own.top])
        else:
            parts += _write(block, text, taken)
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def _take_words(grid: Grid, text: PageText, taken: set[int]) -> None:
    """Note the words that stand in a table's cells; others may stand between them on the page."""
    for row in grid.rows:
        tokens = Counter(token for cell in row.cells for token in cell.split())
        others: list[Word] = []
        for line in text.within(grid.left - 1, row.top - 1, grid.right + 1, row.bottom + 1):
            for word in line:
                if id(word) in taken:
                    continue
                if tokens[word.text] > 0:
                    tokens[word.text] -= 1
                    taken.add(id(word))
                else:
                    others.append(word)
        # Boxes may hold a part of a word, or more than one.
        rest = [token for token, count in tokens.items() if count > 0]
        taken.update(
            id(word)
            for word in others
            if any(part in token for token in rest for part in word.text.split()[:1])
        )


def _write(block: liteparse.LayoutBlock, text: PageText, taken: set[int]) -> Iterator[str]:
    if block.kind == "rule":
        yield "---"
        return
    box = block.bbox
    words = (
        []
        if box is None
        else text.within(box.x - 1, box.y - 1, box.x + box.width + 1, box.y + box.height + 1)
    )
    if block.kind == "table" or any(id(word) in taken for line in words for word in line):
        yield from _paragraphs(_left_over(block, text, taken))
    elif block.kind == "heading":
        yield f"{'#' * (block.level or 1)} {block.text}"
    elif block.kind == "paragraph" and block.text:
        yield f"*{block.text}*" if block.italic else block.text
    elif block.kind == "list_item":
        marker = block.marker if block.ordered and block.marker else "-"
        yield f"{'  ' * (block.level or 0)}{marker} {block.text or ''}"
    elif block.lines:
        yield fence("\n".join(block.lines), block.lang or "")


def _left_over(block: liteparse.LayoutBlock, text: PageText, taken: set[int]) -> list[list[Word]]:
    """Return the lines of a block without the words that are written elsewhere; they are, from now on."""
    box = block.bbox
    if box is None:
        return []
    lines = text.within(box.x - 1, box.y - 1, box.x + box.width + 1, box.y + box.height + 1)
    left = [[word for word in line if id(word) not in taken] for line in lines]
    # Blocks may lie over each other.
    taken.update(id(word) for line in left for word in line)
    return [line for line in left if line]


def _paragraphs(lines: Sequence[Sequence[Word]]) -> list[str]:
    """Write lines as one paragraph, if there are any."""
    return [escape(" ".join(words_text(line) for line in lines))] if lines else []
