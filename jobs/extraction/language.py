"""Name the main language of a text."""

from __future__ import annotations

from jobs import languages

_SAMPLE_CHARS = 20_000
_MIN_LETTERS = 20
_MIN_PROBABILITY = 0.5


def detect(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's main language, ``None`` when unsure.

    Args:
        text: of any length; a sample from its beginning decides.
    """
    sample = " ".join(text[:_SAMPLE_CHARS].split())
    if sum(character.isalpha() for character in sample) < _MIN_LETTERS:
        return None
    code, probability = languages.identify(sample)
    return code if probability >= _MIN_PROBABILITY and len(code) == 2 else None
