"""Office files, OpenDocument, books, web pages, mail, archives: everything that xberg reads."""

from __future__ import annotations

import asyncio
import json
import re

import xberg

from jobs.extraction import media_types as mt
from jobs.extraction.dates import iso
from jobs.extraction.decoding import decode, decode_html, html_title
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.markdown import without_pictures
from jobs.extraction.reading import Reading, Source
from jobs.model import JSON

_WEB_PAGES = frozenset({mt.HTML, "application/xhtml+xml"})
_IDENTIFIER = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_RTF_ESCAPE = re.compile(r"\\'([0-9A-Fa-f]{2})")
_NESTING = 256
_ENTRIES = 2_000
_ENTITY_BYTES = 1024 * 1024
_TABLE_CELLS = 5_000_000
_UNPACKED_BYTES = 400 * 1024 * 1024
_CONTENT_BYTES = 200 * 1024 * 1024
# What xberg says of protected files; it has no error class of its own for them.
_LOCKED_WORDS = ("password", "encrypt", "decrypt")
_COUNTS = ("page_count", "slide_count", "sheet_count", "file_count", "word_count")


def read(source: Source) -> Reading:
    """Read a document through xberg.

    Raises:
        Fault: it is protected, unpacks to too much, or takes too long.
    """
    data = _bytes_of(source)
    reading = read_bytes(source, data)
    if source.media_type in _WEB_PAGES:
        reading.title = html_title(data.decode("utf-8", "replace"))
    return reading


def read_bytes(source: Source, data: bytes) -> Reading:
    """Read a document that is already in memory; see ``read``."""
    source.report(0.05)
    document = _extracted(source, data)
    source.report(0.9)
    if source.media_type in _WEB_PAGES and not document.content.strip():
        # xberg gives up silently on pages that are nested too deeply; the next reader does not.
        raise Fault(FaultCode.UNREADABLE)
    reading = Reading(markdown=without_pictures(document.content), engine="xberg")
    _take_properties(document, reading)
    if source.media_type in {mt.EML, mt.MSG}:
        _take_mail(document, reading)
    for warning in document.processing_warnings:
        # Only the part of the engine that complains is named: its sentences may quote the document.
        reading.warnings.append(f"A part of the document could not be read ({str(warning.source)[:40]}).")
    return reading


def _bytes_of(source: Source) -> bytes:
    """Return the bytes to read: text kinds as UTF-8, which is all that xberg takes for them."""
    data = source.path.read_bytes()
    if source.media_type in _WEB_PAGES:
        return decode_html(data)[0].encode("utf-8", "replace")
    if source.media_type.startswith("text/"):
        return decode(data)[0].encode("utf-8", "replace")
    return data


def _extracted(source: Source, data: bytes) -> xberg.ExtractedDocument:
    config = xberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,
        enable_quality_processing=False,
        output_format="markdown",
        # The engine writes a page's properties into its text; they belong to the metadata.
        html_options=xberg.ConversionOptions(extract_metadata=False),
        extraction_timeout_secs=max(1, int(source.seconds_left())),
        security_limits=xberg.SecurityLimits(
            max_archive_size=_UNPACKED_BYTES,
            max_files_in_archive=_ENTRIES,
            max_nesting_depth=_NESTING,
            max_xml_depth=_NESTING,
            max_entity_length=_ENTITY_BYTES,
            max_content_size=_CONTENT_BYTES,
            max_table_cells=_TABLE_CELLS,
        ),
    )
    document = xberg.ExtractInput(kind="bytes", bytes=data, mime_type=source.media_type, filename="document")
    try:
        result = asyncio.run(xberg.extract(document, config))
    except xberg.XbergTimeoutError as error:
        raise Fault(FaultCode.LIMIT_TIME) from error
    except (xberg.XbergError, RuntimeError) as error:
        raise _fault_of(str(error), type(error).__name__) from error
    if not result.results:
        raise _fault_of(" ".join(str(item.message) for item in result.errors), "NoResult")
    return result.results[0]


def _fault_of(message: str, note: str) -> Fault:
    lowered = message.lower()
    if any(word in lowered for word in _LOCKED_WORDS):
        return Fault(FaultCode.ENCRYPTED)
    if "timed out" in lowered or "timeout" in lowered:
        return Fault(FaultCode.LIMIT_TIME)
    if "security limit" in lowered or "exceeds limit" in lowered:
        code = FaultCode.TOO_DEEP if "nest" in lowered else FaultCode.LIMIT_OUTPUT
        return Fault(code, note=note)
    return Fault(FaultCode.UNREADABLE, note=note)


def _take_properties(document: xberg.ExtractedDocument, reading: Reading) -> None:
    found = document.metadata
    details = _details(document)
    reading.title = _clean_title(found.title)
    texts = {
        "author": ", ".join(found.authors or []),
        "subject": found.subject,
        "keywords": ", ".join(found.keywords or []),
        "created_at": iso(found.created_at),
        "modified_at": iso(found.modified_at),
        "modified_by": found.modified_by,
    }
    for name, value in texts.items():
        if value and value.strip():
            reading.metadata[name] = value.strip()[:1000]
    for name in _COUNTS:
        count = details.get(name)
        if isinstance(count, int):
            reading.metadata[name] = count
    names = details.get("sheet_names") or details.get("file_list")
    if isinstance(names, list):
        reading.metadata["parts"] = [str(name)[:300] for name in names[:200]]
    reading.page_count = _page_count(details, found.additional)


def _clean_title(title: str | None) -> str | None:
    """Return a title for people: without RTF escapes, and none that is only an identifier."""
    if title is None or _IDENTIFIER.fullmatch(title.strip()):
        return None
    return _RTF_ESCAPE.sub(lambda found: bytes.fromhex(found.group(1)).decode("cp1252", "replace"), title)


def _details(document: xberg.ExtractedDocument) -> dict[str, JSON]:
    """Return what xberg knows of this format alone, an empty object when nothing."""
    if document.metadata.format is None:
        return {}
    value = json.loads(str(document.metadata.format))
    return value if isinstance(value, dict) else {}


def _page_count(details: dict[str, JSON], additional: dict[str, str]) -> int | None:
    slides = details.get("slide_count")
    if isinstance(slides, int) and slides > 0:
        return slides
    stated = additional.get("page_count", "").strip('"')
    return int(stated) if stated.isdigit() and stated != "0" else None


def _take_mail(document: xberg.ExtractedDocument, reading: Reading) -> None:
    """Move the mail's headers to the metadata; the text's head, which xberg writes, shows them too."""
    details = _details(document)
    sender = str(details.get("from_email") or "")
    name = str(details.get("from_name") or "")
    if sender:
        reading.metadata["from"] = f"{name} <{sender}>" if name else sender
    for key, target in (("to_emails", "to"), ("cc_emails", "cc"), ("bcc_emails", "bcc")):
        people = details.get(key)
        if isinstance(people, list) and people:
            reading.metadata[target] = [str(person)[:300] for person in people[:200]]
    files = details.get("attachments")
    if isinstance(files, list) and files:
        reading.metadata["attachments"] = [str(file)[:300] for file in files[:200]]
    if "created_at" in reading.metadata:
        reading.metadata["date"] = reading.metadata.pop("created_at")
    reading.title = document.metadata.subject or reading.title
