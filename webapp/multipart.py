"""Forms with files, read in one pass: what arrives goes to its file in the pieces in which it came.

The reading is the package multipart's. Werkzeug's own parser makes two regular expressions of each request's
boundary, which takes longer than to receive a small file, and copies every piece several times.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import IO

from multipart import MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

_READ_BYTES = 64 * 1024
_LONGEST_HEADER = 16 * 1024
# RFC 7578 leaves others to the past.
_CHARSETS = frozenset({"ascii", "us-ascii", "utf-8", "iso-8859-1"})

Parsed = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]
_Events = Generator[MultipartSegment | bytes | bytearray | None, None, None]


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
            RequestEntityTooLarge: it has too many parts, a part's head is too long, or a part that is no
                file is.
        """
        boundary = (options or {}).get("boundary", "")
        if mimetype != "multipart/form-data" or not boundary:
            return super().parse(stream, mimetype, content_length, options)
        try:
            form, files = self._parse_form(stream, boundary, content_length)
        except ParserLimitReached as error:
            raise RequestEntityTooLarge from error
        except ValueError:
            if not self.silent:
                raise
            return stream, self.cls(), self.cls()
        # What follows the form is read too, so that the connection can be used again.
        while stream.read(_READ_BYTES):
            pass
        return stream, self.cls(form), self.cls(files)

    def _parse_form(
        self, stream: IO[bytes], boundary: str, content_length: int | None
    ) -> tuple[list[tuple[str, str]], list[tuple[str, FileStorage]]]:
        parser = PushMultipartParser(
            boundary,
            max_header_size=_LONGEST_HEADER,
            max_segment_count=float("inf") if self.max_form_parts is None else self.max_form_parts,
        )
        form: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        events: _Events = parser.parse_blocking(stream.read, _READ_BYTES)
        for segment in events:
            if not isinstance(segment, MultipartSegment):
                raise TypeError(f"a part begins with {type(segment).__name__}")
            name = segment.name or ""
            if segment.filename is None:
                form.append((name, self._field(events, segment.charset or "")))
            else:
                files.append((name, self._file(events, segment, content_length)))
        return form, files

    def _field(self, events: _Events, charset: str) -> str:
        found = bytearray()
        for piece in _content(events):
            found += piece
            if self.max_form_memory_size is not None and len(found) > self.max_form_memory_size:
                raise RequestEntityTooLarge
        return found.decode(charset.lower() if charset.lower() in _CHARSETS else "utf-8", "replace")

    def _file(self, events: _Events, segment: MultipartSegment, content_length: int | None) -> FileStorage:
        container = self.stream_factory(
            total_content_length=content_length,
            content_type=segment.content_type,
            filename=segment.filename,
        )
        for piece in _content(events):
            container.write(piece)
        container.seek(0)
        return FileStorage(container, segment.filename, segment.name, headers=Headers(segment.headerlist))


def _content(events: _Events) -> Generator[bytes | bytearray, None, None]:
    """Yield a part's pieces, up to the event that ends it."""
    for event in events:
        if event is None:
            return
        if isinstance(event, MultipartSegment):
            raise TypeError("a part begins within another")
        yield event
