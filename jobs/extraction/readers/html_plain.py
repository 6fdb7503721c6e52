"""HTML, second choice: the standard library's parser, for pages that the first one refuses."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from jobs.extraction.decoding import decode_html
from jobs.extraction.markdown import escape
from jobs.extraction.reading import Reading, Source

_HIDDEN = frozenset({"script", "style", "noscript", "template", "svg", "head"})
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "table", "section", "article", "pre"},
)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title = ""
        self._hidden: str | None = None
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._in_title = tag == "title"
        if self._hidden is None and tag in _HIDDEN:
            self._hidden = tag
        elif tag == "body":
            self._hidden = None
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag == self._hidden:
            self._hidden = None
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._hidden is None:
            self.parts.append(data)


def read(source: Source) -> Reading:
    """Read a page's visible text, a line per block."""
    data = source.path.read_bytes()[: source.limits.output_chars * 4]
    markup, encoding, warnings = decode_html(data)
    parser = _Text()
    parser.feed(markup)
    parser.close()
    lines = [" ".join(line.split()) for line in "".join(parser.parts).split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return Reading(
        markdown=escape(text),
        text=text,
        title=parser.title,
        engine="html.parser",
        metadata={"encoding": encoding},
        warnings=warnings,
    )
