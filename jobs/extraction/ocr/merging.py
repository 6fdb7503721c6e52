"""Make one reading of two that saw the same picture differently."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace

from jobs.extraction.ocr.seen import Box, Word, confidence_of, letters

_SAME_PLACE = 0.3
# What only one reading saw is taken where that one was sure enough.
_ALONE_FIRST = 30
_ALONE_SECOND = 60
_SURE_MARK = 60
_RULE_CHARS = 2
_LINE_STEP = 1e-5


def without_noise(words: Iterable[Word]) -> list[Word]:
    """Drop specks and ruled lines that were taken for signs."""
    return [
        word
        for word in words
        if letters(word.text) or (word.confidence >= _SURE_MARK and len(word.text) < _RULE_CHARS)
    ]


def merged(first: list[Word], second: list[Word]) -> list[Word]:
    """Take from each place the words of the reading that was surer there.

    Args:
        first: words that give the order and the lines.
        second: other words, with boxes on the same scale.

    Returns:
        Words in order; those of ``second`` have the line and the block of the first reading.
    """
    taken: list[Word] = []
    for ours, theirs in _places(first, second):
        if not theirs:
            taken += [word for word in ours if word.confidence >= _ALONE_FIRST]
        elif not ours:
            sure = [word for word in theirs if word.confidence >= _ALONE_SECOND]
            taken += [_placed(word, first) for word in sure]
        elif confidence_of(theirs) > confidence_of(ours):
            taken += [_moved(word, ours[0]) for word in theirs]
        else:
            taken += ours
    return sorted(taken, key=lambda word: (word.block, word.line, word.box[0]))


def joined(words: Iterable[Word]) -> str:
    """Return words that are in order as lines, with an empty line between blocks."""
    lines: list[str] = []
    last: Word | None = None
    for word in words:
        if last is None or (word.block, word.line) != (last.block, last.line):
            if last is not None and word.block != last.block:
                lines.append("")
            lines.append(word.text)
        else:
            lines[-1] += f" {word.text}"
        last = word
    return "\n".join(lines)


def _places(first: list[Word], second: list[Word]) -> list[tuple[list[Word], list[Word]]]:
    """Group words of both readings that lie over each other."""
    words = [*first, *second]
    group = list(range(len(words)))

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    by_top = sorted(range(len(first), len(words)), key=lambda index: words[index].box[1])
    tops = [words[index].box[1] for index in by_top]
    tallest = max((word.box[3] - word.box[1] for word in second), default=0.0)
    for one, ours in enumerate(first):
        near = slice(bisect_left(tops, ours.box[1] - tallest), bisect_left(tops, ours.box[3]))
        for other in by_top[near]:
            if _overlap(ours.box, words[other].box):
                group[root(one)] = root(other)
    places: dict[int, tuple[list[Word], list[Word]]] = {}
    for index, word in enumerate(words):
        places.setdefault(root(index), ([], []))[index >= len(first)].append(word)
    return list(places.values())


def _overlap(one: Box, other: Box) -> bool:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width > 0 and height > 0 and width * height > _SAME_PLACE * min(_area(one), _area(other))


def _area(box: Box) -> float:
    return max(1.0, (box[2] - box[0]) * (box[3] - box[1]))


def _placed(word: Word, first: list[Word]) -> Word:
    """Put a word into the line beside it, or below the last line above it."""
    middle = (word.box[1] + word.box[3]) / 2
    beside = [one for one in first if one.box[1] < middle < one.box[3]]
    if beside:
        return _moved(word, min(beside, key=lambda one: _gap(one.box, word.box)))
    above = [one for one in first if one.box[3] <= middle]
    anchor = max(above, key=lambda one: one.box[3], default=None)
    # The first reading numbers its lines in whole numbers, so that others fit between them.
    between = 0.5 + word.line * _LINE_STEP
    return _moved(word, anchor, between) if anchor else replace(word, line=between, block=-1)


def _gap(one: Box, other: Box) -> float:
    return max(one[0] - other[2], other[0] - one[2], 0.0)


def _moved(word: Word, to: Word, after: float = 0.0) -> Word:
    return replace(word, line=to.line + after, block=to.block)
