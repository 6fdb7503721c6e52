import struct
from pathlib import Path

import pytest

from jobs.extraction import sniff
from jobs.extraction.containers import zip_kind

NOWHERE = Path("does-not-exist")


@pytest.mark.parametrize(
    ("head", "filename", "expected"),
    [
        (b"%PDF-1.7\n", "a.docx", "application/pdf"),
        (b"rubbish\x00\n%PDF-1.4", "a", "application/pdf"),
        (b"%!PS-Adobe", "a.ps", "application/postscript"),
        (b"\x89PNG\r\n\x1a\n....", "a.txt", "image/png"),
        (b"\xff\xd8\xff\xe0", "photo", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a.wav", "image/webp"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "a.jpg", "image/heic"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00", "a.jpg", "video/mp4"),
        (b"BM\x36\x00\x00\x00\x00\x00\x00\x00\x36\x00", "a.bmp", "image/bmp"),
        (b"{\\rtf1\\ansi", "a.doc", "application/rtf"),
        (b"\x1f\x8b\x08\x00", "a.tar.gz", "application/gzip"),
        (b"\x00" * 257 + b"ustar\x0000", "a", "application/x-tar"),
        (b"AT&TFORM\x00\x00", "a.djvu", "image/vnd.djvu"),
        (b"ITSF\x03\x00", "a.chm", "application/vnd.ms-htmlhelp"),
        (b"\x09\x04\x06\x00\x00\x00\x10\x00", "a.xls", "application/x-biff"),
        (b"\x7fELF\x02\x01", "a.pdf", "application/x-executable"),
        (b"MZ\x90\x00\x03", "setup.pdf", "application/x-executable"),
        (b"<!DOCTYPE html><html>", "a.doc", "text/html"),
        (b"<!-- note -->\n<HTML>", "a.txt", "text/html"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "a.xml", "image/svg+xml"),
        (b'<?xml version="1.0"?><rss/>', "a", "application/xml"),
        (b'<?xml version="1.0"?><article/>', "a.nxml", "application/x-jats+xml"),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"import os\n", "a.py", "text/x-python"),
        (b"# Title\n", "README.MD", "text/markdown"),
        (b"just words", "a", "text/plain"),
        (b"just words about %PDF-1.4", "notes.txt", "text/plain"),
        (b"just words", "a.pdf", "text/plain"),
        (b"From: a@b.c\nTo: d@e.f\nSubject: hi\n\nbody", "mail", "message/rfc822"),
        (b"From a@b.c Mon\nFrom: a@b.c\nTo: d@e.f\nDate: x\n\nbody", "box", "application/mbox"),
        ("From: a\nSubject: b\nTo: c\n\nd".encode("utf-16"), "mail", "message/rfc822"),
        ("a;b\n1;2\n".encode("utf-16-be"), "a.csv", "text/csv"),
        ("schön".encode("latin-1"), "a.txt", "text/plain"),
        (b"\x00\x01\x02\x03" * 20, "a.txt", "application/octet-stream"),
        (bytes(range(256)), "a", "application/octet-stream"),
        (b"", "a.txt", "text/plain"),
    ],
)
def test_the_content_decides_and_the_name_only_among_texts(head, filename, expected):
    assert sniff(head, NOWHERE, filename) == expected


@pytest.mark.parametrize(
    ("names", "suffix", "expected"),
    [
        (["[Content_Types].xml", "word/document.xml"], "pdf", "wordprocessingml.document"),
        (["word/document.xml", "word/vbaProject.bin"], "docx", "vnd.ms-word.document.macroEnabled.12"),
        (["xl/workbook.xml"], "zip", "spreadsheetml.sheet"),
        (["xl/workbook.bin"], "xlsx", "sheet.binary.macroEnabled.12"),
        (["ppt/presentation.xml"], "", "presentationml.presentation"),
        (["visio/document.xml"], "", "vnd.ms-visio.drawing"),
        (["META-INF/container.xml"], "zip", "application/epub+zip"),
        (["Index/Document.iwa"], "numbers", "application/x-iwork-numbers-sffnumbers"),
        (["Index/Document.iwa", "Index/Slide-1.iwa"], "zip", "application/x-iwork-keynote-sffkey"),
        (["readme.txt"], "docx", "application/zip"),
    ],
)
def test_a_zip_is_what_its_entries_say_even_when_its_end_is_cut_off(names, suffix, expected):
    head = b"".join(_local_entry(name) for name in names)
    assert zip_kind(head, NOWHERE, suffix).endswith(expected)


@pytest.mark.parametrize(
    "kind",
    ["application/epub+zip", "application/vnd.oasis.opendocument.text"],
)
def test_the_mimetype_entry_of_a_book_or_opendocument_file_decides(kind):
    head = _local_entry("mimetype") + kind.encode() + _local_entry("content.xml")
    assert zip_kind(head, NOWHERE, "zip") == kind


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PK\x05\x06\xff"])
def test_a_container_that_cannot_be_looked_into_is_no_error(head):
    assert sniff(head, NOWHERE, "a.docx").startswith("application/")


def _local_entry(name):
    return b"PK\x03\x04" + b"\x00" * 22 + struct.pack("<HH", len(name), 0) + name.encode()
