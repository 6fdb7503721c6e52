"""Decode the parts of an iWork document: Snappy blocks that hold Protocol Buffers messages.

Only what is needed to reach the text is decoded. Every function raises ``ValueError`` for data
that is cut off or contradicts itself.

Source: the Snappy format description (google/snappy, format_description.txt) and the wire format
of Protocol Buffers (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator

_BLOCK_HEADER = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_BYTES = 100 * 1024 * 1024


def messages(part: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type number and the body of every message in one ``.iwa`` part."""
    data = _unpacked(part)
    position = 0
    while position < len(data):
        length, position = _varint(data, position)
        info = data[position : position + length]
        position += length
        for number, value in fields(info):
            if number != 2 or not isinstance(value, bytes):
                continue
            about = dict(fields(value))
            kind, size = about.get(1), about.get(3)
            if not isinstance(kind, int) or not isinstance(size, int):
                raise ValueError("a message without type or size")  # noqa: TRY004 - data, not a type
            yield kind, data[position : position + size]
            position += size


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of every field of a message; fixed-width values come as bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in {_FIXED64, _FIXED32}:
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("an unknown wire type")
        if position + length > len(message):
            raise ValueError("a field is cut off")
        yield number, message[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number is cut off")


def _unpacked(part: bytes) -> bytes:
    """Return the blocks of a part, unpacked and put together."""
    out = bytearray()
    position = 0
    while position + _BLOCK_HEADER <= len(part):
        length = int.from_bytes(part[position + 1 : position + _BLOCK_HEADER], "little")
        position += _BLOCK_HEADER
        out += _snappy(part[position : position + length])
        position += length
        if len(out) > _MAX_BYTES:
            raise ValueError("a part is too large")
    return bytes(out)


def _snappy(block: bytes) -> bytes:
    size, position = _varint(block, 0)
    if size > _MAX_BYTES:
        raise ValueError("a block is too large")
    out = bytearray()
    while position < len(block) and len(out) <= size:
        tag = block[position]
        position += 1
        if tag & 3 == 0:
            length, position = _literal_length(block, position, tag >> 2)
            out += block[position : position + length]
            position += length
        else:
            length, offset, position = _copy(block, position, tag)
            _repeat(out, offset, length)
    if len(out) != size:
        raise ValueError("a block has not the size it states")
    return bytes(out)


def _literal_length(block: bytes, position: int, stated: int) -> tuple[int, int]:
    if stated < 60:
        return stated + 1, position
    width = stated - 59
    return int.from_bytes(block[position : position + width], "little") + 1, position + width


def _copy(block: bytes, position: int, tag: int) -> tuple[int, int, int]:
    """Return length, offset and the next position of a back reference."""
    if tag & 3 == 1:
        if position >= len(block):
            raise ValueError("a back reference is cut off")
        return ((tag >> 2) & 7) + 4, (tag >> 5) << 8 | block[position], position + 1
    width = 2 if tag & 3 == 2 else 4
    return (tag >> 2) + 1, int.from_bytes(block[position : position + width], "little"), position + width


def _repeat(out: bytearray, offset: int, length: int) -> None:
    if not 0 < offset <= len(out):
        raise ValueError("a back reference points outside")
    start = len(out) - offset
    # The reference may overlap what it writes: then the found bytes repeat.
    pattern = out[start : start + length]
    out += (pattern * (length // len(pattern) + 1))[:length]
