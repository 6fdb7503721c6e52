"""Visio drawings (.vsdx): the text of the shapes, page by page."""

from __future__ import annotations

import re
import zipfile
from xml.etree import ElementTree as ET

from jobs.extraction.containers import BROKEN_ZIP
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.markdown import escape
from jobs.extraction.reading import Reading, Source

_PAGE = re.compile(r"visio/pages/page(\d+)\.xml")
_PAGE_BYTES = 50 * 1024 * 1024


def read(source: Source) -> Reading:
    """Read a drawing.

    Raises:
        Fault: it is damaged, or a page unpacks to too much.
    """
    try:
        with zipfile.ZipFile(source.path) as archive:
            names = sorted(
                (int(found.group(1)), name) for name in archive.namelist() if (found := _PAGE.fullmatch(name))
            )
            wanted = names[: source.limits.max_pages]
            pages = ["\n".join(_shape_texts(_member(archive, name))) for _number, name in wanted]
    except (*BROKEN_ZIP, ET.ParseError) as error:
        raise Fault(FaultCode.UNREADABLE) from error
    except RuntimeError as error:
        # How zipfile says that a member is encrypted.
        raise Fault(FaultCode.ENCRYPTED) from error
    reading = Reading(
        markdown="\n\n".join(escape(page) for page in pages if page),
        text="\n\n".join(page for page in pages if page),
        engine="visio",
        page_count=len(names),
        pages=pages,
    )
    if len(wanted) < len(names):
        reading.warnings.append(f"Only the first {len(wanted):,} of {len(names):,} pages were read.")
    return reading


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        data = file.read(_PAGE_BYTES + 1)
    if len(data) > _PAGE_BYTES:
        raise Fault(FaultCode.LIMIT_OUTPUT)
    return data


def _shape_texts(page: bytes) -> list[str]:
    # Expanding entities is bounded by expat itself and, like all else, by the cage.
    root = ET.fromstring(page)  # noqa: S314
    texts = ("".join(element.itertext()) for element in root.iter() if element.tag.endswith("}Text"))
    return [" ".join(text.split()) for text in texts if text.strip()]
