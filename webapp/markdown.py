"""Foreign Markdown as harmless HTML: no raw HTML, no images, no active links."""

from __future__ import annotations

import functools

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

# Rendering is linear, but a web thread should not be busy for seconds with one page.
LONGEST_RENDERED = 200_000
_TAGS = {
    "a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_DEEPEST_HEADING = 6


def render(source: str) -> Markup:
    """Render the beginning of a Markdown text.

    Args:
        source: what was extracted from somebody's file; only its first 200,000 characters are rendered.

    Returns:
        HTML of an allow-list of tags; headings begin at the third level, below the page's own.
    """
    parser = _parser()
    tokens = parser.parse(source[:LONGEST_RENDERED])
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(_DEEPEST_HEADING, int(token.tag[1]) + 2)}"
        for child in token.children or ():
            if child.type == "image":
                # Its words stay; the picture would be fetched from wherever the file says.
                child.type = "text"
    html = parser.renderer.render(tokens, parser.options, {})
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704  # cleaned in the line above


@functools.cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")
