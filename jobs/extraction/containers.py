"""Look into ZIP and OLE containers just far enough to say what they hold.

Nothing is decompressed. Each function reads a bounded number of bytes and returns ``None`` for
anything it does not understand, because the files come from strangers.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jobs.extraction import media_types as mt

_END_OF_DIRECTORY = b"PK\x05\x06"
_ENTRY = b"PK\x01\x02"
_LOCAL = b"PK\x03\x04"
_DIRECTORY_BYTES = 2 * 1024 * 1024
_MAX_ENTRIES = 20_000
_OLE_DIRECTORY_SECTORS = 64
_OLE_LAST_REGULAR_SECTOR = 0xFFFFFFF9

_ODF = (
    mt.ODT, mt.ODS, mt.ODP, mt.EPUB,
    "application/vnd.oasis.opendocument.graphics", "application/vnd.oasis.opendocument.formula",
    mt.ODT + "-template", mt.ODS + "-template", mt.ODP + "-template",
)  # fmt: skip

_OFFICE_PARTS = {
    "word/document.xml": (mt.DOCX, mt.DOCM),
    "xl/workbook.xml": (mt.XLSX, mt.XLSM),
    "ppt/presentation.xml": (mt.PPTX, mt.PPTM),
}

_OLE_STREAMS = (
    ("EncryptedPackage", mt.ENCRYPTED_OFFICE),
    ("__properties_version1.0", mt.MSG),
    ("WordDocument", mt.DOC),
    ("PowerPoint Document", mt.PPT),
    ("VisioDocument", mt.VSD),
    ("Quill", mt.PUB),
    ("Workbook", mt.XLS),
    ("Book", mt.XLS),
    ("\x05HwpSummaryInformation", "application/x-hwp"),
)


# What reading a damaged archive raises: NotImplementedError is how zipfile says that it does not know a
# member's compression, and OSError is a place that no file has.
BROKEN_ZIP = (
    zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, OSError, ValueError, zlib.error,
    struct.error,
)  # fmt: skip


def zip_kind(head: bytes, path: Path, suffix: str) -> str:
    """Say which document kind a ZIP file is, by its entry names.

    Args:
        head: the file's first bytes.
        path: the file, for its directory at the end.
        suffix: the file name's extension; decides only among the iWork kinds.
    """
    declared = _declared_kind(head)
    if declared:
        return declared
    try:
        with path.open("rb") as file:
            names = set(_directory_names(file))
    except (OSError, struct.error):
        names = set()
    names |= set(_local_names(head))
    return _kind_of_names(names, suffix)


def _declared_kind(head: bytes) -> str | None:
    """Read the uncompressed ``mimetype`` entry that ODF and EPUB put first."""
    if head[30:38] != b"mimetype":
        return None
    value = head[38:138]
    return max((kind for kind in _ODF if value.startswith(kind.encode())), key=len, default=None)


def _directory_names(file: BinaryIO) -> Iterator[str]:
    """Yield entry names from the central directory of a ZIP file, at most ``_MAX_ENTRIES``."""
    size = file.seek(0, 2)
    tail_start = max(0, size - 65_557)
    file.seek(tail_start)
    tail = file.read(65_557)
    end = tail.rfind(_END_OF_DIRECTORY)
    if end < 0 or end + 22 > len(tail):
        return
    length, _declared_offset = struct.unpack_from("<II", tail, end + 12)
    # The directory ends where its end record begins, whatever offset the file declares.
    start = max(0, tail_start + end - length)
    file.seek(start)
    directory = file.read(min(length, _DIRECTORY_BYTES))
    position = 0
    for _ in range(_MAX_ENTRIES):
        if directory[position : position + 4] != _ENTRY or position + 46 > len(directory):
            return
        name_length, extra_length, comment_length = struct.unpack_from("<HHH", directory, position + 28)
        yield directory[position + 46 : position + 46 + name_length].decode("utf-8", "replace")
        position += 46 + name_length + extra_length + comment_length


def _local_names(head: bytes) -> Iterator[str]:
    """Yield the entry names that are visible in the head, for files whose end is cut off."""
    position = head.find(_LOCAL)
    while position >= 0 and position + 30 <= len(head):
        (name_length,) = struct.unpack_from("<H", head, position + 26)
        yield head[position + 30 : position + 30 + name_length].decode("utf-8", "replace")
        position = head.find(_LOCAL, position + 30)


def _kind_of_names(names: set[str], suffix: str) -> str:
    if "xl/workbook.bin" in names:
        return mt.XLSB
    for part, (plain, with_macros) in _OFFICE_PARTS.items():
        if part in names:
            return with_macros if any(name.endswith("vbaProject.bin") for name in names) else plain
    if any(name.startswith("visio/") for name in names):
        return mt.VSDX
    if "FixedDocumentSequence.fdseq" in names:
        return mt.XPS
    if "META-INF/container.xml" in names:
        return mt.EPUB
    if _looks_like_iwork(names):
        return _iwork_kind(names, suffix)
    if "[Content_Types].xml" in names:
        return {"docx": mt.DOCX, "xlsx": mt.XLSX, "pptx": mt.PPTX}.get(suffix, mt.ZIP)
    return mt.ZIP


def _looks_like_iwork(names: set[str]) -> bool:
    return any(
        name.endswith((".iwa", "Index.zip", "index.apxl"))
        or name.lower().endswith("buildversionhistory.plist")
        for name in names
    )


def _iwork_kind(names: set[str], suffix: str) -> str:
    by_suffix = {"pages": mt.PAGES, "numbers": mt.NUMBERS, "key": mt.KEYNOTE}
    if suffix in by_suffix:
        return by_suffix[suffix]
    is_slides = any("Slide" in name or name.endswith("index.apxl") for name in names)
    return mt.KEYNOTE if is_slides else mt.PAGES


def ole_kind(path: Path) -> str:
    """Say which document kind an OLE compound file is, by the names of its streams.

    Source: [MS-CFB] Compound File Binary File Format, sections 2.2 to 2.6.
    """
    try:
        with path.open("rb") as file:
            names = set(_ole_names(file))
    except (OSError, struct.error):
        names = set()
    return next((kind for name, kind in _OLE_STREAMS if name in names), mt.OLE)


def _ole_names(file: BinaryIO) -> Iterator[str]:
    header = file.read(512)
    (sector_shift,) = struct.unpack_from("<H", header, 30)
    if sector_shift not in {9, 12}:
        return
    sector_size = 1 << sector_shift
    (sector,) = struct.unpack_from("<I", header, 48)
    table_sectors = struct.unpack_from("<109I", header, 76)
    entries_per_sector = sector_size // 4
    for _ in range(_OLE_DIRECTORY_SECTORS):
        if sector > _OLE_LAST_REGULAR_SECTOR:
            return
        file.seek((sector + 1) * sector_size)
        yield from _ole_entry_names(file.read(sector_size))
        index, offset = divmod(sector, entries_per_sector)
        if index >= len(table_sectors) or table_sectors[index] > _OLE_LAST_REGULAR_SECTOR:
            return
        file.seek((table_sectors[index] + 1) * sector_size + offset * 4)
        (sector,) = struct.unpack("<I", file.read(4))


def _ole_entry_names(directory: bytes) -> Iterator[str]:
    for position in range(0, len(directory) - 127, 128):
        (length,) = struct.unpack_from("<H", directory, position + 64)
        if 2 < length <= 64:
            raw = directory[position : position + length - 2]
            yield raw.decode("utf-16-le", "replace")
