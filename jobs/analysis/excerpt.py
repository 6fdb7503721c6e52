"""The part of a document that a language model is shown, and what to doubt in its answer."""

from __future__ import annotations

import re

from jobs.analysis.language import UNSPACED_CHARACTER

_HEAD_SHARE = 0.6
_MIDDLE_SHARE = 0.15
_UNSPACED_COST = 0.6
_NUMBER = re.compile(r"\d[\d.,' ]{0,20}\d")
_ADDRESSES_A_MODEL = re.compile(
    r"\b(?:ignore|disregard|forget|override) (?:all |any |the |your )?"
    r"(?:previous|prior|above|earlier|preceding)\b"
    r"|\b(?:system prompt|you are now an?|new instructions ?:|do not summari[sz]e"
    r"|as an ai (?:language )?model)\b",
    re.IGNORECASE,
)


def excerpt(text: str, limit: int) -> str:
    """Return the text, or its beginning, middle and end when it is too long.

    Args:
        text: cleaned text.
        limit: characters for a script with blanks, at least 200; a text wholly in Chinese,
            Japanese or Thai gets 40 % of it, because there a token holds fewer characters.

    Returns:
        The text itself when it fits, otherwise three parts cut at line or word borders with a
        marker between them that tells how much is missing.
    """
    sample = text[:20_000]
    unspaced = len(UNSPACED_CHARACTER.findall(sample)) / max(1, len(sample))
    limit = int(limit * (1.0 - _UNSPACED_COST * unspaced))
    if len(text) <= limit:
        return text
    head, middle = int(limit * _HEAD_SHARE), int(limit * _MIDDLE_SHARE)
    tail = limit - head - middle
    first_end = _border_before(text, head)
    second_start = _border_after(text, max(first_end, (len(text) - middle) // 2))
    second_end = max(second_start, _border_before(text, second_start + middle))
    third_start = _border_after(text, max(second_end, len(text) - tail))
    parts = [text[:first_end], _left_out(second_start - first_end), text[second_start:second_end]]
    parts += [_left_out(third_start - second_end), text[third_start:]]
    return "\n".join(part for part in parts if part)


def addresses_a_model(text: str) -> bool:
    """Return whether the text contains phrases that are written to steer a language model."""
    return _ADDRESSES_A_MODEL.search(text) is not None


def invented_numbers(answer: str, text: str) -> list[str]:
    """Return the answer's numbers of two or more digits whose digits are nowhere in the text.

    Args:
        answer: what the model wrote.
        text: the whole cleaned document.
    """
    digits = re.sub(r"(?<=\d)[.,' ](?=\d)", "", text)
    found = []
    for match in _NUMBER.finditer(answer):
        compact = re.sub(r"\D", "", match.group())
        if compact.rstrip("0") not in digits and compact.lstrip("0") not in digits:
            found.append(match.group())
    return found


def _left_out(count: int) -> str:
    """Return the marker for a gap, or nothing when there is none."""
    return f"[... {count} characters left out ...]" if count > 0 else ""


def _border_before(text: str, position: int) -> int:
    """Return the last line or word border in the 200 characters before a position."""
    for border in ("\n", " "):
        found = text.rfind(border, max(0, position - 200), position)
        if found > 0:
            return found
    return position


def _border_after(text: str, position: int) -> int:
    """Return the first line or word border in the 200 characters after a position."""
    for border in ("\n", " "):
        found = text.find(border, position, position + 200)
        if found > 0:
            return found + 1
    return position
