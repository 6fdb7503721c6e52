# ruff: noqa: RUF001 (typographic and Chinese marks are meant)
"""Text in, blocks, sentences and words out; everything here takes linear time.

``clean`` makes any text safe to store and to search; ``read_blocks`` undoes the line breaks of a
page layout; ``split_sentences`` cuts blocks where a sentence ends.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

MAX_CHARACTERS = 200_000
MAX_SENTENCE_CHARACTERS = 700
MAX_WORD_CHARACTERS = 50
_MAX_BRACKETED = 300
# The second half of what is read of a long text is made of so many pieces.
_SAMPLES = 30

_WORD = re.compile(r"[^\W_][\w'’&./+-]*")

_REMOVED = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufffe]"
)
_SPACES = re.compile(r"[ \t\u00a0\u2000-\u200a\u202f\u3000]+")
_HYPHENATED = re.compile(r"(?<=[^\W\d_][^\W\d_])-\n[ \t]{0,20}(?=[a-zà-ÿ]{2})")
_LIGATURES = str.maketrans({"ﬁ": "fi", "ﬂ": "fl", "ﬀ": "ff", "ﬃ": "ffi", "ﬄ": "ffl"})

_LINK = re.compile(r"!?\[(\[?[^\[\]\n]{0,300}\]?)\]\(((?:[^()\n]|\([^()\n]{0,200}\)){0,600})\)")
_CITATION = re.compile(r"\[?(?:\d{1,4}|[a-z]|note \d{1,3}|edit|citation needed)\]?")
_XML_TAG = re.compile(r"<[^<>]{0,2000}>")
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,200}>|<!--[^<>\n]{0,200}-->")
_EMPHASIS = re.compile(r"\*\*|__|``?|~~")
_LINE_MARK = re.compile(r"^(?:#{1,6} |> ?|[*+•·▪◦‣●○–—-] |\d{1,3}[.)] |\(?[a-z]\) )")
_HEADING_MARK = re.compile(r"^#{1,6} ")
_RULE = re.compile(r"^[\s|:=_*.+~#-]{3,}$")
_CELL_GAP = re.compile(r" ?\| ?|\t| {3,}")

_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?= )|[。！？．]+[」』”’）]*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[^\W\d_]|mr|mrs|ms|dr|prof|sr|jr|st|no|nos|nr|fig|figs|eq|eqs|sec|ch|vol|pp|p|al|cf|vs|etc"
    r"|e\.g|i\.e|z\.b|d\.h|u\.a|bzw|ca|usw|art|abs|inc|ltd|co|corp|dept|approx|est|jan|feb|mar|apr|jun|jul|aug"
    r"|sept?|oct|nov|dec|u\.s|m|mme|sra|ed|eds|rev|tel|ref|op|cit|int|geb|str|hr|fr)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, heading, list element or table row.

    Attributes:
        text: one line without markup.
        prose: whether it reads like running text rather than a heading, a row or an address.
        heading: whether the markup or the shape says that it is a heading.
    """

    text: str
    prose: bool
    heading: bool


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where it stands.

    Attributes:
        index: its number among the document's sentences, from 0.
        block: its block's number, from 0.
        prose: whether its block is prose.
        closed: whether it ends with a mark that ends sentences.
    """

    text: str
    index: int
    block: int
    prose: bool
    closed: bool


def clean(text: str) -> str:
    """Return the text without what breaks storage, display or matching.

    Control characters, lone surrogates, invisible and direction marks go; spaces of all kinds
    become one blank; line ends become newlines; words hyphenated at a line end are joined.
    """
    text = _REMOVED.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n"))
    text = unicodedata.normalize("NFC", text).translate(_LIGATURES)
    return _HYPHENATED.sub("", text)


def sample(text: str) -> str:
    """Return a long text's beginning, pieces of the rest at even distances, and its end.

    Args:
        text: longer than ``MAX_CHARACTERS``.

    Returns:
        About ``MAX_CHARACTERS``, cut at line ends where there are any near.
    """
    size = MAX_CHARACTERS // 2 // _SAMPLES
    head = MAX_CHARACTERS // 2
    step = (len(text) - head - size) // (_SAMPLES - 1)
    parts = [text[:head]]
    for start in range(head, head + _SAMPLES * step, step):
        begin = text.find("\n", start, start + 200) + 1 or start
        parts.append(text[begin : start + size])
    return "\n\n".join(parts)


def one_line(text: str, limit: int) -> str:
    """Return the text cleaned, on one line and cut at a word border.

    Args:
        text: any text.
        limit: the most characters to return, at least 2; a cut text ends with an ellipsis.
    """
    text = " ".join(clean(text[: 4 * limit + 1000]).split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    border = cut.rfind(" ")
    return (cut[:border] if border > limit // 2 else cut).rstrip(" ,;:") + "…"


def read_blocks(text: str) -> list[Block]:
    """Cut cleaned text into blocks, joining lines that a page layout broke.

    Args:
        text: what ``clean`` returned; plain text or Markdown.
    """
    lines = [line.strip() for line in text.split("\n")]
    full = _full_line_length(lines)
    blocks: list[Block] = []
    pending: list[str] = []
    for line in lines:
        if not line or _RULE.match(line):
            _flush(pending, blocks)
        elif _HEADING_MARK.match(line):
            _flush(pending, blocks)
            blocks.append(Block(strip_markup(line), prose=False, heading=True))
        elif "|" in line or "\t" in line:
            _flush(pending, blocks)
            row = ", ".join(cell.strip() for cell in _CELL_GAP.split(strip_markup(line)) if cell.strip())
            if row:
                blocks.append(Block(row, prose=False, heading=False))
        else:
            if pending and _starts_block(pending[-1], line, full):
                _flush(pending, blocks)
            pending.append(line)
    _flush(pending, blocks)
    return blocks


def split_sentences(blocks: list[Block]) -> list[Sentence]:
    """Cut blocks into sentences; a sentence never spans two blocks."""
    sentences: list[Sentence] = []
    for number, block in enumerate(blocks):
        for piece in _sentence_texts(block.text):
            closed = piece.rstrip("\"'”’»)]」』）")[-1:] in ".!?…。！？．"
            sentences.append(Sentence(piece, len(sentences), number, block.prose, closed))
    return sentences


def words_of(text: str) -> list[str]:
    """Return the text's words as written; runs of over 50 characters are no words."""
    words = [word.rstrip("'’&./+-_") for word in _WORD.findall(text)]
    if max(map(len, words), default=0) > MAX_WORD_CHARACTERS:
        return [word for word in words if len(word) <= MAX_WORD_CHARACTERS]
    return words


def has_words(text: str) -> bool:
    """Return whether ``words_of`` finds any."""
    found = (match.group().rstrip("'’&./+-_") for match in _WORD.finditer(text))
    return any(len(word) <= MAX_WORD_CHARACTERS for word in found)


def strip_markup(line: str) -> str:
    """Return one line without Markdown, HTML tags and list marks."""
    if "](" in line:
        line = _LINK.sub(_link_text, line)
    if "<" in line:
        line = _TAG.sub(" ", line)
    line = _EMPHASIS.sub("", line)
    return _SPACES.sub(" ", _LINE_MARK.sub("", line.strip())).strip()


def strip_tags(text: str) -> str:
    """Return the text without tags when it is XML or HTML source, else as it is."""
    return _XML_TAG.sub("\n", text) if text.lstrip()[:1] == "<" else text


def _link_text(match: re.Match[str]) -> str:
    """Return a link's text, nothing for a citation mark that leads to a note on the same page."""
    if match[2].startswith("#") and _CITATION.fullmatch(match[1]):
        return ""
    return match[1]


def _full_line_length(lines: list[str]) -> int:
    """Return how long a line of running text is here: the 80th percentile, at most 120."""
    lengths = sorted(len(line) for line in lines[:5000] if len(line) > 20)
    return min(lengths[int(0.8 * (len(lengths) - 1))], 120) if lengths else 80


def _starts_block(before: str, line: str, full: int) -> bool:
    """Return whether ``line`` begins a block of its own although no blank line stands before it."""
    if _LINE_MARK.match(line):
        return True
    if len(before) >= 0.75 * full:
        return False
    return before[-1] in ".!?:;。" or not line[:1].islower()


def _flush(pending: list[str], blocks: list[Block]) -> None:
    """Turn the collected lines into a block and forget them."""
    if not pending:
        return
    listed = _LINE_MARK.match(pending[0]) is not None
    text = strip_markup(" ".join(pending))
    lines = len(pending)
    pending.clear()
    if text:
        prose = _is_prose(text)
        heading = not prose and not listed and lines == 1 and _looks_like_heading(text)
        blocks.append(Block(text, prose=prose, heading=heading))


def _is_prose(text: str) -> bool:
    """Return whether a block reads like running text: long, mostly letters, mostly lower case."""
    if len(text) < 12:
        return False
    sample = text[:1000]
    letters = sum(map(str.isalpha, sample))
    if letters < 0.6 * len(sample):
        return False
    closed = text.rstrip("\"'”’»)]")[-1:] in ".!?…。！？"
    words = sample.count(" ") + 1
    if words < 4:
        return closed and len(text) >= 12 and not text.isascii()
    capitals = sum(word[0].isupper() for word in sample.split())
    return (closed and capitals <= 0.7 * words) or (len(text) >= 80 and capitals <= 0.55 * words)


def _looks_like_heading(text: str) -> bool:
    """Return whether a block without markup is short and has the shape of a heading."""
    return len(text) <= 90 and text[-1] not in ".,;" and any(map(str.isalpha, text))


def _sentence_texts(text: str) -> Iterator[str]:
    """Yield a block's sentences, none over ``MAX_SENTENCE_CHARACTERS``."""
    start = 0
    for match in _END.finditer(text):
        if _ends_sentence(text, start, match):
            yield from _bounded(text[start : match.end()].strip())
            start = match.end()
    yield from _bounded(text[start:].strip())


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    """Return whether the mark ends a sentence rather than an abbreviation or an initial."""
    following = text[match.end() : match.end() + 2].strip()
    if not match.group().startswith("."):
        return True
    if following[:1].islower():
        return False
    if match.end() - start < _MAX_BRACKETED and _is_bracketed(text[start : match.end()]):
        return False
    return _ABBREVIATION.search(text[max(start, match.start() - 8) : match.start()]) is None


def _is_bracketed(said: str) -> bool:
    """Return whether a bracket is still open at the end."""
    return said.count("(") > said.count(")")


def _bounded(sentence: str) -> Iterator[str]:
    """Yield the sentence, cut at blanks into pieces of a bounded length."""
    while len(sentence) > MAX_SENTENCE_CHARACTERS:
        border = sentence.rfind(" ", 0, MAX_SENTENCE_CHARACTERS)
        border = border if border > 0 else MAX_SENTENCE_CHARACTERS
        yield sentence[:border]
        sentence = sentence[border:].lstrip()
    if sentence:
        yield sentence
