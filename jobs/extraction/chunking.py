"""Divide a text into passages for retrieval, by its structure."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.extraction.markdown import LineKind, heading_of, is_table_rule, lines_of, plain_line
from jobs.extraction.result import Chunk

TARGET_CHARS = 1_000
LONGEST_CHARS = 1_200
# A section shorter than this is kept together with the one after it.
_SMALL_CHARS = 300
_HEADING_CHARS = 300
# A line of the Markdown is looked for in the text within this distance.
_NEAR_CHARS = 2_000
# The last three are the full stop and its kin of Chinese and Japanese.
_SENTENCE_END = re.compile("[.!?\u2026][\"'\u201d\u2019)\\]]*\\s|[\u3002\uff01\uff1f]")
_PARAGRAPH = re.compile(r"\S(?:.|\n(?![ \t]*\n))*")
_NON_SPACE = re.compile(r"\S")
_WHOLE_LINES = frozenset({"table", "code"})


@dataclass(frozen=True, slots=True)
class _Block:
    """A piece of the text that belongs together.

    Attributes:
        start: its first character.
        end: behind its last, neither of them white space.
        kind: ``text``, ``table``, ``code`` or ``heading``.
        level: of a heading, from 1.
        title: of a heading.
    """

    start: int
    end: int
    kind: str
    level: int = 0
    title: str = ""


def chunks_of(text: str, markdown: str, pages: Sequence[str]) -> tuple[list[Chunk], list[int]]:
    """Divide a text into chunks of about 1,000 characters, 1,200 at most, and find its pages in the Markdown.

    A chunk ends with a paragraph where it can, else with a line of a table or of code, a sentence or
    a word. A heading begins a chunk or stands within it, and is never its end while text follows.

    Args:
        text: the plain text; whatever of it is not white space is in exactly one chunk.
        markdown: the same with its structure.
        pages: the text of each page; empty without pages.

    Returns:
        The chunks; and for each page the offset in the Markdown where it begins, none when that cannot
        be told.
    """
    starts = _page_starts(text, pages)
    packer = _Packer(text, starts)
    places: list[tuple[int, int]] = []
    for block in _blocks(text, markdown, places):
        packer.add(block)
    return packer.finish(), _markdown_pages(starts, places, len(pages), len(markdown))


def _markdown_pages(
    starts: list[tuple[int, int]], places: list[tuple[int, int]], page_count: int, end: int
) -> list[int]:
    """Find where pages begin in the Markdown; one without text begins where the next does."""
    if not starts:
        return []
    found = [end] * page_count
    positions = [position for position, _ in places]
    for position, number in starts:
        place = bisect_left(positions, position)
        found[number - 1] = places[place][1] if place < len(places) else end
    for index in range(page_count - 2, -1, -1):
        found[index] = min(found[index], found[index + 1])
    return found


def _page_starts(text: str, pages: Sequence[str]) -> list[tuple[int, int]]:
    """Return where each page that has text begins, with its number; empty when that cannot be told."""
    found: list[tuple[int, int]] = []
    position = 0
    for number, page in enumerate(pages, 1):
        words = page.strip()
        if not words:
            continue
        begin = text.find(words, position)
        if begin < 0:
            # The last page may have been cut.
            begin = text.find(words[:200], position)
            if begin < 0 or not words.startswith(text[begin:].rstrip()):
                return []
        found.append((begin, number))
        position = begin + len(words)
    return found


def _blocks(text: str, markdown: str, places: list[tuple[int, int]]) -> Iterator[_Block]:
    """Yield the text in blocks, in order; what the Markdown does not show comes as paragraphs.

    For each line that was found, its offsets in the text and in the Markdown are put into ``places``.
    """
    position = 0
    for block in _shown(text, markdown, places):
        yield from _paragraphs(text, position, block.start)
        yield block
        position = block.end
    yield from _paragraphs(text, position, len(text))


def _paragraphs(text: str, start: int, end: int) -> Iterator[_Block]:
    for found in _PARAGRAPH.finditer(text, start, end):
        yield _Block(found.start(), found.start() + len(found.group().rstrip()), "text")


def _shown(text: str, markdown: str, places: list[tuple[int, int]]) -> Iterator[_Block]:
    """Find the blocks of the Markdown in the text, line by line."""
    position, opened, opened_kind = 0, -1, ""
    following = 0
    for line, kind in lines_of(markdown):
        at, following = following, following + len(line) + 1
        if kind is LineKind.OTHER and is_table_rule(line):
            continue
        plain = plain_line(line, kind)
        words = plain.strip() if plain is not None else ""
        heading = heading_of(line) if words and kind is LineKind.OTHER and "#" in line[:4] else None
        now = _kind_of(line, kind) if words else ("code" if kind is LineKind.CODE else "")
        begin = _find(text, words, position) if words else -1
        if opened >= 0 and (heading or now != opened_kind):
            yield _Block(opened, position, opened_kind)
            opened = -1
        if begin < 0:
            continue
        position = begin + len(words)
        places.append((begin, at))
        if heading:
            yield _Block(begin, position, "heading", heading[0], words[:_HEADING_CHARS])
        elif opened < 0:
            opened, opened_kind = begin, now
    if opened >= 0:
        yield _Block(opened, position, opened_kind)


def _kind_of(line: str, kind: LineKind) -> str:
    if kind is LineKind.CODE:
        return "code"
    return "table" if line.lstrip().startswith("|") else "text"


def _find(text: str, words: str, position: int) -> int:
    """Return where a line's words are at or soon behind a position, -1 when they are not there."""
    found = _NON_SPACE.search(text, position)
    if found is None:
        return -1
    if text.startswith(words, found.start()):
        return found.start()
    return text.find(words, position, position + _NEAR_CHARS + len(words))


class _Packer:
    """Puts blocks together into chunks."""

    def __init__(self, text: str, page_starts: list[tuple[int, int]]) -> None:
        self._text = text
        self._starts = [start for start, _ in page_starts]
        self._numbers = [number for _, number in page_starts]
        self._chunks: list[Chunk] = []
        self._path: list[tuple[int, str]] = []
        self._headings: tuple[str, ...] = ()
        self._start = self._end = -1
        self._has_body = False

    def add(self, block: _Block) -> None:
        """Take the next block."""
        if block.kind == "heading" and block.end - block.start <= TARGET_CHARS:
            self._add_heading(block)
            return
        if self._start >= 0 and self._has_body and block.end - self._start > TARGET_CHARS:
            self._close()
        start = block.start
        if self._start >= 0 and block.end - self._start > LONGEST_CHARS and self._keeps_whole(block):
            # Only headings are open. They are named with the chunk that follows, too.
            self._close()
        while block.end - (start if self._start < 0 else self._start) > LONGEST_CHARS:
            cut = self._cut(start if self._start < 0 else self._start, start, block.kind)
            self._extend(start, cut)
            self._close()
            start = self._skip_space(cut)
        self._extend(start, block.end)

    def finish(self) -> list[Chunk]:
        """Return the chunks."""
        self._close()
        return self._chunks

    def _keeps_whole(self, block: _Block) -> bool:
        return block.kind in _WHOLE_LINES and block.end - block.start <= LONGEST_CHARS

    def _add_heading(self, block: _Block) -> None:
        length = block.end - self._start
        if self._start >= 0 and (
            length > TARGET_CHARS or (self._has_body and self._end - self._start >= _SMALL_CHARS)
        ):
            self._close()
        while self._path and self._path[-1][0] >= block.level:
            self._path.pop()
        self._path.append((block.level, block.title))
        if self._start < 0:
            self._start = block.start
        self._end = block.end

    def _extend(self, start: int, end: int) -> None:
        if self._start < 0:
            self._start = start
        if not self._has_body:
            self._has_body = True
            self._headings = tuple(title for _, title in self._path)
        self._end = end

    def _close(self) -> None:
        if self._start < 0:
            return
        headings = self._headings if self._has_body else tuple(title for _, title in self._path)
        first, last = self._page_of(self._start), self._page_of(self._end - 1)
        self._chunks.append(Chunk(self._start, self._end, first, last, headings))
        self._start = -1
        self._has_body = False

    def _page_of(self, position: int) -> int | None:
        place = bisect_right(self._starts, position) - 1
        return self._numbers[max(0, place)] if self._numbers else None

    def _cut(self, start: int, least: int, kind: str) -> int:
        """Return where to end a chunk that begins at ``start``: behind ``least``, not behind white space."""
        least = max(least + 1, start + TARGET_CHARS // 2)
        most = max(least + 1, start + TARGET_CHARS)
        end = self._text.rfind("\n", least, most)
        if end < 0 and kind not in _WHOLE_LINES:
            sentences = list(_SENTENCE_END.finditer(self._text, least, most))
            end = sentences[-1].end() if sentences else -1
        if end < 0:
            end = max(self._text.rfind(space, least, most) for space in " \t")
        if end < 0:
            end = most
            # A letter stays with its marks.
            while end > least and unicodedata.combining(self._text[end]):
                end -= 1
        while self._text[end - 1].isspace():
            end -= 1
        return end

    def _skip_space(self, position: int) -> int:
        found = _NON_SPACE.search(self._text, position)
        return position if found is None else found.start()
