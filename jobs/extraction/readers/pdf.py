"""PDF: text, headings and tables by liteparse; pages that are pictures by OCR."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import liteparse
import pypdfium2

from jobs.extraction import ocr, pages, pdf_tables
from jobs.extraction.dates import iso
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.markdown import escape, to_plain
from jobs.extraction.options import Ocr, describe_pages
from jobs.extraction.page_texts import join
from jobs.extraction.reading import Reading, Source
from jobs.extraction.result import FailedPage
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
_ASCII_BESIDE_LETTERS = bytes(code for code in range(128) if not chr(code).isalnum())


def read(source: Source) -> Reading:
    """Read a PDF.

    Raises:
        Fault: it is protected with a password, no PDF at all, or none of its pages could be read.
    """
    metadata, title, page_count = _properties(source)
    reading = Reading(markdown="", engine="liteparse", title=title, page_count=page_count)
    reading.metadata = metadata
    texts, failed = dict(source.resume.kept), dict(source.resume.failed)
    wanted = _wanted(source, page_count)
    source.page_log.expect(len(wanted), len(texts.keys() | failed.keys()))
    unread: list[int] = []
    if source.resume.finish is None:
        with pages.ExactText(source.path, source.options.password) as exact:
            for page in _parse(source, page_count):
                _take(page, texts, unread, source, exact)
        # Their text could not be had; perhaps they can be looked at.
        missing = [page for page in wanted if page not in texts and page not in failed]
        if source.options.ocr is Ocr.NEVER:
            _tell_unread(texts, reading)
        else:
            unread = sorted({*unread, *missing[: source.limits.ocr_max_pages]})
        _read_pictures(source, texts, unread, reading, failed)
    why = source.resume.finish or (
        FaultCode.LIMIT_TIME if source.seconds_left() < 0 else FaultCode.UNREADABLE
    )
    failed |= {page: str(why) for page in wanted if page not in texts and page not in failed}
    if wanted and not texts:
        raise Fault(FaultCode.UNREADABLE)
    if not wanted and source.options.pages:
        raise Fault(FaultCode.NO_SUCH_PAGES)
    if page_count > len(wanted) and source.options.pages:
        asked = describe_pages(source.options.pages)
        reading.warnings.append(f"Of {page_count:,} pages only those asked for were read: {asked}.")
    elif page_count > len(wanted) and not source.resume.only:
        reading.warnings.append(f"Only the first {len(wanted):,} of {page_count:,} pages were read.")
    _put_together(reading, texts, failed)
    return reading


def _wanted(source: Source, page_count: int) -> list[int]:
    last = min(page_count, source.limits.max_pages)
    if source.resume.only:
        return [page for page in range(1, last + 1) if page in source.resume.only]
    return [page for page in range(1, last + 1) if source.options.wants_page(page)]


def _take(
    page: liteparse.ParsedPage,
    texts: dict[int, str],
    unread: list[int],
    source: Source,
    exact: pages.ExactText,
) -> None:
    number = page.page_num
    texts[number] = _markdown_of(page, exact)
    asked = source.options.ocr
    if asked is Ocr.ALWAYS or (asked is Ocr.AUTO and _needs_ocr(page, texts[number])):
        unread.append(number)
    else:
        source.page_log.done(number, texts[number])


def _put_together(reading: Reading, texts: dict[int, str], failed: dict[int, str]) -> None:
    reading.failed_pages = [FailedPage(page, failed[page]) for page in sorted(failed)]
    in_order = [texts.get(page, "") for page in range(1, max([*texts, *failed], default=0) + 1)]
    reading.markdown, reading.page_starts = join(in_order)
    reading.pages = [to_plain(text) for text in in_order]
    reading.text = "\n\n".join(page for page in reading.pages if page)


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
    try:
        # Bytes, since liteparse judges a path by its extension and stored files have none.
        data = source.path.read_bytes()
        wanted = _wanted(source, page_count)
        if source.options.pages and not source.resume.careful and len(wanted) <= _WHOLE_PAGES:
            yield from _parser(source, describe_pages(source.options.pages)).parse(data).pages
            source.report(_TEXT_SHARE_OF_WORK)
        elif source.resume.careful or source.resume.only or source.options.pages:
            yield from _parse_one_by_one(source, page_count, data)
        elif page_count <= _WHOLE_PAGES:
            yield from _parser(source).parse(data).pages
            source.report(_TEXT_SHARE_OF_WORK)
        else:
            last = min(page_count, source.limits.max_pages)
            for batch in _parser(source).parse_batches(data, _BATCH_PAGES):
                yield from batch.result.pages
                source.report(_TEXT_SHARE_OF_WORK * min(1.0, batch.end_page / max(1, last)))
                if batch.end_page >= last:
                    return
    except liteparse.ParseError as error:
        is_locked = "password" in str(error).lower()
        raise Fault(source.locked if is_locked else FaultCode.UNREADABLE) from error


def _parse_one_by_one(source: Source, page_count: int, data: bytes) -> Iterator[liteparse.ParsedPage]:
    """Read each page that is still wanted by itself; one whose text cannot be had is left out."""
    wanted = [page for page in _wanted(source, page_count) if source.resume.wants(page)]
    for place, page in enumerate(wanted):
        if source.seconds_left() < 0:
            return
        source.page_log.begin(page)
        with contextlib.suppress(liteparse.ParseError):
            yield from _parser(source, str(page)).parse(data).pages
        source.report(_TEXT_SHARE_OF_WORK * (place + 1) / len(wanted))


def _parser(source: Source, pages: str | None = None) -> liteparse.LiteParse:
    return liteparse.LiteParse(
        ocr_enabled=False,
        max_pages=source.limits.max_pages,
        target_pages=pages,
        output_format="markdown",
        keep_headers_footers=True,
        include_complexity=True,
        continue_on_page_error=True,
        extract_blocks=True,
        extract_vector_graphics=True,
        image_mode="off",
        num_workers=1,
        password=source.options.password,
        quiet=True,
    )


def _markdown_of(page: liteparse.ParsedPage, exact: pages.ExactText) -> str:
    """Return the page's Markdown, or its laid-out text where the Markdown lost too much of it."""
    letters = _letters(page.text)
    if not letters:
        # The Markdown of an empty page is an empty code block.
        return ""
    if pdf_tables.has_tables(page):
        typography = pdf_tables.Typography(lambda: exact.of(page.page_num))
        markdown = pdf_tables.markdown_of(page, typography)
    else:
        markdown = str(page.markdown)
    if _letters(markdown) >= _KEPT_SHARE * letters:
        return markdown
    return escape("\n".join(line.strip() for line in page.text.splitlines()))


def _letters(text: str) -> int:
    """Count letters and digits."""
    left = text.encode("utf-8", "replace").translate(None, _ASCII_BESIDE_LETTERS)
    return len(left) if left.isascii() else sum(map(str.isalnum, left.decode("utf-8")))


def _needs_ocr(page: liteparse.ParsedPage, text: str) -> bool:
    letters = _letters(text)
    look = page.complexity
    if letters == 0 or look is None:
        return letters == 0
    has_picture = look.full_page_image or look.image_coverage > _PICTURE_SHARE
    return look.is_garbled or (letters < _SPARSE_CHARS and has_picture)


def _read_pictures(
    source: Source, texts: dict[int, str], unread: list[int], reading: Reading, failed: dict[int, str]
) -> None:
    """Replace the text of pages that are pictures by what OCR sees on them."""
    if not unread:
        return
    longest = 0.0
    looked_at = read_count = 0
    confidences: list[int] = []
    with ocr.opened(source, reading) as recognizer:
        for index, picture in pages.rendered(
            source.path, _each_begun(source, unread), source.options.password
        ):
            # Another page may take as long as the longest so far.
            if read_count >= source.limits.ocr_max_pages or source.seconds_left() < longest:
                break
            left = source.seconds_left()
            number = index + 1
            looked_at += 1
            # Blank pages cost little and do not count against the limit.
            if picture is not None and not ocr.is_blank(picture):
                read_count += 1
                seen = recognizer.read(picture)
                least = 0 if source.options.ocr is Ocr.ALWAYS else _letters(texts.get(number, ""))
                if _letters(seen.text) > least:
                    texts[number] = escape(seen.text)
                    confidences.append(seen.confidence)
            _settle_page(source, number, texts, failed, is_drawn=picture is not None)
            longest = max(longest, left - source.seconds_left())
            share = looked_at / len(unread)
            source.report(_TEXT_SHARE_OF_WORK + (1 - _TEXT_SHARE_OF_WORK) * share)
    if looked_at < len(unread):
        reading.warnings.append(
            f"Only the first {looked_at:,} of {len(unread):,} pages to be read by OCR were read."
        )
    if confidences:
        reading.engine = f"liteparse+{recognizer.engine}"
        reading.metadata["ocr_page_count"] = len(confidences)
        ocr.judge(confidences, source, reading)


def _tell_unread(texts: dict[int, str], reading: Reading) -> None:
    """Say which pages have no text that could be had without looking at their pictures."""
    empty = sum(not _letters(text) for text in texts.values())
    if empty:
        reading.warnings.append(f"{empty:,} pages without text were not read by OCR, as was asked.")


def _each_begun(source: Source, numbers: list[int]) -> Iterator[int]:
    """Yield indexes of pages, each told before it is touched."""
    for number in numbers:
        source.page_log.begin(number)
        yield number - 1


def _settle_page(
    source: Source, number: int, texts: dict[int, str], failed: dict[int, str], *, is_drawn: bool
) -> None:
    """Take note of a page that was looked at: it is read, or neither text nor picture was to be had."""
    if is_drawn or texts.get(number):
        source.page_log.done(number, texts.setdefault(number, ""))
    else:
        texts.pop(number, None)
        failed[number] = FaultCode.UNREADABLE.value
        source.page_log.failed()
