"""Forms are read as Werkzeug reads them, however the bytes arrive."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from webapp.multipart import StreamingFormParser

BOUNDARY = "b-1"
TYPE = ("multipart/form-data", {"boundary": BOUNDARY})


class Trickle(io.BytesIO):
    """A body that comes in pieces."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        super().__init__(content)
        self._sizes = sizes

    def read(self, size: int = -1) -> bytes:
        if self._sizes:
            self._sizes.append(self._sizes.pop(0))
            size = min(size, self._sizes[-1])
        return super().read(size)


class Kept(io.BytesIO):
    """A file that was received."""


def read(parser_class, body, sizes=(), **limits):
    def factory(total_content_length, content_type, filename, content_length=None):
        return Kept()

    parser = parser_class(factory, silent=False, **limits)
    _, form, files = parser.parse(Trickle(body, list(sizes)), TYPE[0], len(body), TYPE[1])
    kept = [
        (name, file.filename, file.headers.to_wsgi_list(), file.read())
        for name, file in files.items(multi=True)
    ]
    return list(form.items(multi=True)), kept


def part(name, content, filename=None, line=b"\r\n", more=b""):
    said = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return b"--" + BOUNDARY.encode() + line + said.encode() + more + line + line + content + line


def whole(*parts, line=b"\r\n", epilogue=b""):
    return b"".join(parts) + b"--" + BOUNDARY.encode() + b"--" + line + epilogue


# Pieces of what a parser may trip over; none is a whole boundary at the beginning of a line.
TRICKY = (
    st.lists(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"x--b-1", b"\r\n--b-", b"b-1--", b"x", b" "]),
        max_size=12,
    )
    .map(b"".join)
    .filter(lambda content: b"\n--b-1" not in b"\r\n" + content and b"\r--b-1" not in content)
)
SIZES = st.lists(st.integers(1, 40), max_size=5)


@given(
    contents=st.lists(st.tuples(st.booleans(), TRICKY), min_size=1, max_size=4), sizes=SIZES, epilogue=TRICKY
)
def test_it_reads_what_werkzeug_reads(contents, sizes, epilogue):
    body = whole(
        *(
            part(f"f{number}", content, "a.txt" if is_file else None)
            for number, (is_file, content) in enumerate(contents)
        ),
        epilogue=epilogue,
    )
    assert outcome(StreamingFormParser, body, sizes) == outcome(FormDataParser, body)


def outcome(parser_class, body, sizes=()):
    try:
        return read(parser_class, body, sizes)
    except ValueError:
        return "refused"


@given(content=st.binary(max_size=300_000), sizes=st.lists(st.integers(1, 70_000), max_size=5))
def test_a_file_arrives_as_it_was_sent(content, sizes):
    _, ((name, filename, _, kept),) = read(
        StreamingFormParser, whole(part("file", content, "a.bin")), [size + 5_000 for size in sizes]
    )
    assert (name, filename, kept) == ("file", "a.bin", content)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing of a form",
        b"--b-1\r\nContent-Disposition: form-data; name=a\r\n\r\nno end",
        b"--b-1\r\nContent-Disposition: form-data; name=a",
        b"--b-1\r\nX: y\r\n\r\nno disposition\r\n--b-1--\r\n",
        b"--b-1\r\nContent-Disposition: form-data; name=\xff\r\n\r\nx\r\n--b-1--\r\n",
        b"--b-1\nContent-Disposition: form-data; name=a\n\nx\n--b-1--\n",
    ],
)
def test_what_is_no_form_is_refused(body):
    with pytest.raises(ValueError, match=r"multipart|Missing|decode|Invalid line break"):
        read(StreamingFormParser, body)


def test_a_form_without_parts_is_empty():
    assert read(StreamingFormParser, b"--b-1--\r\n") == ([], [])


def test_a_preamble_folded_headers_and_charsets():
    body = b"preamble\r\n" + whole(
        part("a", "ü".encode("latin-1"), more=b"\r\nContent-Type: text/plain;\r\n charset=iso-8859-1"),
        part("b", "ü".encode(), more=b"\r\nContent-Type: text/plain; charset=utf-7"),
    )
    assert read(StreamingFormParser, body) == read(FormDataParser, body) == ([("a", "ü"), ("b", "ü")], [])


def test_too_much_is_refused():
    for body, limits in (
        (whole(part("a", b"1"), part("b", b"2")), {"max_form_parts": 1}),
        (whole(part("a", b"x" * 100_000)), {"max_form_memory_size": 99_999}),
        (whole(part("a", b"x", more=b"\r\nX: " + b"y" * 200_000)), {}),
    ):
        with pytest.raises(RequestEntityTooLarge):
            read(StreamingFormParser, body, **limits)


def test_never_more_than_a_piece_is_held():
    largest = 0

    class Counting(Kept):
        def write(self, piece):
            nonlocal largest
            largest = max(largest, len(piece))
            return super().write(piece)

    content = bytes(3_000_000)
    parser = StreamingFormParser(lambda **_: Counting(), silent=False)
    _, _, files = parser.parse(io.BytesIO(whole(part("file", content, "a"))), *TYPE[:1], None, TYPE[1])
    assert files["file"].read() == content
    assert largest <= 66_000
