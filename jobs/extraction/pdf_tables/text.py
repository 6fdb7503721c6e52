"""The words of a page in lines, and its horizontal rules; all lengths in points from the top left corner."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import liteparse

# Words whose centres differ by less than this share of their height stand on one line.
_SAME_LINE = 0.4
# So many lines that were begun last may still go on.
_OPEN_LINES = 6
# What is set closer belongs to one word, and may stand a little into the other's box.
_NO_SPACE = 0.08
_OVERHANG = 0.5
_THIN, _SHORT = 1.5, 20.0
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Word:
    """A word and the box around it."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        """Its horizontal middle."""
        return (self.left + self.right) / 2

    @property
    def centre(self) -> float:
        """Its vertical centre."""
        return (self.top + self.bottom) / 2

    @property
    def height(self) -> float:
        """The height of its box."""
        return self.bottom - self.top


Line = Sequence[Word]


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal line that is drawn, from left to right."""

    left: float
    right: float
    at: float


def overlap(left: float, right: float, other_left: float, other_right: float) -> float:
    """Return how much two intervals have in common, 0 or more."""
    return max(0.0, min(right, other_right) - max(left, other_left))


def segments(line: Line, gap: float = 1.0) -> list[list[Word]]:
    """Part a line where the space is wider than ``gap`` times the height of its words."""
    parts: list[list[Word]] = []
    for word in line:
        if parts and word.left - parts[-1][-1].right < gap * word.height:
            parts[-1].append(word)
        else:
            parts.append([word])
    return parts


def words_text(words: Sequence[Word]) -> str:
    """Return the words of a line with spaces where they stand apart."""
    parts = [word.text for word in words[:1]]
    for word, following in itertools.pairwise(words):
        is_apart = not 0 <= following.left - word.right + _OVERHANG < _NO_SPACE * following.height + _OVERHANG
        parts.append(f" {following.text}" if is_apart else following.text)
    return "".join(parts)


class PageText:
    """The lines of a page from top to bottom.

    Args:
        words: all words, in any order.
        rules: all horizontal rules.
    """

    def __init__(self, words: Iterable[Word], rules: Sequence[Rule]) -> None:
        self.lines = _lines(sorted(words, key=lambda word: (word.centre, word.left)))
        self.word_count = sum(map(len, self.lines))
        self.rules = rules
        self._centres = [line[0].centre for line in self.lines]

    @classmethod
    def of(cls, page: liteparse.ParsedPage) -> PageText:
        """Take them from a page that was parsed with vector graphics."""
        return cls(_words(page), _rules(page))

    def between(self, top: float, bottom: float) -> list[Line]:
        """Return the lines whose first word is centred from ``top`` to ``bottom``."""
        first = bisect.bisect_left(self._centres, top)
        return list(self.lines[first : bisect.bisect_right(self._centres, bottom)])

    def within(self, left: float, top: float, right: float, bottom: float) -> list[Line]:
        """Return what of these lines is centred from ``left`` to ``right``, without empty ones."""
        parts = (
            [word for word in line if left <= word.middle <= right] for line in self.between(top, bottom)
        )
        return [part for part in parts if part]


def _words(page: liteparse.ParsedPage) -> Iterator[Word]:
    """Yield the words of a page; in a run of several, each is taken to be as wide as its share of letters."""
    for item in page.text_items:
        width = item.width / max(1, len(item.text))
        for found in _WORD.finditer(item.text):
            left, right = (item.x + place * width for place in found.span())
            yield Word(found.group(), left, item.y, right, item.y + item.height)


def _lines(words: Iterable[Word]) -> list[Line]:
    lines: list[list[Word]] = []
    for word in words:
        for line in reversed(lines[-_OPEN_LINES:]):
            first = line[0]
            if abs(first.centre - word.centre) < _SAME_LINE * min(first.height, word.height) + 0.1:
                line.append(word)
                break
        else:
            lines.append([word])
    for line in lines:
        line.sort(key=lambda word: word.left)
    # The first word from the left may be centred a little lower than the one that began the line.
    return sorted(lines, key=lambda line: line[0].centre)


def _rules(page: liteparse.ParsedPage) -> list[Rule]:
    drawn = page.vector_graphics.lines if page.vector_graphics else []
    flat = [
        Rule(min(line.x1, line.x2), max(line.x1, line.x2), (line.y1 + line.y2) / 2)
        for line in drawn
        if abs(line.y1 - line.y2) < _THIN and abs(line.x1 - line.x2) > _SHORT
    ]
    joined: list[Rule] = []
    for _at, group in itertools.groupby(
        sorted(flat, key=lambda rule: (round(rule.at), rule.left)), lambda rule: round(rule.at)
    ):
        for rule in group:
            last = joined[-1] if joined else None
            if last and abs(last.at - rule.at) < _THIN and rule.left <= last.right + 3:
                joined[-1] = Rule(last.left, max(last.right, rule.right), last.at)
            else:
                joined.append(rule)
    return joined
