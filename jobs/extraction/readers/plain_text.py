"""Text files of every encoding: prose, Markdown, data and source code."""

from __future__ import annotations

from jobs.extraction import media_types as mt
from jobs.extraction.decoding import decode
from jobs.extraction.markdown import escape, fence, to_plain
from jobs.extraction.reading import Reading, Source

# At most this many bytes per character kept can matter, whatever the encoding.
_BYTES_PER_CHAR = 4
_PROSE = frozenset({mt.PLAIN, mt.MBOX, "text/vtt", "text/calendar", "text/vcard", "text/asciidoc"})


def read(source: Source) -> Reading:
    """Read a text file; prose is escaped, code and data become a fenced block."""
    text, encoding, warnings = load(source)
    markdown, plain = _structured(text, source)
    return Reading(
        markdown=markdown,
        text=plain,
        engine="text",
        metadata={"encoding": encoding, "line_count": text.count("\n") + bool(text)},
        warnings=warnings,
    )


def load(source: Source) -> tuple[str, str, list[str]]:
    """Read and decode as much of a text file as can be kept.

    Returns:
        The text with line feeds as line ends, its encoding's name, and warnings.
    """
    limit = source.limits.output_chars * _BYTES_PER_CHAR
    with source.path.open("rb") as file:
        data = file.read(limit + 1)
    text, encoding, warnings = decode(data[:limit])
    if len(data) > limit:
        warnings.append(f"Only the first {limit:,} bytes of the file were read.")
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding, warnings


def _structured(text: str, source: Source) -> tuple[str, str]:
    if source.media_type == mt.MARKDOWN:
        return text, to_plain(text)
    if source.media_type in _PROSE:
        return escape(text), text
    return fence(text, _language(source)), text


def _language(source: Source) -> str:
    """Name the language of a code block as highlighters know it."""
    name = source.media_type.partition("/")[2].removeprefix("x-").removeprefix("vnd.")
    known = {"c++": "cpp", "shellscript": "bash", "ndjson": "json", "ipynb+json": "json"}
    return known.get(name, name if name.isalnum() else "")
