"""Write small pieces of Markdown, and take the markup out of a Markdown text."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence

_FENCE = re.compile(r"^ {0,3}(`{3,}(?!.*`)|~{3,})")
_RULE_CELL = r"[ \t]*(?::-+:?|-+:|-{2,})[ \t]*"
_RULED = re.compile(rf"^\s*\|?{_RULE_CELL}(?:\|{_RULE_CELL})*\|?\s*$")
_BLOCK_START = re.compile(r"^(\s*)(?:#{1,6}\s+|>\s?)+")
_BULLET = re.compile(r"^(\s*)[*+-]\s+")
_RULE_LINE = re.compile(r"^\s{0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_IMAGE = re.compile(r"!\[([^\[\]]{0,2000})\]\([^()\s]{0,2000}(?:\s\"[^\"]{0,500}\")?\)")
_LINK = re.compile(r"\[([^\[\]]{0,2000})\]\(<?[^()<>\s]{0,2000}>?(?:\s\"[^\"]{0,500}\")?\)")
_STRONG = re.compile(r"(\*\*\*|\*\*|__|~~)(?=\S)([^*_~\n]{1,2000}?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*\\])([*_])(?=[^\s*_])([^*_\n]{1,2000}?)(?<=[^\s\\])\1(?![\w*])")
_CODE = re.compile(r"(?<![`\\])`([^`\n]{1,2000})`(?!`)")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
# An escaped character is hidden here while markup is taken out, in a plane without characters.
_HIDING_PLANE = 0xF0000
_HIDDEN = re.compile("[\U000f0021-\U000f007e]")
_COMMENT = re.compile(r"<!--[^>]{0,500}-->")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_HEADING = re.compile(r"^#{1,2}\s+(\S.*)$", re.MULTILINE)
_ANY_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_NEEDS_ESCAPE = re.compile(r"([\\`*<\[]|(?<!\w)_|_(?!\w))")
_LINE_NEEDS_ESCAPE = re.compile(r"^(\s{0,3})([#>|]|[-+](?=\s)|={3,}|-{3,})", re.MULTILINE)
_NUMBERED = re.compile(r"^(\s{0,3}\d{1,9})([.)])(?=\s)", re.MULTILINE)
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&", "&nbsp;": " ", "&quot;": '"', "&#39;": "'"}


def escape(text: str) -> str:
    """Write plain text so that Markdown shows it as it is."""
    escaped = _NEEDS_ESCAPE.sub(r"\\\1", text)
    escaped = _LINE_NEEDS_ESCAPE.sub(r"\1\\\2", escaped)
    return _NUMBERED.sub(r"\1\\\2", escaped)


def fence(text: str, language: str = "") -> str:
    """Write text as a code block with a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}\n"


def table(rows: Iterable[Sequence[str]], width: int) -> str:
    """Write rows as a Markdown table, the first one as its heading.

    Args:
        rows: cells as plain text; short rows are filled up, long ones cut to ``width``.
        width: the number of columns, 1 or more.
    """
    lines: list[str] = []
    for row in rows:
        cells = [_cell(cell) for cell in row[:width]] + [""] * (width - len(row))
        lines.append("| " + " | ".join(cells) + " |")
        if len(lines) == 1:
            lines.append("|" + " --- |" * width)
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    # Cells hold data, so only what would break the table is escaped.
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def without_pictures(markdown: str) -> str:
    """Put in place of each picture its description, since the pictures themselves are not kept."""
    return _IMAGE.sub(lambda found: f"*{found.group(1)}*" if found.group(1).strip() else "", markdown)


def cells(line: str) -> list[str]:
    """Return the cells of a Markdown table's line without markup; a line break in one becomes a line feed."""
    parts = _hide(line).strip().removeprefix("|").removesuffix("|").split("|")
    return ["\n".join(_show(_inline(part)).strip() for part in _BREAK.split(cell)) for cell in parts]


def is_table_rule(line: str) -> bool:
    """Say whether a line is the one between the heading and the body of a Markdown table."""
    return "|" in line and _RULED.match(line) is not None


def heading_of(line: str) -> tuple[int, str] | None:
    """Return the level, from 1, and the words of a line that is a heading, else ``None``."""
    found = _ANY_HEADING.match(line)
    return (len(found.group(1)), _plain_line(found.group(2)).strip()) if found else None


def first_heading(markdown: str) -> str | None:
    """Return the first heading of level 1 or 2 near a document's start without markup, or ``None``."""
    # What stands in a code block is no heading.
    found = _HEADING.search(markdown[:5000].partition("```")[0])
    return (_plain_line(found.group(1)).strip() or None) if found else None


class LineKind(enum.Enum):
    """What a line of Markdown is: the border of a code block, a line in one, or anything else."""

    FENCE = enum.auto()
    CODE = enum.auto()
    OTHER = enum.auto()


def lines_of(markdown: str) -> Iterator[tuple[str, LineKind]]:
    """Yield the lines of a Markdown text, each with its kind.

    Source: CommonMark 0.31, section 4.5: the end of a code block is at least as long as its beginning.
    """
    fenced_by = ""
    for line in markdown.split("\n"):
        border = _FENCE.match(line)
        if border and not fenced_by:
            fenced_by = border.group(1)
            yield line, LineKind.FENCE
        elif border and border.group(1).startswith(fenced_by) and not line[border.end() :].strip():
            fenced_by = ""
            yield line, LineKind.FENCE
        else:
            yield line, LineKind.CODE if fenced_by else LineKind.OTHER


def plain_line(line: str, kind: LineKind) -> str | None:
    """Return a line without markup; ``None`` for one that is markup only."""
    if kind is LineKind.CODE:
        return line
    if kind is LineKind.FENCE or _RULE_LINE.match(line) or is_table_rule(line):
        return None
    return _plain_line(line)


def to_plain(markdown: str) -> str:
    """Take the markup out: headings, emphasis, links, fences and table borders."""
    plain = (plain_line(line, kind) for line, kind in lines_of(markdown))
    lines = [line for line in plain if line is not None]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _plain_line(line: str) -> str:
    if "\\" not in line:
        return _without_markup(line)
    return _show(_without_markup(_hide(line)))


def _hide(line: str) -> str:
    """Put escaped characters where no markup is seen in them."""
    if "\\" not in line:
        return line
    return _ESCAPE.sub(lambda found: chr(_HIDING_PLANE + ord(found.group(1))), line)


def _show(line: str) -> str:
    return _HIDDEN.sub(lambda found: chr(ord(found.group()) - _HIDING_PLANE), line)


def _without_markup(line: str) -> str:
    if line.lstrip().startswith("|"):
        cells = line.strip().removeprefix("|").removesuffix("|").split("|")
        return "\t".join(_inline(cell.strip()) for cell in cells).rstrip()
    line = _BLOCK_START.sub(r"\1", line)
    return _inline(_BULLET.sub(r"\1- ", line)).rstrip()


def _inline(line: str) -> str:
    if "<" in line:
        line = _BREAK.sub(" ", _COMMENT.sub("", line))
    if "](" in line:
        line = _LINK.sub(r"\1", _IMAGE.sub(r"\1", line))
    if any(mark in line for mark in "*_~`"):
        line = _CODE.sub(r"\1", line)
        line = _STRONG.sub(r"\2", line)
        line = _EMPHASIS.sub(r"\2", line)
    if "&" in line:
        for entity, character in _ENTITIES.items():
            line = line.replace(entity, character)
    return line
