"""The parsers of ours that take bytes from strangers, each as a function of bytes.

A target returns for every input, or raises what its parser's documentation names; anything else is a finding.
Where one parser's answer is bounded or can be turned back, the target holds that as well.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from liteparse import AnnotationRect, LayoutBlock, LayoutCell, ParsedPage, TextItem, VectorGraphics
from liteparse.types import VectorLine

from jobs.extraction import Extraction, Limits, ReadOptions, media_types, pdf_tables, sniff
from jobs.extraction.chunking import chunks_of
from jobs.extraction.dates import iso
from jobs.extraction.decoding import decode, decode_html
from jobs.extraction.faults import Fault
from jobs.extraction.harvest import Harvest
from jobs.extraction.iwa import fields, messages
from jobs.extraction.markdown import escape, to_plain
from jobs.extraction.markdown_tables import tables_in
from jobs.extraction.members import unpack
from jobs.extraction.page_log import PAGES_NAME
from jobs.extraction.progress import Progress
from jobs.extraction.readers import delimited, html_plain, iwork, plain_text, visio
from jobs.extraction.reading import Reading, Source
from jobs.read_options import parse_options

_LIMITS = Limits(members=20, members_bytes=1_000_000, member_bytes=500_000, output_chars=200_000)
_SECONDS = 20.0


def _source(data: bytes, media_type: str, folder: Path) -> Source:
    path = folder / "document"
    path.write_bytes(data)
    return Source(
        path=path, filename="document", media_type=media_type, limits=_LIMITS,
        deadline=time.monotonic() + _SECONDS, report=lambda _share: None, options=ReadOptions(),
    )  # fmt: skip


def _reads(read: Callable[[Source], Reading], media_type: str) -> Target:
    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, contextlib.suppress(Fault):
            read(_source(data, media_type, Path(folder)))

    return target


def _unpacks(media_type: str) -> Target:
    def target(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            folder = Path(name)
            names = unpack(_source(data, media_type, folder), folder / "members", [])
            kept = list((folder / "members").iterdir()) if names else []
            assert len(kept) == len(names) <= _LIMITS.members
            assert sum(path.stat().st_size for path in kept) <= _LIMITS.members_bytes

    return target


def _sniff(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "document"
        path.write_bytes(data)
        assert "/" in sniff(data[:8192], path, "document.docx")


def _iwa(data: bytes) -> None:
    try:
        for _kind, body in messages(data):
            list(fields(body))
    except ValueError:
        pass


def _decoding(data: bytes) -> None:
    for text, encoding, _warnings in (decode(data), decode_html(data)):
        assert isinstance(text, str)
        assert encoding


def _markdown(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    plain = to_plain(text)
    for table in tables_in(text, [0, len(text) // 2]):
        assert table.page in {1, 2}
        assert table.rows
    chunks, _pages = chunks_of(plain, text, [plain])
    assert all(0 <= chunk.start <= chunk.end <= len(plain) for chunk in chunks)


def _escaping(data: bytes) -> None:
    # What is written as plain text is read as it was, but for the white space around lines.
    text = " ".join(data.decode("utf-8", "replace").replace("\x00", "").split())
    if text.isprintable() and text.isascii():
        assert "".join(to_plain(escape(text)).split()) == "".join(text.split())


def _dates(data: bytes) -> None:
    iso(data.decode("utf-8", "replace"))


def _progress(data: bytes) -> None:
    try:
        told = Progress.from_line(data)
    except ValueError:
        return
    assert 0 <= told.share <= 1


def _extraction(data: bytes) -> None:
    try:
        value = json.loads(data)
        found = Extraction.from_json(value if isinstance(value, dict) else {})
    except (ValueError, RecursionError):
        return
    assert Extraction.from_json(found.to_json()) == found


def _pages(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / PAGES_NAME).write_bytes(data)
        harvest = Harvest(_LIMITS)
        harvest.collect(folder)
        assert all(0 < page <= _LIMITS.max_pages for page in harvest.texts)


def _options(data: bytes) -> None:
    try:
        said = json.loads(data)
        parse_options(said if isinstance(said, dict) else {"pages": str(said)}, {})
    except (ValueError, RecursionError):
        pass


def _pdf_tables(data: bytes) -> None:
    """Lay out words, rules and cells as the bytes say."""
    numbers = [byte * 3.0 for byte in data] or [0.0]
    words = ["a", "12", "Note:", "Table", "x-y", "|", ""]

    def box(place: int) -> AnnotationRect:
        return AnnotationRect(*(numbers[(place + step) % len(numbers)] for step in range(4)))

    items, lines, blocks = [], [], []
    for place in range(0, min(len(data), 400), 5):
        text, where = words[data[place] % len(words)], box(place)
        items.append(TextItem(text, where.x, where.y, where.width, where.height))
        if data[place] % 5 == 0:
            lines.append(VectorLine(where.x, where.y, where.width, where.y, True, 1.0, None, False, None))
        if data[place] % 7 == 0:
            width = data[place] % 6
            cells = [LayoutCell(words[(place + n) % len(words)], box(place + n)) for n in range(width)]
            rows = [cells, cells[::-1]] * (data[place] % 4)
            blocks.append(LayoutBlock("table", header=cells or None, rows=rows, bbox=where))
        elif data[place] % 3 == 0:
            blocks.append(LayoutBlock("paragraph", text=text, bbox=where))
    page = ParsedPage(
        1, 600, 800, "", blocks=blocks, text_items=items, vector_graphics=VectorGraphics([], lines)
    )
    pdf_tables.markdown_of(page, pdf_tables.Typography(lambda: "x\N{EN DASH}y"))


Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "sniff": _sniff,
    "iwa": _iwa,
    "decoding": _decoding,
    "markdown": _markdown,
    "escaping": _escaping,
    "dates": _dates,
    "progress": _progress,
    "extraction": _extraction,
    "pages": _pages,
    "options": _options,
    "pdf_tables": _pdf_tables,
    "delimited": _reads(delimited.read, media_types.CSV),
    "html": _reads(html_plain.read, media_types.HTML),
    "text": _reads(plain_text.read, media_types.PLAIN),
    "iwork": _reads(iwork.read, media_types.PAGES),
    "visio": _reads(visio.read, media_types.VSDX),
    "mail": _unpacks(media_types.EML),
    "mailbox": _unpacks(media_types.MBOX),
    "zip": _unpacks(media_types.ZIP),
    "tar": _unpacks(media_types.TAR),
}

# Which files of the corpus a fuzzer begins with.
SEEDS: dict[str, Sequence[str]] = {
    "iwa": (".iwa",),
    "decoding": (".txt", ".html", ".csv"),
    "markdown": (".md", ".txt"),
    "delimited": (".csv", ".tsv"),
    "html": (".html", ".htm"),
    "text": (".txt", ".org", ".rst"),
    "iwork": (".pages", ".key", ".numbers"),
    "visio": (".vsdx",),
    "mail": (".eml",),
    "mailbox": (".mbox",),
    "zip": (".zip",),
    "tar": (".tar", ".tgz", ".gz"),
}
