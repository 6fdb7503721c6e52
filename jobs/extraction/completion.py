"""Complete what a reader found: plain text, language, title, counts, and the output limit."""

from __future__ import annotations

from jobs.extraction.chunking import chunks_of
from jobs.extraction.language import detect
from jobs.extraction.markdown import first_heading, to_plain
from jobs.extraction.markdown_tables import CELLS_KEPT, bounded, tables_in
from jobs.extraction.page_texts import NO_TEXT, failure_sentence
from jobs.extraction.reading import Reading, Source
from jobs.extraction.result import Extraction, Table
from jobs.extraction.versions import engine_version

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
    # A character that no database keeps would move what stands behind it, and chunks are offsets.
    markdown = _cut(reading.markdown.replace("\x00", ""), limit, warnings)
    plain = to_plain(markdown) if reading.text is None else reading.text.replace("\x00", "")
    text = _cut(plain, limit, warnings)
    if reading.failed_pages:
        warnings.append(failure_sentence(reading.failed_pages, reading.page_count))
    if not text.strip():
        warnings.append(NO_TEXT)
    metadata = reading.metadata
    metadata["char_count"] = len(text)
    metadata["word_count"] = len(text.split())
    title = (reading.title or "").strip() or first_heading(markdown)
    tables = _tables(reading, markdown, source, warnings)
    pages = _first_pages(reading.pages, limit)
    chunks, markdown_pages = chunks_of(text, markdown, pages)
    return Extraction(
        text=text,
        markdown=markdown,
        title=title[:_TITLE_CHARS] if title else None,
        page_count=reading.page_count,
        language=detect(text),
        metadata=metadata,
        media_type=source.media_type,
        engine=reading.engine,
        engine_version=engine_version(source.ocr),
        warnings=list(dict.fromkeys(warnings)),
        pages=pages,
        tables=tables,
        chunks=chunks,
        markdown_pages=markdown_pages,
        page_starts=[min(start, len(markdown)) for start in reading.page_starts[: len(pages)]],
        failed_pages=reading.failed_pages,
    )


def _tables(reading: Reading, markdown: str, source: Source, warnings: list[str]) -> list[Table]:
    if not source.options.tables:
        return []
    found = tables_in(markdown, reading.page_starts) if reading.tables is None else reading.tables
    kept, is_whole = bounded(found, source.limits.output_chars)
    if not is_whole:
        warnings.append(
            f"Only the first {CELLS_KEPT:,} cells of the tables were kept; the text has the rest."
        )
    return kept


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
