"""PDF: text, headings and tables by liteparse; pages that are pictures by OCR."""

from __future__ import annotations

from collections.abc import Iterator

import liteparse
import pypdfium2

from jobs.extraction import ocr, pages
from jobs.extraction.dates import iso
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.markdown import escape, to_plain
from jobs.extraction.reading import Reading, Source
from jobs.model import JSON

# Up to here the whole document is parsed at once, which sees headings that all pages share;
# beyond, batches keep the memory bounded and let progress be told.
_WHOLE_PAGES = 300
_BATCH_PAGES = 150
# A page with fewer characters may be a scan with a stamp or a page number on top.
_SPARSE_CHARS = 24
_PICTURE_SHARE = 0.3
# Markdown that lost more than this share of the page's letters is not trusted.
_KEPT_SHARE = 0.8
_TEXT_SHARE_OF_WORK = 0.5


def read(source: Source) -> Reading:
    """Read a PDF.

    Raises:
        Fault: it is protected with a password, or no PDF at all.
    """
    metadata, title, page_count = _properties(source)
    found = list(_parse(source, page_count))
    reading = Reading(markdown="", engine="liteparse", title=title, page_count=page_count)
    reading.metadata = metadata
    texts = [_markdown_of(page) for page in found]
    if page_count > len(found):
        which = "the first " if page_count > source.limits.max_pages else ""
        reading.warnings.append(f"Only {which}{len(found):,} of {page_count:,} pages were read.")
    unread = [index for index, page in enumerate(found) if _needs_ocr(page, texts[index])]
    if unread:
        _read_pictures(source, texts, unread, reading)
    reading.markdown = "\n\n".join(text.strip() for text in texts if text.strip()) + "\n"
    reading.pages = [to_plain(text) for text in texts]
    reading.text = "\n\n".join(page for page in reading.pages if page)
    return reading


def _properties(source: Source) -> tuple[dict[str, JSON], str | None, int]:
    """Return metadata, title and page count, or raise the fault that opening shows."""
    try:
        document = pypdfium2.PdfDocument(source.path, password=source.options.password)
    except pypdfium2.PdfiumError as error:
        is_locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise Fault(source.locked if is_locked else FaultCode.UNREADABLE) from error
    try:
        info = document.get_metadata_dict(skip_empty=True)
        page_count = len(document)
    finally:
        document.close()
    metadata: dict[str, JSON] = {}
    for key, name in (("Author", "author"), ("Subject", "subject"), ("Keywords", "keywords"),
                      ("Creator", "creator"), ("Producer", "producer")):  # fmt: skip
        if info.get(key, "").strip():
            metadata[name] = info[key].strip()[:1000]
    for key, name in (("CreationDate", "created_at"), ("ModDate", "modified_at")):
        date = iso(info.get(key))
        if date:
            metadata[name] = date
    return metadata, info.get("Title"), page_count


def _parse(source: Source, page_count: int) -> Iterator[liteparse.ParsedPage]:
    parser = liteparse.LiteParse(
        ocr_enabled=False,
        max_pages=source.limits.max_pages,
        output_format="markdown",
        keep_headers_footers=True,
        include_complexity=True,
        continue_on_page_error=True,
        image_mode="off",
        num_workers=1,
        password=source.options.password,
        quiet=True,
    )
    try:
        # Bytes, since liteparse judges a path by its extension and stored files have none.
        data = source.path.read_bytes()
        if page_count <= _WHOLE_PAGES:
            yield from parser.parse(data).pages
            source.report(_TEXT_SHARE_OF_WORK)
            return
        wanted = min(page_count, source.limits.max_pages)
        for batch in parser.parse_batches(data, _BATCH_PAGES):
            yield from batch.result.pages
            source.report(_TEXT_SHARE_OF_WORK * min(1.0, batch.end_page / max(1, wanted)))
            if batch.end_page >= wanted:
                return
    except liteparse.ParseError as error:
        is_locked = "password" in str(error).lower()
        raise Fault(source.locked if is_locked else FaultCode.UNREADABLE) from error


def _markdown_of(page: liteparse.ParsedPage) -> str:
    """Return the page's Markdown, or its laid-out text where the Markdown lost too much of it."""
    letters = _letters(page.text)
    if not letters:
        # The Markdown of an empty page is an empty code block.
        return ""
    if _letters(page.markdown) >= _KEPT_SHARE * letters:
        return str(page.markdown)
    return escape("\n".join(line.strip() for line in page.text.splitlines()))


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def _needs_ocr(page: liteparse.ParsedPage, text: str) -> bool:
    letters = _letters(text)
    look = page.complexity
    if letters == 0 or look is None:
        return letters == 0
    has_picture = look.full_page_image or look.image_coverage > _PICTURE_SHARE
    return look.is_garbled or (letters < _SPARSE_CHARS and has_picture)


def _read_pictures(source: Source, texts: list[str], unread: list[int], reading: Reading) -> None:
    """Replace the text of pages that are pictures by what OCR sees on them."""
    looked_at = read_count = 0
    confidences: list[int] = []
    with ocr.Recognizer() as recognizer:
        for index, picture in pages.rendered(source.path, unread, source.options.password):
            if read_count >= source.limits.ocr_max_pages or source.seconds_left() < 0:
                break
            looked_at += 1
            # Blank pages cost little and do not count against the limit.
            if picture is not None and not ocr.is_blank(picture):
                read_count += 1
                seen = recognizer.read(picture)
                if _letters(seen.text) > _letters(texts[index]):
                    texts[index] = escape(seen.text)
                    confidences.append(seen.confidence)
            share = looked_at / len(unread)
            source.report(_TEXT_SHARE_OF_WORK + (1 - _TEXT_SHARE_OF_WORK) * share)
    if looked_at < len(unread):
        reading.warnings.append(
            f"Only the first {looked_at:,} of {len(unread):,} pages without text were read by OCR."
        )
    if confidences:
        reading.engine = "liteparse+tesserocr"
        reading.metadata["ocr_page_count"] = len(confidences)
        ocr.judge(confidences, reading)
