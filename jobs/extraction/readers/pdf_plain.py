"""PDF, second choice: plain text by pypdf, for files that PDFium cannot survive."""

from __future__ import annotations

import pypdf
from pypdf.errors import FileNotDecryptedError, PdfReadError, WrongPasswordError

from jobs.extraction.dates import iso
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.markdown import escape
from jobs.extraction.page_texts import join
from jobs.extraction.reading import Reading, Source
from jobs.extraction.result import FailedPage


def read(source: Source) -> Reading:
    """Read what text can be had page by page; pages that fail are told.

    Raises:
        Fault: it is protected with a password, or no page could be opened.
    """
    try:
        document = pypdf.PdfReader(source.path, password=source.options.password)
        page_count = len(document.pages)
    except (WrongPasswordError, FileNotDecryptedError) as error:
        raise Fault(source.locked) from error
    except PdfReadError as error:
        raise Fault(FaultCode.UNREADABLE) from error
    if not page_count:
        raise Fault(FaultCode.UNREADABLE)
    reading = Reading(markdown="", engine="pypdf", page_count=page_count)
    _read_properties(document, reading)
    _read_pages(document, source, page_count, reading)
    if reading.failed_pages and len(reading.failed_pages) == len(source.resume.only or reading.pages):
        raise Fault(FaultCode.UNREADABLE)
    if len(reading.pages) < page_count:
        reading.warnings.append(f"Only the first {len(reading.pages):,} of {page_count:,} pages were read.")
    reading.text = "\n\n".join(page for page in reading.pages if page)
    reading.markdown, reading.page_starts = join([escape(page) for page in reading.pages])
    return reading


def _read_pages(document: pypdf.PdfReader, source: Source, page_count: int, reading: Reading) -> None:
    """Fill the reading's pages until the limits."""
    wanted = min(page_count, source.limits.max_pages)
    source.page_log.expect(wanted)
    chars = 0
    for index in range(wanted):
        if source.seconds_left() < 0 or chars > source.limits.output_chars:
            break
        text = ""
        if source.resume.wants(index + 1) and source.options.wants_page(index + 1):
            try:
                text = document.pages[index].extract_text().strip()
                source.page_log.done(index + 1, escape(text))
            except (FileNotDecryptedError, MemoryError):
                raise
            except Exception:  # noqa: BLE001 - one bad page must not cost the good ones
                reading.failed_pages.append(FailedPage(index + 1, FaultCode.UNREADABLE.value))
                source.page_log.failed()
        chars += len(text)
        reading.pages.append(text)
        source.report((index + 1) / wanted)


def _read_properties(document: pypdf.PdfReader, reading: Reading) -> None:
    try:
        info = document.metadata
        reading.title = info.title if info else None
        for name, value in (("author", info.author), ("subject", info.subject)) if info else ():
            if value:
                reading.metadata[name] = str(value)[:1000]
        date = iso(str(info.get("/CreationDate") or "")) if info else None
    except Exception:  # noqa: BLE001 - properties are a bonus
        return
    if date:
        reading.metadata["created_at"] = date
