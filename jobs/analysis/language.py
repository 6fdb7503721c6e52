"""Which language a text is in, and whether its script writes spaces between words."""

from __future__ import annotations

import re

from jobs.languages import identify

_SAMPLE_CHARACTERS = 4000
_LEAST_LETTERS = 20
_LEAST_CONFIDENCE = 0.6
# ISO 639-1 has one code for the languages that are written in Chinese characters.
_CHINESE = ("yue", "wuu", "nan", "lzh")
_NOT_LETTERS = re.compile(r"[\W\d_]+")

# Chinese characters, kana, and the scripts of Thai, Lao, Burmese and Khmer.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")


def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code of the text's language.

    Args:
        text: any text; its start, middle and end are looked at.

    Returns:
        ``None`` when there are too few letters or the identifier is not sure.
    """
    words = [word for word in _sample(text).split() if "://" not in word and "@" not in word]
    sample = _NOT_LETTERS.sub(" ", " ".join(words)).strip()
    enough = 5 if UNSPACED_CHARACTER.search(sample) else _LEAST_LETTERS
    if len(sample) < enough:
        return None
    # Many receipts and forms are in capitals, which the identifier hardly knows.
    language, confidence = identify(sample.lower())
    language = "zh" if language in _CHINESE else language
    return language if confidence >= _LEAST_CONFIDENCE and len(language) == 2 else None


def is_unspaced(text: str) -> bool:
    """Return whether most of the text's letters belong to a script without spaces."""
    sample = _NOT_LETTERS.sub("", _sample(text))
    return bool(sample) and len(UNSPACED_CHARACTER.findall(sample)) > 0.3 * len(sample)


def _sample(text: str) -> str:
    """Return a few thousand characters from the start, the middle and the end."""
    if len(text) <= _SAMPLE_CHARACTERS:
        return text
    part, middle = _SAMPLE_CHARACTERS // 4, len(text) // 2
    return " ".join((text[: 2 * part], text[middle : middle + part], text[-part:]))
