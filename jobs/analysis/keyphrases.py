# ruff: noqa: RUF001 (typographic and Chinese marks are meant)
"""Which phrases a text is about.

In scripts with blanks a candidate is a run of words between stop words and punctuation, or a part
of such a run; in scripts without blanks it is a run of characters that comes back. A candidate's
score grows with its frequency, an early first place, how often it stands whole, and its length.
"""

from __future__ import annotations

import functools
import heapq
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from jobs.analysis.language import UNSPACED_RUN
from jobs.analysis.stopwords import CJK_FUNCTION_CHARACTERS
from jobs.analysis.text import MAX_WORD_CHARACTERS, Sentence

MAX_WORDS = 4
_ADDRESS = re.compile(r"://|@|^www\.|\.(?:com|org|net|html?|php)\b")
_TOKEN = re.compile(r"\\\w+|[^\W_][\w'’&+-]*|[^\w\s]|_")
_ENGLISH_ADVERB = re.compile(r"[a-z]{4,}ly")
_LENGTH_FACTOR = {1: 0.45, 2: 1.0, 3: 1.1, 4: 1.0}
_MAX_CANDIDATES = 60_000
_HIRAGANA = re.compile(r"[\u3040-\u309f]+")


@dataclass(slots=True)
class _Candidate:
    """What is known of one phrase, spelled in lower case."""

    count: float = 0.0
    whole: int = 0
    first: int = 0
    spellings: dict[str, int] = field(default_factory=dict)

    def spelling(self) -> str:
        """Return the most frequent spelling, the first of several."""
        return max(self.spellings, key=self.spellings.__getitem__)


def find_keyphrases(
    sentences: Iterable[Sentence],
    stop: frozenset[str],
    *,
    limit: int = 10,
    unspaced: bool = False,
) -> list[str]:
    """Return the text's keyphrases, the best first.

    Args:
        sentences: the whole text.
        stop: stop words in lower case.
        limit: the most to return, at least 1.
        unspaced: whether the text's script writes no blanks between words.

    Returns:
        Distinct phrases in their most frequent spelling; empty when nothing qualifies.
    """
    if unspaced:
        return _unspaced_keyphrases(sentences, limit)
    candidates, length = _collect(sentences, stop)
    scored = sorted(
        ((_score(phrase, candidate, length), phrase) for phrase, candidate in candidates.items()),
        key=lambda entry: (-entry[0], entry[1]),
    )
    chosen = _without_containment(
        [(phrase, score) for score, phrase in scored[: 20 * limit]], candidates, limit
    )
    return [candidates[phrase].spelling() for phrase in chosen]


def _collect(sentences: Iterable[Sentence], stop: frozenset[str]) -> tuple[dict[str, _Candidate], int]:
    """Count every candidate; also return the number of words seen."""
    candidates: dict[str, _Candidate] = {}
    position = 0
    for sentence in sentences:
        text = " ".join("." if _ADDRESS.search(word) else word for word in sentence.text.split(" "))
        tokens = [token.rstrip("'’&-_") or token for token in _TOKEN.findall(text.replace("’", "'"))]
        for run in _runs(tokens, stop):
            _count_run(run, candidates, position)
        position += len(tokens)
        if len(candidates) > _MAX_CANDIDATES:
            _forget_rare(candidates)
    return candidates, position


def _runs(tokens: list[str], stop: frozenset[str]) -> Iterator[list[str]]:
    """Yield runs of content words."""
    run: list[str] = []
    for token in tokens:
        lowered = token.lower()
        if lowered in stop or not _is_content(lowered):
            if run:
                yield run
                run = []
        else:
            run.append(token)
    if run:
        yield run


@functools.lru_cache(maxsize=50_000)
def _is_content(word: str) -> bool:
    """Return whether a word may be part of a keyphrase."""
    return (
        1 < len(word) <= MAX_WORD_CHARACTERS
        and not word.startswith("\\")
        and (word.isalpha() or sum(map(str.isalpha, word)) > len(word) / 2)
        and _ENGLISH_ADVERB.fullmatch(word) is None
    )


def _count_run(run: list[str], candidates: dict[str, _Candidate], position: int) -> None:
    """Count the run itself and its parts of up to ``MAX_WORDS`` words."""
    size = len(run)
    lowered = [word.lower() for word in run]
    for start in range(size):
        for end in range(start + 1, min(size, start + MAX_WORDS) + 1):
            phrase = " ".join(lowered[start:end])
            candidate = candidates.get(phrase)
            if candidate is None:
                candidate = candidates[phrase] = _Candidate(first=position)
            candidate.count += 1
            whole = end - start == size
            candidate.whole += whole
            if len(candidate.spellings) < 4:
                spelled = " ".join(run[start:end])
                candidate.spellings[spelled] = candidate.spellings.get(spelled, 0) + 1


def _forget_rare(candidates: dict[str, _Candidate]) -> None:
    """Drop phrases seen once, then twice and so on, until half of the room is free."""
    least = 2
    while len(candidates) > _MAX_CANDIDATES // 2:
        for phrase in [phrase for phrase, candidate in candidates.items() if candidate.count < least]:
            del candidates[phrase]
        least += 1


def _score(phrase: str, candidate: _Candidate, length: int) -> float:
    """Return how well the phrase tells the text's topic; any positive number."""
    parts = phrase.split(" ")
    words = len(parts)
    if len(set(parts)) < words:
        return 0.0
    if words == 1 and len(phrase) < 3 and not candidate.spelling().isupper():
        return 0.0
    frequency = math.log2(1 + candidate.count)
    position = 1.0 + 1.0 / (1.0 + 8.0 * candidate.first / max(length, 120))
    whole = 0.3 + candidate.whole / candidate.count
    # A last word such as "derived" mostly belongs to a verb that the stop words do not know.
    verbal = 0.5 if phrase.endswith("ed") and len(phrase) - phrase.rfind(" ") > 5 else 1.0
    return frequency * position * whole * _LENGTH_FACTOR[words] * verbal


def _without_containment(
    scored: list[tuple[str, float]], candidates: dict[str, _Candidate], limit: int
) -> list[str]:
    """Choose phrases so that none is a part of another, unless it is much more frequent."""
    chosen: list[str] = []
    for phrase, score in scored:
        if len(chosen) == limit or score <= 0:
            break
        if not any(_overlaps(phrase, other, candidates) for other in chosen):
            chosen.append(phrase)
    return chosen


def _overlaps(phrase: str, other: str, candidates: dict[str, _Candidate]) -> bool:
    """Return whether a chosen phrase makes this one redundant."""
    if _singular(phrase) == _singular(other):
        return True
    if f" {phrase} " in f" {other} ":
        return candidates[phrase].count < 2 * candidates[other].count + 1
    return f" {other} " in f" {phrase} " and candidates[phrase].count <= 1


def _singular(phrase: str) -> str:
    """Return the phrase with every word's final s removed, to compare only."""
    return " ".join(word[:-1] if word.endswith("s") and len(word) > 3 else word for word in phrase.split(" "))


def _unspaced_keyphrases(sentences: Iterable[Sentence], limit: int) -> list[str]:
    """Return runs of 2 to 6 characters that come back, the best first."""
    grams, length = _count_grams(sentences)
    least = 2 if length > 60 else 1
    scored = {
        gram: count * math.sqrt(len(gram)) * (1.0 + 1.0 / (1.0 + 8.0 * first / max(length, 100)))
        for gram, (count, first) in grams.items()
        if count >= least
    }
    chosen: list[str] = []
    for gram in heapq.nsmallest(50 * limit, scored, key=lambda entry: (-scored[entry], entry)):
        count = grams[gram][0]
        if any(gram in other and count < 2 * grams[other][0] for other in chosen):
            continue
        shorter = [other for other in chosen if other in gram]
        if any(count >= 0.7 * grams[other][0] for other in shorter):
            chosen = [other for other in chosen if other not in shorter]
        elif shorter or any(_shifted(gram, other) for other in chosen):
            continue
        chosen.append(gram)
        if len(chosen) == limit:
            break
    return chosen


def _count_grams(sentences: Iterable[Sentence]) -> tuple[dict[str, tuple[int, int]], int]:
    """Return each run's count and first place, and the number of characters seen."""
    grams: dict[str, tuple[int, int]] = {}
    position = 0
    for sentence in sentences:
        for run in UNSPACED_RUN.findall(sentence.text):
            for piece in _pieces(run):
                for size in range(2, 7):
                    for start in range(len(piece) - size + 1):
                        gram = piece[start : start + size]
                        count, first = grams.get(gram, (0, position))
                        grams[gram] = (count + 1, first)
            position += len(run)
        least = 2
        while len(grams) > 2 * _MAX_CANDIDATES:
            grams = {gram: seen for gram, seen in grams.items() if seen[0] >= least}
            least += 1
    return grams, position


def _shifted(gram: str, other: str) -> bool:
    """Return whether one run of characters is largely the other, begun elsewhere."""
    least = max(2, min(len(gram), len(other)) // 2)
    ends = range(least, min(len(gram), len(other)) + 1)
    return any(other.endswith(gram[:size]) or gram.endswith(other[:size]) for size in ends)


def _pieces(run: str) -> Iterator[str]:
    """Yield a run's parts between function characters and hiragana."""
    marked = _HIRAGANA.sub(" ", "".join(" " if one in CJK_FUNCTION_CHARACTERS else one for one in run))
    yield from (piece for piece in marked.split() if len(piece) > 1)
