"""Counts and derived figures of a text."""

from __future__ import annotations

import functools
import re

from jobs.analysis.language import UNSPACED_CHARACTER
from jobs.analysis.text import Block, Sentence, words_of
from jobs.model import JSON

_WORDS_PER_MINUTE = 238
_UNSPACED_CHARACTERS_PER_MINUTE = 260 * 1.5
_VOWEL_GROUP = re.compile(r"[aeiouy]+")


def measure(
    text: str,
    blocks: list[Block],
    sentences: list[Sentence],
    language: str | None,
    share: float = 1.0,
) -> dict[str, JSON]:
    """Count what the text is made of.

    Args:
        text: cleaned text.
        blocks: its blocks.
        sentences: its sentences.
        language: ISO 639-1 code; the reading ease is given for English only.
        share: of the whole, what the text is a sample of: whatever grows with the length is told for
            the whole.

    Returns:
        ``characters``, ``words``, ``unique_words``, ``sentences``, ``paragraphs``, ``headings``,
        ``reading_minutes`` (to a tenth, never 0 for a text with words), ``words_per_sentence``, and for
        English of at least 50 words ``reading_ease`` (about 0 hard to 100 easy).

    Source: 238 words a minute is the mean of Brysbaert 2019, "How many words do we read per
    minute?"; a Chinese or Japanese word is taken as 1.5 characters at 260 words a minute, the
    same review's figure for Chinese.
    """
    unspaced = len(UNSPACED_CHARACTER.findall(text))
    words = words_of(UNSPACED_CHARACTER.sub(" ", text) if unspaced else text)
    count = len(words) + round(unspaced / 1.5)
    minutes = len(words) / _WORDS_PER_MINUTE + unspaced / _UNSPACED_CHARACTERS_PER_MINUTE
    prose = [sentence for sentence in sentences if sentence.prose]
    figures: dict[str, JSON] = {
        "characters": round(len(text) / share),
        "words": round(count / share),
        "unique_words": len({word.lower() for word in words}),
        "sentences": round(len(sentences) / share),
        "paragraphs": round(sum(block.prose for block in blocks) / share),
        "headings": round(sum(block.heading for block in blocks) / share),
        "reading_minutes": max(0.1, round(minutes / share, 1)) if count else 0.0,
    }
    prose_words = [word for sentence in prose for word in words_of(sentence.text)]
    if prose and not unspaced:
        figures["words_per_sentence"] = round(len(prose_words) / len(prose), 1)
        if language == "en" and len(prose_words) >= 50:
            figures["reading_ease"] = _reading_ease(prose_words, len(prose))
    return figures


def _reading_ease(words: list[str], sentences: int) -> float:
    """Return the Flesch reading ease, kept within -50 and 121.

    Source: Flesch 1948, "A new readability yardstick":
    206.835 - 1.015 words/sentences - 84.6 syllables/words.
    """
    sample = words[:20_000]
    syllables = sum(map(_syllables, map(str.lower, sample)))
    score = 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(sample)
    return round(min(121.0, max(-50.0, score)), 1)


@functools.lru_cache(maxsize=50_000)
def _syllables(word: str) -> int:
    """Estimate the syllables of an English word: vowel groups without a silent final e."""
    groups = len(_VOWEL_GROUP.findall(word))
    if word.endswith("e") and not word.endswith("le") and groups > 1:
        groups -= 1
    return max(1, groups)
