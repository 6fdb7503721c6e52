"""What an extraction yields, and the bounds it keeps."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import cast

from jobs.model import JSON

GIB = 1024**3
MIB = 1024**2
_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one extraction; reaching one ends it or is told in a warning.

    Attributes:
        wall_seconds: for all readers that are tried on the document together.
        cpu_seconds: processor time of one reader, its threads included.
        memory_bytes: resident memory of one reader and its descendants.
        address_headroom_bytes: address space on top of ``memory_bytes`` and of what the reader's
            process has mapped when it begins. The engines map up to 1.5 GiB that they never
            touch, so the address-space limit is only a backstop.
        output_chars: characters kept of the text, of the Markdown and of all pages together.
        result_bytes: the largest result that is taken from a reader.
        file_bytes: the largest file that a reader may write; engines unpack their models, the
            one for languages to about 100 MB.
        max_pages: pages, slides or frames that are read.
        ocr_max_pages: pages without text that are read by OCR.
        image_pixels: the largest picture that is decoded.
        cage_level: the least :class:`jobs.extraction.CageLevel`, in lower case; where the machine does not
            let a document be shut in so well, it is not opened.
        members: attachments of a mail, or files of an archive, that are taken out.
        member_bytes: the largest of them that is taken out.
        members_bytes: all of one document together.
    """

    wall_seconds: float = 55.0
    cpu_seconds: int = 55
    memory_bytes: int = 2 * GIB
    address_headroom_bytes: int = 2 * GIB
    output_chars: int = 5_000_000
    result_bytes: int = 64 * MIB
    file_bytes: int = 256 * MIB
    max_pages: int = 5_000
    ocr_max_pages: int = 50
    image_pixels: int = 120_000_000
    cage_level: str = "limits"
    members: int = 200
    member_bytes: int = 50 * MIB
    members_bytes: int = 200 * MIB

    def to_json(self) -> dict[str, JSON]:
        """Return the limits as a JSON object for the child process."""
        return cast("dict[str, JSON]", asdict(self))


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a document.

    Attributes:
        rows: the cells' texts, row by row, every row as long as the longest; a cell that spans
            several places stands in the first of them, and the others are empty.
        page: where it begins, from 1; ``None`` without pages.
        title: its caption, or its sheet's name.
    """

    rows: list[list[str]]
    page: int | None = None
    title: str | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the table as a JSON object; ``from_json`` reads it back."""
        return {"rows": [list[JSON](row) for row in self.rows], "page": self.page, "title": self.title}

    @classmethod
    def from_json(cls, value: JSON) -> Table:
        """Build a table from JSON that may come from an untrusted process.

        Raises:
            ValueError: when a member is missing or has the wrong type.
        """
        rows = value.get("rows") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(rows, list):
            raise ValueError("a table is not an object with rows")  # noqa: TRY004 - one error for all
        return cls(
            rows=[texts_of({"row": row}, "row") for row in rows],
            page=_optional_count(value, "page"),
            title=_optional_text(value, "title"),
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document's text that can be found and shown by itself.

    Attributes:
        start: where it begins in ``Extraction.text``, in characters.
        end: where it ends, exclusive.
        page_first: the page on which it begins, from 1; ``None`` without pages.
        page_last: the page on which it ends; ``None`` without pages.
        headings: the headings above it, the outermost first.
    """

    start: int
    end: int
    page_first: int | None = None
    page_last: int | None = None
    headings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the chunk as a JSON object; ``from_json`` reads it back."""
        return {
            "start": self.start,
            "end": self.end,
            "page_first": self.page_first,
            "page_last": self.page_last,
            "headings": list[JSON](self.headings),
        }

    @classmethod
    def from_json(cls, value: JSON) -> Chunk:
        """Build a chunk from JSON that may come from an untrusted process.

        Raises:
            ValueError: when a member is missing, has the wrong type, or nothing is between its ends.
        """
        if not isinstance(value, dict):
            raise ValueError("a chunk is not an object")  # noqa: TRY004 - one error for all bad shapes
        start, end = count_of(value, "start"), count_of(value, "end")
        if start >= end:
            raise ValueError("a chunk has no extent")
        return cls(
            start,
            end,
            _optional_count(value, "page_first"),
            _optional_count(value, "page_last"),
            tuple(texts_of(value, "headings")),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A file that was taken out of a document.

    Attributes:
        name: as its sender gave it, made safe to show.
        sha256: of its bytes, which are kept under it.
        size: in bytes.
        media_type: of its content.
    """

    name: str
    sha256: str
    size: int
    media_type: str

    def to_json(self) -> dict[str, JSON]:
        """Return the member as a JSON object; ``from_json`` reads it back."""
        return {"name": self.name, "sha256": self.sha256, "size": self.size, "media_type": self.media_type}

    @classmethod
    def from_json(cls, value: JSON) -> Member:
        """Build a member from what ``to_json`` returned.

        Raises:
            ValueError: it is something else.
        """
        size = _optional_count(value, "size") if isinstance(value, dict) else None
        if not isinstance(value, dict) or size is None:
            raise ValueError("a member is not an object with a size")
        return cls(text_of(value, "name"), text_of(value, "sha256"), size, text_of(value, "media_type"))


@dataclass(frozen=True, slots=True)
class FailedPage:
    """A page that could not be read: its number, from 1, and the code of a fault."""

    page: int
    code: str

    def to_json(self) -> dict[str, JSON]:
        """Return it as a JSON object; ``from_json`` reads it back."""
        return {"page": self.page, "code": self.code}

    @classmethod
    def from_json(cls, value: JSON) -> FailedPage:
        """Build it from JSON that may come from an untrusted process.

        Raises:
            ValueError: when a member is missing or has the wrong type.
        """
        page = _optional_count(value, "page") if isinstance(value, dict) else None
        code = value.get("code") if isinstance(value, dict) else None
        if not page or not isinstance(code, str) or not _CODE.fullmatch(code):
            raise ValueError("a failed page is not an object with page and code")
        return cls(page, code)


@dataclass(frozen=True, slots=True)
class Extraction:
    """The text of one document, its structure and what is known of it.

    Attributes:
        text: plain text without markup.
        markdown: the same with headings, lists and tables.
        title: from the document's properties, else its first heading, else ``None``.
        page_count: pages of the whole document, also of those not read; ``None`` without pages.
        language: ISO 639-1 code of the main language, ``None`` when unsure.
        metadata: author, dates (ISO 8601), counts and what else the format tells.
        media_type: of the content, as ``sniff`` found it.
        engine: the engines that read it, joined by ``+``.
        engine_version: what ``versions.engine_version`` returned at the time.
        warnings: sentences about everything that was left out or is doubtful.
        pages: the text of each page read, empty when the format has no pages; a page that was not read
            has its place and no text.
        page_starts: for each of ``pages`` where it begins in ``markdown``; empty when that is not known.
        failed_pages: the pages that could not be read, in order.
        tables: what the document shows as tables, in its order.
        markdown_pages: where each page begins in the Markdown, in characters; empty when that cannot be told.
        chunks: passages for retrieval: together they are the text, but for the white space between.
        members: what was taken out of it; set by the process that has kept their bytes.
    """

    text: str
    markdown: str
    title: str | None
    page_count: int | None
    language: str | None
    metadata: dict[str, JSON]
    media_type: str
    engine: str
    engine_version: str
    warnings: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    markdown_pages: list[int] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    page_starts: list[int] = field(default_factory=list)
    failed_pages: list[FailedPage] = field(default_factory=list)

    def to_json(self) -> dict[str, JSON]:
        """Return the extraction as a JSON object; ``from_json`` reads it back."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            **plain,
            "tables": [table.to_json() for table in self.tables],
            "chunks": [chunk.to_json() for chunk in self.chunks],
            "members": [member.to_json() for member in self.members],
            "failed_pages": [page.to_json() for page in self.failed_pages],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JSON]) -> Extraction:
        """Build an extraction from JSON that may come from an untrusted process.

        Args:
            value: an object such as ``to_json`` returns; unknown members are ignored.

        Raises:
            ValueError: when a member is missing or has the wrong type.
        """
        return cls(
            text=text_of(value, "text"),
            markdown=text_of(value, "markdown"),
            title=_optional_text(value, "title"),
            page_count=_optional_count(value, "page_count"),
            language=_optional_text(value, "language"),
            metadata=_object(value, "metadata"),
            media_type=text_of(value, "media_type"),
            engine=text_of(value, "engine"),
            engine_version=text_of(value, "engine_version"),
            warnings=texts_of(value, "warnings"),
            pages=texts_of(value, "pages"),
            # Kept results of earlier versions have none of these.
            tables=[Table.from_json(table) for table in _list(value, "tables")],
            chunks=[Chunk.from_json(chunk) for chunk in _list(value, "chunks")],
            markdown_pages=[count_of({"start": start}, "start") for start in _list(value, "markdown_pages")],
            members=[Member.from_json(member) for member in _list(value, "members")],
            page_starts=_starts(value),
            failed_pages=[FailedPage.from_json(page) for page in _list(value, "failed_pages")],
        )


def _list(value: Mapping[str, JSON], key: str) -> list[JSON]:
    found = value.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"{key} is not a list")  # noqa: TRY004 - one error for all bad shapes
    return found


def text_of(value: Mapping[str, JSON], key: str) -> str:
    """Return a member that is a string.

    Raises:
        ValueError: it is missing or something else.
    """
    found = value.get(key)
    if not isinstance(found, str):
        raise ValueError(f"{key} is not a string")  # noqa: TRY004 - one error for all bad shapes
    return storable(found)


def _starts(value: Mapping[str, JSON]) -> list[int]:
    """Return the places where pages begin, or none if they cannot be those of these pages."""
    found: list[int] = [start for start in _list(value, "page_starts") if type(start) is int]
    pages, markdown = value.get("pages"), value.get("markdown")
    is_whole = isinstance(pages, list) and len(found) == len(pages) and found == sorted(found)
    # A Markdown that was mended on its way has its pages elsewhere.
    is_same = isinstance(markdown, str) and storable(markdown) == markdown
    fits = not found or (found[0] >= 0 and isinstance(markdown, str) and found[-1] <= len(markdown))
    return found if is_whole and is_same and fits else []


def storable(text: str) -> str:
    """Drop what databases refuse in a text: zero characters and halves of surrogate pairs."""
    if "\x00" not in text:
        if text.isascii():
            return text
        with contextlib.suppress(UnicodeEncodeError):
            text.encode("utf-8")
            return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _optional_text(value: Mapping[str, JSON], key: str) -> str | None:
    return None if value.get(key) is None else text_of(value, key)


def _optional_count(value: Mapping[str, JSON], key: str) -> int | None:
    found = value.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise ValueError(f"{key} is not a count")
    return found


def count_of(value: Mapping[str, JSON], key: str) -> int:
    """Return a member that is a whole number, 0 or more.

    Raises:
        ValueError: it is missing or something else.
    """
    found = _optional_count(value, key)
    if found is None:
        raise ValueError(f"{key} is missing")
    return found


def _object(value: Mapping[str, JSON], key: str) -> dict[str, JSON]:
    found = value.get(key)
    if not isinstance(found, dict):
        raise ValueError(f"{key} is not an object")  # noqa: TRY004 - one error for all bad shapes
    return {storable(name): _flat(item, key) for name, item in found.items()}


def _flat(value: JSON, key: str) -> JSON:
    """Return a scalar or a list of scalars; readers produce nothing deeper."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return [_flat(item, key) for item in value]
    if isinstance(value, list | dict):
        raise ValueError(f"{key} is not flat")  # noqa: TRY004 - one error for all bad shapes
    return value


def texts_of(value: Mapping[str, JSON], key: str) -> list[str]:
    """Return a member that is a list of strings.

    Raises:
        ValueError: it is missing or something else.
    """
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError(f"{key} is not a list of strings")
    return [storable(str(item)) for item in found]
