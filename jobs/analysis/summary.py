"""A summary and key points made of the document's own sentences.

A sentence scores by its nearness to the whole text's words (centroid), its place, the keyphrases
it covers, and how much it reads like prose; sentences are then taken one by one, each weighed
against what the chosen ones already say (maximal marginal relevance).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

from jobs.analysis.language import UNSPACED_RUN
from jobs.analysis.text import Block, Sentence, words_of

_MAX_SENTENCES = 4_000
_POOL = 60
_DIVERSITY = 0.65
_GOOD_WORDS = (8, 40)
_ABSTRACT = re.compile(
    r"^\W{0,6}(?:abstract|summary|executive summary|zusammenfassung|résumé|resumen)\b", re.IGNORECASE
)
_ABSTRACT_BLOCKS = 3
_MUCH_CODE = 3
_CODE = re.compile(r"[{}=;]|\w\(|/\*|\*/|\w\.\w{2,20}\(")
_PURPOSE = re.compile(
    r"\b(?:this|the present) (?:paper|article|report|document|publication|study|guide|manual|book"
    r"|agreement|letter|policy|chapter|thesis|memo|note|proposal|work)\b"
    r"|\bin this (?:paper|article|report|study|guide|work)\b"
    r"|\bwe (?:present|propose|introduce|describe)\b|\bthe (?:purpose|aim|goal|objective)s? of\b",
    re.IGNORECASE,
)
_NOISE = re.compile(r"https?://|www\.|@|\.{4,}|_{3,}|\|", re.IGNORECASE)
_DANGLING = re.compile(
    r"^(?:however|but|and|or|so|thus|therefore|hence|also|moreover|furthermore|this|these|those|it"
    r"|he|she|they|such|here|then)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Scored:
    """A sentence, its score from 0 up, and its distinct content words."""

    sentence: Sentence
    score: float
    words: frozenset[str]


class Extract:
    """Ranks a document's sentences once, for the summary and for the key points.

    Args:
        blocks: the document's blocks.
        sentences: its sentences.
        keyphrases: what the document is about.
        stop: stop words in lower case.
    """

    def __init__(
        self, blocks: list[Block], sentences: list[Sentence], keyphrases: list[str], stop: frozenset[str]
    ) -> None:
        self._stop = stop
        self._keys = [phrase.lower() for phrase in keyphrases]
        self._lead = _abstract_block(blocks)
        self._ranked = self._rank(_readable(sentences))

    def summary(self, *, limit: int = 600) -> str:
        """Return a few sentences in the document's order.

        Args:
            limit: characters; a first sentence over it is still taken whole.
        """
        return _joined(self._choose(5, limit, frozenset()))

    def key_points(self, *, count: int = 5) -> list[str]:
        """Return sentences worth reading beside the summary, in the document's order."""
        taken = frozenset(scored.sentence.index for scored in self._choose(5, 600, frozenset()))
        if len(self._ranked) < 2 * len(taken) + 2:
            return []
        texts = (scored.sentence.text for scored in self._choose(count, 1500, taken))
        return [text for text in texts if text.count(" ") >= 3 or UNSPACED_RUN.search(text)]

    def _rank(self, sentences: list[Sentence]) -> list[_Scored]:
        """Return the sentences, the best first."""
        content = [self._content(sentence.text) for sentence in sentences]
        counts = Counter(word for words in content for word in set(words))
        total = max(1, len(sentences))
        weights = {
            word: math.log2(1 + count) * min(1.0, 0.6 + math.log2(1 + total / count) / 6)
            for word, count in counts.items()
        }
        scored = [
            _Scored(sentence, self._score(sentence, words, weights, place, total), frozenset(words))
            for place, (sentence, words) in enumerate(zip(sentences, content, strict=True))
            if words
        ]
        return sorted(scored, key=lambda one: (-one.score, one.sentence.index))

    def _score(
        self, sentence: Sentence, words: list[str], weights: dict[str, float], place: int, total: int
    ) -> float:
        """Return the score of the sentence at a place from 0 among all ranked ones."""
        centroid = sum(weights[word] for word in set(words)) / math.pow(len(words) + 4, 0.7)
        position = 1.0 + 0.8 / (1.0 + 0.1 * place) + (0.1 if place >= 0.9 * total else 0.0)
        if _PURPOSE.search(sentence.text):
            position += 0.4
        if self._lead <= sentence.block < self._lead + _ABSTRACT_BLOCKS:
            position += 1.0
        lowered = sentence.text.lower()
        cover = 1.0 + 0.12 * sum(key in lowered for key in self._keys)
        return centroid * position * cover * _prose_likeness(sentence, len(words))

    def _content(self, text: str) -> list[str]:
        """Return the words that are no stop words, or character pairs in scripts without blanks."""
        runs = UNSPACED_RUN.findall(text)
        pairs = [run[start : start + 2] for run in runs for start in range(len(run) - 1)]
        spaced = UNSPACED_RUN.sub(" ", text) if runs else text
        words = [word.lower() for word in words_of(spaced)]
        return pairs + [
            word for word in words if word not in self._stop and not word.isdigit() and len(word) > 1
        ]

    def _choose(self, count: int, limit: int, taken: frozenset[int]) -> list[_Scored]:
        """Choose sentences by maximal marginal relevance.

        Source: Carbonell and Goldstein 1998, with word overlap as the similarity.
        """
        pool = [scored for scored in self._ranked[: _POOL + len(taken)] if scored.sentence.index not in taken]
        chosen: list[_Scored] = [scored for scored in self._ranked if scored.sentence.index in taken]
        said, room = len(chosen), limit
        top = pool[0].score if pool else 1.0
        while pool and len(chosen) - said < count:
            best = max(pool, key=lambda one: one.score / top - _DIVERSITY * _most_alike(one, chosen))
            pool.remove(best)
            if len(best.sentence.text) > room and len(chosen) > said:
                continue
            if _most_alike(best, chosen) > 0.6:
                continue
            chosen.append(best)
            room -= len(best.sentence.text)
            if room < 40:
                break
        return sorted(chosen[said:], key=lambda one: one.sentence.index)


def _readable(sentences: list[Sentence]) -> list[Sentence]:
    """Return the sentences worth ranking: prose where there is enough, else all; without repeats."""
    seen: set[str] = set()
    unique = []
    for sentence in sentences:
        if sentence.text not in seen:
            seen.add(sentence.text)
            unique.append(sentence)
    prose = [sentence for sentence in unique if sentence.prose]
    chosen = prose or unique
    if len(chosen) <= _MAX_SENTENCES:
        return chosen
    # A long document opens and closes with what it is about; the rest is sampled evenly.
    opening, closing = chosen[: _MAX_SENTENCES // 2], chosen[-_MAX_SENTENCES // 8 :]
    middle = chosen[_MAX_SENTENCES // 2 : -_MAX_SENTENCES // 8]
    step = max(1, len(middle) // (_MAX_SENTENCES // 4))
    return opening + middle[::step] + closing


def reads_like_code(text: str) -> bool:
    """Return whether a sentence is made of statements rather than of words."""
    return len(_CODE.findall(text)) >= _MUCH_CODE


def _prose_likeness(sentence: Sentence, words: int) -> float:
    """Return a factor from 0.05 to 1.0: whole, plain sentences of a usual length get 1.0."""
    text = sentence.text
    factor = 1.0 if sentence.prose else 0.4
    least, most = _GOOD_WORDS
    length = text.count(" ") + 1 if " " in text else words
    if length < least:
        factor *= 0.3 + 0.7 * length / least
    elif length > most:
        factor *= max(0.4, most / length)
    if not sentence.closed:
        # A sentence that a column or a page cut off.
        factor *= 0.35 if sentence.prose else 0.6
    if text[:1].islower() or text[:1] in ",;:.)-/*":
        factor *= 0.4
    if words and sum(len(word) == 1 for word in text.split(" ")) > 0.2 * length + 1 and " " in text:
        factor *= 0.4
    if _NOISE.search(text) or text.isupper():
        factor *= 0.3
    if "=" in text:
        factor *= 0.5
    if _DANGLING.match(text):
        factor *= 0.75
    odd = len(text) - sum(map(str.isalpha, text)) - sum(map(str.isspace, text))
    if odd > 0.2 * len(text):
        factor *= 0.4
    return max(0.05, factor)


def _most_alike(one: _Scored, others: list[_Scored]) -> float:
    """Return the largest overlap of words with any of the others, 0.0 to 1.0."""
    return max(
        (len(one.words & other.words) / min(len(one.words), len(other.words)) for other in others),
        default=0.0,
    )


def _abstract_block(blocks: list[Block]) -> int:
    """Return the number of the block where an abstract begins, or a number past the end."""
    for number, block in enumerate(blocks[:60]):
        if _ABSTRACT.match(block.text) and (len(block.text) > 120 or len(block.text) < 40):
            return number
    return len(blocks) + 1


def _joined(chosen: list[_Scored]) -> str:
    """Return the sentences as one text, an ellipsis where one was cut off."""
    parts = [
        one.sentence.text if one.sentence.closed else one.sentence.text.rstrip(" ,;:") + "." for one in chosen
    ]
    return " ".join(parts)
