"""What OCR sees: words with their places, and a picture's text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Left, top, right, bottom, in pixels.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands on a picture: its text, and how sure the engine was, from 0 to 100."""

    text: str
    confidence: int


NOTHING = Seen("", 100)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or a line of them, where the engine does not part them.

    Attributes:
        text: not empty.
        confidence: 0 to 100.
        box: its place on the picture.
        line: the number of its line in the engine's order.
        block: the number of its block in the engine's order.
    """

    text: str
    confidence: float
    box: Box
    line: float = 0
    block: int = 0


def letters(text: str) -> int:
    """Count letters and digits."""
    return sum(character.isalnum() for character in text)


def confidence_of(words: Iterable[Word]) -> float:
    """Return the mean confidence of words, the longer ones weighing more; 0 for none."""
    weighed = [(max(1, len(word.text)), word.confidence) for word in words]
    return sum(weight * sure for weight, sure in weighed) / max(1, sum(weight for weight, _ in weighed))
