"""Pages and Keynote: the text of body, boxes and slides. Numbers: its tables, through xberg."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator

from jobs.extraction import iwa
from jobs.extraction import media_types as mt
from jobs.extraction.containers import BROKEN_ZIP
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.markdown import escape
from jobs.extraction.readers import office
from jobs.extraction.reading import Reading, Source

_MAX_BYTES = 200 * 1024 * 1024
# Present in every protected package of 2013 and later.
_VERIFIERS = (".iwpv2", ".iwph")
_TEXT_TYPES = frozenset({2001, 2005})
_TABLE_LIST_TYPE = 6005
_STRINGS = 1
# Fields of the text and the table-list messages.
_KIND, _TEXT = 1, 3
_ENTRY, _ENTRY_TEXT = 3, 3
# Roles of a text; one without a role is a text box.
_BODY, _HEADER_KIND, _BOX = 0, 1, 3
_MAIN_PART = re.compile(r"(?:^|/)(?:Document|Slide(?:-\d+)*)\.iwa$")
_TABLE_PART = re.compile(r"(?:^|/)Tables/DataList(?:-\d+)*\.iwa$")
_NUMBER = re.compile(r"\d+")
_ANCHORS = str.maketrans(
    {"\ufffc": None, "\u2028": "\n", "\u2029": "\n", "\x04": "\n", "\x05": "\n", "\x0f": None}
)


def read(source: Source) -> Reading:
    """Read an iWork document.

    Raises:
        Fault: it is protected, damaged, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(source.path) as package:
            _refuse_protected(package)
            parts = dict(_parts(package))
    except BROKEN_ZIP as error:
        raise Fault(FaultCode.UNREADABLE) from error
    except RuntimeError as error:
        # How zipfile says that a member is encrypted.
        raise Fault(FaultCode.ENCRYPTED) from error
    if source.media_type == mt.NUMBERS or not parts:
        return office.read(source)
    return _texts_of(parts, source)


def _refuse_protected(package: zipfile.ZipFile) -> None:
    is_protected = any(name.endswith(_VERIFIERS) for name in package.namelist())
    methods = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    # A protected document of 2009 stores its XML by a method that only its encryption uses.
    is_old_protected = any(
        entry.filename.endswith(("index.xml", "index.apxl")) and entry.compress_type not in methods
        for entry in package.infolist()
    )
    if is_protected or is_old_protected:
        raise Fault(FaultCode.ENCRYPTED)


def _parts(package: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """Yield the parts that hold text; some versions keep all parts in an inner ``Index.zip``."""
    left = _MAX_BYTES
    for name in package.namelist():
        if name.endswith("Index.zip"):
            inner = _bounded(package, name, left)
            with zipfile.ZipFile(io.BytesIO(inner)) as index:
                yield from _parts(index)
        elif _MAIN_PART.search(name) or _TABLE_PART.search(name):
            data = _bounded(package, name, left)
            left -= len(data)
            yield name, data


def _bounded(package: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with package.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Fault(FaultCode.LIMIT_OUTPUT)
    return data


def _texts_of(parts: dict[str, bytes], source: Source) -> Reading:
    blocks: list[str] = []
    damaged = 0
    has_tables = False
    names = sorted(parts, key=lambda name: ("Tables/" in name, "Slide" in name, _numbers(name)))
    for done, name in enumerate(names, 1):
        try:
            found = _table_texts(parts[name]) if "Tables/" in name else _part_texts(parts[name])
        except ValueError:
            damaged += 1
            continue
        # A blank line divides parts, which are slides in a presentation.
        blocks += found
        has_tables = has_tables or ("Tables/" in name and bool(found))
        source.report(done / len(names))
    text = "\n\n".join(blocks)
    reading = Reading(markdown=escape(text), text=text, engine="iwa")
    slides = sum("Slide" in name for name in names)
    reading.page_count = slides or None
    if damaged:
        reading.warnings.append(f"{damaged:,} parts of the document were damaged and left out.")
    if has_tables:
        reading.warnings.append("The texts of tables stand at the end; their numbers are left out.")
    return reading


def _numbers(name: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(name)]


def _part_texts(part: bytes) -> list[str]:
    """Return the texts of one part: its body before boxes and notes, headers and footers last."""
    found: list[tuple[int, str]] = []
    for kind, body in iwa.messages(part):
        if kind not in _TEXT_TYPES:
            continue
        values = list(iwa.fields(body))
        role = next((value for number, value in values if number == _KIND and isinstance(value, int)), _BOX)
        order = {_BODY: 0, _HEADER_KIND: 2}.get(role, 1)
        text = "".join(
            value.decode("utf-8", "replace")
            for number, value in values
            if number == _TEXT and isinstance(value, bytes)
        )
        text = "\n\n".join(line.strip() for line in text.translate(_ANCHORS).split("\n") if line.strip())
        if text:
            found.append((order, text))
    return [text for _order, text in sorted(found, key=lambda item: item[0])]


def _table_texts(part: bytes) -> list[str]:
    texts: list[str] = []
    for kind, body in iwa.messages(part):
        values = list(iwa.fields(body)) if kind == _TABLE_LIST_TYPE else []
        if (_KIND, _STRINGS) not in values:
            continue
        for number, entry in values:
            if number == _ENTRY and isinstance(entry, bytes):
                texts += [
                    value.decode("utf-8", "replace")
                    for field, value in iwa.fields(entry)
                    if field == _ENTRY_TEXT and isinstance(value, bytes)
                ]
    return ["\n".join(texts)] if texts else []
