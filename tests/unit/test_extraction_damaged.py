"""Archives that are damaged inside are told to be damaged, and encrypted ones to be encrypted."""

from __future__ import annotations

import io
import time
import zipfile

import pytest

from jobs.extraction import Limits, ReadOptions, media_types
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.readers import iwork, visio
from jobs.extraction.reading import Source

READERS = [
    (visio.read, media_types.VSDX, "visio/pages/page1.xml"),
    (iwork.read, media_types.PAGES, "Index/Document.iwa"),
]


def archive(member):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr(member, bytes(range(256)) * 40)
    return bytearray(out.getvalue())


def read(reader, media_type, data, folder):
    path = folder / "document"
    path.write_bytes(data)
    source = Source(
        path=path, filename="document", media_type=media_type, limits=Limits(),
        deadline=time.monotonic() + 20, report=lambda _share: None, options=ReadOptions(),
    )  # fmt: skip
    with pytest.raises(Fault) as caught:
        reader(source)
    return caught.value.code


@pytest.mark.parametrize(("reader", "media_type", "member"), READERS)
def test_a_damaged_member_is_a_damaged_document(reader, media_type, member, tmp_path):
    data = archive(member)
    begin = data.index(member.encode()) + len(member)
    data[begin : begin + 30] = b"\xff" * 30
    assert read(reader, media_type, data, tmp_path) is FaultCode.UNREADABLE


@pytest.mark.parametrize(("reader", "media_type", "member"), READERS)
def test_a_member_that_stands_nowhere_is_a_damaged_document(reader, media_type, member, tmp_path):
    data = archive(member)
    entry = data.index(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = b"\xf0\xff\xff\xff"
    assert read(reader, media_type, data, tmp_path) is FaultCode.UNREADABLE


@pytest.mark.parametrize(("reader", "media_type", "member"), READERS)
def test_an_encrypted_member_is_an_encrypted_document(reader, media_type, member, tmp_path):
    data = archive(member)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    assert read(reader, media_type, data, tmp_path) is FaultCode.ENCRYPTED
