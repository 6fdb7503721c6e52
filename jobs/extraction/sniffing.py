"""Say what a file is from its content, without parsing it.

The web process calls this on every upload, so it is pure Python, reads a bounded number of bytes
and never raises.
"""

from __future__ import annotations

import re
from pathlib import Path

from jobs.extraction import media_types as mt
from jobs.extraction.containers import ole_kind, zip_kind
from jobs.extraction.decoding import guess_utf16

_HEAD_BYTES = 8192

# (offset, signature, media type); the first that fits wins.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"8BPS", "image/vnd.adobe.photoshop"),
    (0, b"{\\rtf", mt.RTF),
    (0, b"\x1f\x8b", mt.GZIP),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/x-rar"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (257, b"ustar", mt.TAR),
    (0, b"AT&TFORM", "image/vnd.djvu"),
    (0, b"ITSF", "application/vnd.ms-htmlhelp"),
    (0, b"!BDN", "application/vnd.ms-outlook-pst"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (4, b"Standard Jet DB", "application/vnd.ms-access"),
    (4, b"Standard ACE DB", "application/vnd.ms-access"),
    (0, b"\x09\x04\x06\x00", mt.BIFF),
    (0, b"\x09\x02\x06\x00", mt.BIFF),
    (0, b"\x09\x00\x04\x00", mt.BIFF),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"\xcf\xfa\xed\xfe", "application/x-executable"),
    (0, b"%!PS", "application/postscript"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"\x1a\x45\xdf\xa3", "video/x-matroska"),
    (0, b"wOF2", "font/woff2"),
    (0, b"\x00\x01\x00\x00\x00", "font/ttf"),
)
_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_RIFF_KINDS = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_HTML_START = re.compile(
    r"(?:<!--.{0,2000}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_MAIL_HEADER = re.compile(r"^([A-Za-z][A-Za-z0-9-]{1,40}):[ \t]?\S", re.MULTILINE)
_MAIL_ORIGIN = frozenset({"from", "sender", "received", "return-path"})
_MAIL_OTHERS = frozenset({"to", "subject", "date", "message-id", "mime-version", "delivered-to", "cc"})
_XML_ROOTS = (
    ("<svg", mt.SVG),
    ("<FictionBook", "application/x-fictionbook+xml"),
    ("<html", "application/xhtml+xml"),
    ("<opml", "application/xml+opml"),
)


def sniff(head: bytes, path: Path, filename: str) -> str:
    """Return the media type of a file, ``application/octet-stream`` when nothing fits.

    Args:
        head: the file's first bytes, 8 KiB as a rule; all of a smaller file.
        path: the file, looked into only when it is a ZIP or OLE container.
        filename: the name at upload; its extension decides only among kinds of text.
    """
    try:
        return _sniff(head[:_HEAD_BYTES], path, mt.extension(filename))
    except Exception:  # noqa: BLE001 - a stranger's bytes must never break an upload
        return mt.OCTET_STREAM


def _sniff(head: bytes, path: Path, suffix: str) -> str:
    for offset, signature, known in _SIGNATURES:
        if head.startswith(signature, offset):
            return known
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return zip_kind(head, path, suffix)
    if head.startswith(_OLE_SIGNATURE):
        return ole_kind(path)
    if head.startswith(b"%PDF-"):
        return mt.PDF
    kind = _media_kind(head) or _text_kind(head, suffix)
    # Readers accept a PDF behind up to 1 KiB of rubbish; a text that merely speaks of PDF is none.
    if b"%PDF-" in head[:1024] and (kind is None or suffix == "pdf"):
        return mt.PDF
    return kind or _old_picture_kind(head) or mt.OCTET_STREAM


def _media_kind(head: bytes) -> str | None:
    if head.startswith(b"RIFF"):
        return _RIFF_KINDS.get(head[8:12])
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF_BRANDS:
            return "image/heic"
        return "image/avif" if head[8:12] in {b"avif", b"avis"} else "video/mp4"
    return None


def _old_picture_kind(head: bytes) -> str | None:
    """Recognise formats whose signature is two letters, once the file is known not to be text."""
    if head.startswith(b"BM"):
        return "image/bmp"
    return "application/x-executable" if head.startswith(b"MZ") else None


def _text_kind(head: bytes, suffix: str) -> str | None:
    """Return the kind of a text file, ``None`` when the bytes are no text."""
    text = _as_text(head)
    if text is None:
        return None
    start = text.lstrip("\ufeff \t\r\n")
    by_name = mt.TEXT_EXTENSIONS.get(suffix)
    if _HTML_START.match(start):
        return mt.HTML
    if start.startswith(("<?xml", "<svg")):
        return _xml_kind(start, by_name)
    if by_name:
        return by_name
    if start.startswith("From ") and _looks_like_mail(start.partition("\n")[2]):
        return mt.MBOX
    return mt.EML if _looks_like_mail(start) else mt.PLAIN


def _xml_kind(start: str, by_name: str | None) -> str:
    for root, kind in _XML_ROOTS:
        if root in start:
            return kind
    is_xml_by_name = by_name is not None and ("xml" in by_name or by_name == mt.HTML)
    return by_name if by_name and is_xml_by_name else mt.XML


def _looks_like_mail(start: str) -> bool:
    block = start.replace("\r\n", "\n").partition("\n\n")[0]
    names = {match.group(1).lower() for match in _MAIL_HEADER.finditer(block)}
    return bool(names & _MAIL_ORIGIN) and len(names & _MAIL_OTHERS) >= 2 and bool(_MAIL_HEADER.match(start))


def _as_text(head: bytes) -> str | None:
    """Decode a head for looking at, or return ``None`` when it is binary."""
    utf16 = guess_utf16(head)
    if utf16:
        return head[: len(head) & ~1].decode(utf16, "replace")
    if b"\x00" in head:
        return None
    controls = sum(head.count(bytes([code])) for code in (*range(1, 9), *range(14, 27), 28, 29, 30, 31, 127))
    return head.decode("utf-8", "replace") if controls * 50 <= len(head) else None
