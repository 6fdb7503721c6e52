"""Which line of a document is its title."""

from __future__ import annotations

import re

from jobs.analysis.text import Block, one_line, strip_markup

MAX_TITLE_CHARACTERS = 200
_HEADING = re.compile(r"^#{1,2} +(\S.*)$", re.MULTILINE)
_SUBJECT = re.compile(
    r"^\W{0,4}(?:subject|betreff|objet|asunto|oggetto)\W{0,4}: ?(\S.{0,300})$", re.IGNORECASE | re.MULTILINE
)
_PLACEHOLDER = re.compile(
    r"^(?:untitled|document\d*|slide \d+|powerpoint presentation|microsoft word.*|title|sheet\d*"
    r"|book\d*|page \d+|contents|table of contents|abstract|\[?image.*|no title|none|null|new document"
    r"|paper title.*|(?:chapter|part|section|book) [ivxlc\d]{1,6}|copyright .*|licensed .*|rss|html|xml)$",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(
    r"^[\w./\\ -]{1,100}\.(?:docx?|pdf|xlsx?|pptx?|indd|qxd|tex|dvi|ps|txt|html?|rtf|odt)$", re.IGNORECASE
)
_LABEL = re.compile(r"^[^:]{1,25}: |@|https?://|\d{3,}[-/.]\d|^\d+$|^page \d", re.IGNORECASE)


def find_title(stated: str | None, markdown: str, blocks: list[Block], filename: str = "") -> str | None:
    """Return the document's title.

    Args:
        stated: what the file's own properties say.
        markdown: cleaned Markdown, or the plain text where there is none.
        blocks: the text's blocks.
        filename: the name at upload; a stated title that only repeats it says nothing.

    Returns:
        The stated title unless it is a placeholder or a file name; else a mail's subject, the
        first top heading, or the likeliest of the first lines; ``None`` when none looks like one.
    """
    head = markdown[:4000]
    subject = _SUBJECT.search(head[:2000])
    heading = _HEADING.search(head)
    if stated and stated.strip().casefold() in (filename.casefold(), filename.rpartition(".")[0].casefold()):
        stated = None
    guesses = (
        stated,
        subject[1] if subject else None,
        strip_markup(heading[1]) if heading else None,
        _likeliest_line(blocks),
    )
    return next((title for title in map(_usable, guesses) if title), None)


def _usable(title: str | None) -> str | None:
    """Return the title on one line, or ``None`` when it says nothing."""
    if not title:
        return None
    line = one_line(strip_markup(title), MAX_TITLE_CHARACTERS)
    letters = sum(character.isalpha() for character in line)
    if letters < 2 or letters < 0.4 * len(line) or _PLACEHOLDER.match(line) or _FILE_NAME.match(line):
        return None
    return line


def _likeliest_line(blocks: list[Block]) -> str | None:
    """Return the line among the first ten blocks that is most like a title, if any is."""
    best, best_score = None, 1.0
    for number, block in enumerate(blocks[:10]):
        score = _line_score(block, number)
        if score > best_score:
            best, best_score = block.text, score
    return best


def _line_score(block: Block, number: int) -> float:
    """Return how much a block looks like a title; over 1.0 is good enough."""
    text = block.text
    words = text.split()
    if (
        not 4 <= len(text) <= MAX_TITLE_CHARACTERS
        or _LABEL.search(text)
        or text[-1] in ".,;:"
        or text[:1].islower()
    ):
        return 0.0
    score = 2.0 - 0.2 * number
    if block.heading:
        score += 0.5
    if 3 <= len(words) <= 16:
        score += 0.5
    elif len(words) == 1 and text.isascii():
        score -= 0.7
    capitals = sum(word[0].isupper() for word in words)
    if capitals >= 0.6 * len(words):
        score += 0.3
    digits = sum(character.isdigit() for character in text)
    return score - 3.0 * digits / len(text) - (0.8 if "," in text and number > 0 else 0.0)
