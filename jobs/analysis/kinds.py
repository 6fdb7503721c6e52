"""What kind of document this is, judged by cues: words, layout, media type and file name.

Each cue is a pattern with a weight. A cue that must stand near the start is looked for in the
head only; the others in head and tail. A type's score is the sum of the weights of its cues that
occur, a repeated cue counting a little more. Below ``_LEAST_SCORE`` the answer is ``other``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.analysis.cues import BODY_CUES, HEAD_CUES, Rows
from jobs.analysis.literals import required_literals
from jobs.analysis.model import DOCUMENT_TYPES

_HEAD_CHARACTERS = 1_500
_BODY_CHARACTERS = 24_000
_TAIL_CHARACTERS = 6_000
_LEAST_SCORE = 2.5
_DOUBT = 1.5


@dataclass(frozen=True, slots=True)
class _Cue:
    """A pattern over lower-case text, its weight, and whether only the head is searched.

    Attributes:
        needs: pieces of which a text has one at least when the pattern is in it; none when that is not known.
    """

    pattern: re.Pattern[str]
    weight: float
    head: bool
    needs: tuple[str, ...]


def _compiled(rows: Rows, *, head: bool) -> tuple[_Cue, ...]:
    """Compile rows of weight and pattern."""
    return tuple(
        _Cue(re.compile(pattern, re.MULTILINE), weight, head, tuple(sorted(required_literals(pattern))))
        for weight, pattern in rows
    )


_CUES = {
    kind: (*_compiled(HEAD_CUES.get(kind, ()), head=True), *_compiled(BODY_CUES.get(kind, ()), head=False))
    for kind in DOCUMENT_TYPES
    if kind != "other"
}
_MEDIA = (
    ("message/rfc822", "email", 6.0),
    ("vnd.ms-outlook", "email", 6.0),
    ("spreadsheet", "spreadsheet", 4.0),
    ("excel", "spreadsheet", 4.0),
    ("text/csv", "spreadsheet", 5.0),
    ("tab-separated", "spreadsheet", 5.0),
    ("apple.numbers", "spreadsheet", 4.0),
    ("presentation", "presentation", 4.5),
    ("powerpoint", "presentation", 4.5),
    ("apple.keynote", "presentation", 4.5),
    ("epub", "book", 4.0),
    ("chm", "manual", 3.0),
    ("html", "paper", -2.0),
    ("x-python", "code", 5.0),
    ("javascript", "code", 5.0),
)
_EXTENSIONS = {
    "email": ("eml", "msg", "mbox"),
    "spreadsheet": ("xlsx", "xls", "xlsm", "ods", "csv", "tsv", "numbers"),
    "presentation": ("pptx", "ppt", "odp", "key", "ppsx"),
    "book": ("epub", "mobi", "fb2"),
    "code": ("py", "js", "ts", "java", "c", "h", "cpp", "go", "rs", "rb", "sh", "sql"),
}
_NAME_WORDS = {
    "invoice": "invoice rechnung facture factura",
    "receipt": "receipt quittung",
    "contract": "contract agreement nda vertrag contrat",
    "license": "license licence copying",
    "resume": "resume cv lebenslauf",
    "manual": "readme manual guide handbook",
    "minutes": "minutes protokoll",
    "report": "report 10k bericht rapport",
    "letter": "letter brief",
    "medical report": "medical medrpt",
    "form": "form",
    "book": "book",
    "paper": "paper arxiv",
}


def classify(text: str, media_type: str = "", filename: str = "") -> tuple[str, float]:
    """Judge what kind of document this is.

    Args:
        text: cleaned text, line breaks kept.
        media_type: the detected media type, or empty.
        filename: the name at upload, or empty.

    Returns:
        One of ``DOCUMENT_TYPES`` and a confidence from 0.0 to 1.0.
    """
    scores = _scores(text)
    for part, kind, weight in _MEDIA:
        if part in media_type.lower():
            scores[kind] = scores.get(kind, 0.0) + weight
            break
    else:
        _add_extension(scores, filename)
    _add_name(scores, filename)
    _add_table_share(scores, text)
    ranked = sorted(scores.items(), key=lambda entry: -entry[1])
    (best, score), second = ranked[0], ranked[1][1]
    if score < _LEAST_SCORE:
        return "other", round(max(0.2, 0.6 - 0.15 * score), 2)
    return best, round(score / (score + second + _DOUBT), 2)


def _scores(text: str) -> dict[str, float]:
    """Return each type's sum of weights over the text's head, body and tail."""
    lowered = text[:_BODY_CHARACTERS].lower()
    if len(text) > _BODY_CHARACTERS:
        lowered += "\n" + text[max(_BODY_CHARACTERS, len(text) - _TAIL_CHARACTERS) :].lower()
    head = lowered[:_HEAD_CHARACTERS]
    return {
        kind: sum(_weight(cue, head if cue.head else lowered) for cue in cues) for kind, cues in _CUES.items()
    }


def _weight(cue: _Cue, text: str) -> float:
    """Return the cue's weight: whole at one hit, one half more at three."""
    for piece in cue.needs:
        if piece in text:
            break
    else:
        if cue.needs:
            return 0.0
    hits = 0
    for _ in cue.pattern.finditer(text):
        hits += 1
        if hits == 3:
            return 1.5 * cue.weight
    return cue.weight if hits else 0.0


def _add_extension(scores: dict[str, float], filename: str) -> None:
    """Add what the file name's extension says, when the media type said nothing."""
    extension = filename.lower().rpartition(".")[2]
    for kind, extensions in _EXTENSIONS.items():
        if extension in extensions:
            scores[kind] += 4.0


def _add_name(scores: dict[str, float], filename: str) -> None:
    """Add a little for a word in the file's name."""
    words = set(re.split(r"[\W_\d]+", filename.lower()[:200]))
    for kind, names in _NAME_WORDS.items():
        if words & set(names.split()):
            scores[kind] += 1.5


def _add_table_share(scores: dict[str, float], text: str) -> None:
    """Count a text that is mostly rows of separated cells as a spreadsheet."""
    lines = [line for line in text[:20_000].split("\n") if line.strip()]
    rows = sum(line.count("|") >= 2 or line.count("\t") >= 2 or line.count(";") >= 3 for line in lines)
    if len(lines) >= 4 and rows > 0.7 * len(lines):
        scores["spreadsheet"] += 2.6
