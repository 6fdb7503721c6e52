"""Complete what a reader found: plain text, language, title, counts, and the output limit."""

from __future__ import annotations

from jobs.extraction.language import detect
from jobs.extraction.markdown import first_heading, to_plain
from jobs.extraction.page_texts import NO_TEXT, failure_sentence
from jobs.extraction.reading import Reading, Source
from jobs.extraction.result import Extraction
from jobs.extraction.versions import ENGINE_VERSION

_TITLE_CHARS = 300
_WARNINGS_KEPT = 50


def complete(reading: Reading, source: Source) -> Extraction:
    """Make an extraction from a reading.

    Args:
        reading: what the reader found; its lists and metadata are taken over.
        source: the document, for its limits.
    """
    warnings = list(dict.fromkeys(reading.warnings))[:_WARNINGS_KEPT]
    limit = source.limits.output_chars
    markdown = _cut(reading.markdown, limit, warnings)
    text = _cut(to_plain(markdown) if reading.text is None else reading.text, limit, warnings)
    if reading.failed_pages:
        warnings.append(failure_sentence(reading.failed_pages, reading.page_count))
    if not text.strip():
        warnings.append(NO_TEXT)
    metadata = reading.metadata
    metadata["char_count"] = len(text)
    metadata["word_count"] = len(text.split())
    title = (reading.title or "").strip() or first_heading(markdown)
    pages = _first_pages(reading.pages, limit)
    return Extraction(
        text=text,
        markdown=markdown,
        title=title[:_TITLE_CHARS] if title else None,
        page_count=reading.page_count,
        language=detect(text),
        metadata=metadata,
        media_type=source.media_type,
        engine=reading.engine,
        engine_version=ENGINE_VERSION,
        warnings=list(dict.fromkeys(warnings)),
        pages=pages,
        tables=reading.tables or [],
        page_starts=[min(start, len(markdown)) for start in reading.page_starts[: len(pages)]],
        failed_pages=reading.failed_pages,
    )


def _cut(text: str, limit: int, warnings: list[str]) -> str:
    if len(text) > limit:
        warnings.append(f"Only the first {limit:,} characters were kept.")
    return text[:limit]


def _first_pages(pages: list[str], limit: int) -> list[str]:
    kept: list[str] = []
    for page in pages:
        limit -= len(page)
        if limit < 0:
            break
        kept.append(page)
    return kept
