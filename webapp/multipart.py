"""Forms with files, read in one pass: what arrives goes to its file in the pieces in which it came.

It reads what Werkzeug's own parser reads, and refuses what that refuses. That one makes two regular
expressions of each request's boundary, which takes longer than to receive a small file, and copies every
piece several times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

_READ_BYTES = 64 * 1024
_LONGEST_HEADERS = 16 * 1024
# RFC 2046 wants CRLF; as Werkzeug does, whatever ends a line is taken.
_BLANK_LINE = re.compile(rb"\r\n\r\n|\r\r|\n\n")
_FOLD = re.compile(rb"(?:\r\n|\n|\r)[ \t]")
# What follows a boundary: the end of the form, or of the line.
_AFTER = re.compile(rb"(--)[^\S\n\r]*(?:\r\n|\n|\r)?|[^\S\n\r]*(?:\r\n|\n|\r)")
_LONGEST_AFTER = 64
# RFC 7578 leaves others to the past.
_CHARSETS = frozenset({"ascii", "us-ascii", "utf-8", "iso-8859-1"})

Parsed = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]


class StreamingFormParser(FormDataParser):
    """Parses forms; what is not ``multipart/form-data`` is Werkzeug's."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Parsed:
        """Read a form, as :meth:`werkzeug.formparser.FormDataParser.parse`.

        Raises:
            RequestEntityTooLarge: it has too many parts, or one that is no file is too large.
        """
        boundary = (options or {}).get("boundary", "")
        if mimetype != "multipart/form-data" or not boundary:
            return super().parse(stream, mimetype, content_length, options)
        form: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        try:
            pieces = _Pieces(stream, boundary.encode("ascii"))
            for number, part in enumerate(_parts(pieces), 1):
                if self.max_form_parts is not None and number > self.max_form_parts:
                    raise RequestEntityTooLarge
                if part.filename is None:
                    form.append((part.name, self._field(pieces, part)))
                else:
                    files.append((part.name, self._file(pieces, part, content_length)))
        except ValueError:
            if not self.silent:
                raise
            return stream, self.cls(), self.cls()
        return stream, self.cls(form), self.cls(files)

    def _field(self, pieces: _Pieces, part: _Part) -> str:
        found: list[bytes] = []
        size = 0
        for piece in pieces.until_boundary():
            size += len(piece)
            if self.max_form_memory_size is not None and size > self.max_form_memory_size:
                raise RequestEntityTooLarge
            found.append(bytes(piece))
        charset = parse_options_header(part.headers.get("content-type"))[1].get("charset", "").lower()
        return b"".join(found).decode(charset if charset in _CHARSETS else "utf-8", "replace")

    def _file(self, pieces: _Pieces, part: _Part, content_length: int | None) -> FileStorage:
        container = self.stream_factory(
            total_content_length=content_length,
            content_type=part.headers.get("content-type"),
            filename=part.filename,
        )
        for piece in pieces.until_boundary():
            container.write(piece)
        container.seek(0)
        return FileStorage(container, part.filename, part.name, headers=part.headers)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part's headers, and what they say."""

    name: str
    filename: str | None
    headers: Headers


def _parts(pieces: _Pieces) -> Iterator[_Part]:
    """Yield each part when its content is next to be read.

    Raises:
        ValueError: it is no form.
    """
    for _ in pieces.until_boundary(preamble=True):
        pass
    while not pieces.ended:
        headers = _headers(pieces.header_block())
        said = headers.get("content-disposition")
        if said is None:
            raise ValueError("a part without a Content-Disposition")
        options = parse_options_header(said)[1]
        yield _Part(options.get("name", ""), options.get("filename"), headers)
    pieces.drain()


def _headers(block: bytes) -> Headers:
    lines = (line.strip(b" \t") for line in _FOLD.sub(b" ", block).splitlines())
    pairs = (line.decode().partition(":") for line in lines if line)
    return Headers([(name.strip(" \t"), value.strip(" \t")) for name, _, value in pairs])


class _Pieces:
    """A form's bytes, cut at its boundary; never more of them in memory than a piece.

    Args:
        stream: the request's body.
        boundary: as the request's head says it.

    Attributes:
        ended: whether the boundary that ends the form was read.
    """

    def __init__(self, stream: IO[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._mark = b"--" + boundary
        # What could be the beginning of a boundary, the line's end before it and what follows it.
        self._kept = len(self._mark) + _LONGEST_AFTER
        self._data = b""
        self._at_end = False
        self.ended = False

    def _more(self) -> None:
        chunk = self._stream.read(_READ_BYTES)
        self._at_end = not chunk
        self._data += chunk

    def header_block(self) -> bytes:
        """Take a part's headers, and the line's end that is before the content.

        Raises:
            ValueError: the form ends within them.
            RequestEntityTooLarge: they are too long.
        """
        while (found := _BLANK_LINE.search(self._data)) is None:
            if self._at_end:
                raise ValueError("the form ends within a part's headers")
            if len(self._data) > _LONGEST_HEADERS:
                raise RequestEntityTooLarge
            self._more()
        block, self._data = self._data[: found.start()], self._data[found.end() :]
        return block

    def until_boundary(self, *, preamble: bool = False) -> Iterator[memoryview]:
        """Yield everything before the next boundary, and take that too.

        Args:
            preamble: whether it may stand at the very beginning, without the end of a line before it.

        Raises:
            ValueError: the form ends before a boundary.
        """
        # A content may be empty: then the boundary's line follows the headers' at once.
        at_start, searched = True, 0
        while True:
            at = self._data.find(self._mark, searched)
            if at >= 0 and self._is_decided(at):
                after = _AFTER.match(self._data, at + len(self._mark))
                end = self._line_end_before(at, optional=preamble or (at_start and at == 0))
                if after is None or end is None:
                    searched = at + 1
                    continue
                taken = memoryview(self._data)[:end]
                self._data, self.ended = self._data[after.end() :], bool(after[1])
                if taken:
                    yield taken
                return
            if self._at_end:
                raise ValueError("the form ends before its last boundary")
            cut = max(0, len(self._data) - self._kept if at < 0 else at - 2)
            if cut:
                taken = memoryview(self._data)[:cut]
                self._data, at_start = self._data[cut:], False
                yield taken
            searched = max(0, searched - cut)
            self._more()

    def _is_decided(self, at: int) -> bool:
        """Tell whether enough has come to say whether a boundary stands here."""
        after = at + len(self._mark)
        return (
            self._at_end
            or self._data.startswith((b"--", b"\r\n"), after)
            or len(self._data) >= after + _LONGEST_AFTER
        )

    def _line_end_before(self, at: int, *, optional: bool) -> int | None:
        """Return where the line ends that a boundary must follow, or ``None`` when it follows none."""
        if self._data.startswith(b"\r\n", at - 2) and at >= 2:
            return at - 2
        if at >= 1 and self._data[at - 1] in b"\r\n":
            return at - 1
        return at if optional else None

    def drain(self) -> None:
        """Read what follows the form, so that the connection can be used again."""
        while self._stream.read(_READ_BYTES):
            pass
