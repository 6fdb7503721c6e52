import io
import zipfile

import pytest

from jobs.extraction import iwa
from jobs.extraction.faults import Fault
from jobs.extraction.readers.iwork import _part_texts, _parts, _refuse_protected


def field(number, value):
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def part(*messages):
    """One part with literal blocks only."""
    data = b""
    for kind, body in messages:
        about = field(1, kind % 128) if kind < 128 else bytes([8, kind & 0x7F | 0x80, kind >> 7])
        info = field(1, 7) + field(2, about + field(3, len(body)))
        data += bytes([len(info)]) + info + body
    literal = bytes([60 << 2, len(data) - 1]) + data
    size = bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) if len(data) > 127 else bytes([len(data)])
    block = size + literal
    return b"\x00" + len(block).to_bytes(3, "little") + block


def test_the_body_comes_before_boxes_and_headers():
    messages = part(
        (2001, field(1, 1) + field(3, b"page head")),
        (2001, field(3, b"in a box")),
        (9, field(3, b"no text")),
        (2001, field(1, 0) + field(3, "first\u2028second".encode())),
    )
    assert _part_texts(messages) == ["first\n\nsecond", "in a box", "page head"]


def test_back_references_may_overlap_what_they_write():
    # "ab", then six characters from two back, then one more block byte by byte.
    block = bytes([9]) + bytes([1 << 2]) + b"ab" + bytes([(6 - 4) << 2 | 1, 2]) + bytes([0]) + b"!"
    assert iwa._snappy(block) == b"abababab!"


@pytest.mark.parametrize(
    "block",
    [b"", b"\xff", bytes([5, 0]), bytes([4, 2, 9, 0]), bytes([200, 255, 255, 255, 15, 0]), bytes([4, 1])],
)
def test_broken_blocks_are_refused(block):
    with pytest.raises(ValueError, match=r"\w"):
        iwa._snappy(block)


@pytest.mark.parametrize("message", [b"\x0a\x05ab", b"\x0f", b"\x08", b"\x09\x01"])
def test_broken_messages_are_refused(message):
    with pytest.raises(ValueError, match=r"\w"):
        list(iwa.fields(message))


def test_an_inner_index_is_opened_and_a_protected_package_refused():
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("Slide-2.iwa", b"x")
        archive.writestr("TemplateSlide-1.iwa", b"y")
        archive.writestr("Metadata.iwa", b"z")
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("Deck.key/Index.zip", inner.getvalue())
    with zipfile.ZipFile(outer) as package:
        _refuse_protected(package)
        assert [name for name, _data in _parts(package)] == ["Slide-2.iwa"]
    with zipfile.ZipFile(outer, "a") as archive:
        archive.writestr(".iwpv2", b"verifier")
    with zipfile.ZipFile(outer) as package, pytest.raises(Fault, match="encrypted"):
        _refuse_protected(package)
