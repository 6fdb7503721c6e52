"""Turn the bytes of a text file into text, whatever its encoding."""

from __future__ import annotations

import codecs
import html
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
# Fewer 16-bit units than this say nothing.
_MIN_UNITS = 4
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,2000})</title", re.IGNORECASE)
_LATIN_CODE_PAGES = frozenset(
    {
        "cp1250",
        "cp1252",
        "cp1254",
        "cp1257",
        "latin_1",
        "iso8859_2",
        "iso8859_15",
        "cp437",
        "cp850",
        "mac_roman",
    }
)
# The guess needs no more than this, and its cost grows with the sample.
_SAMPLE_BYTES = 64 * 1024


def guess_utf16(data: bytes) -> str | None:
    """Return ``utf-16-le`` or ``utf-16-be`` when bytes look like UTF-16, else ``None``.

    Without a byte order mark, UTF-16 of any Western text shows as zero bytes that stand almost
    only on odd places (little-endian) or even places (big-endian).
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return None
    if data.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if data.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    sample = data[:4096]
    half = len(sample) // 2
    if half < _MIN_UNITS:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    encoding = None
    if odd >= half * 0.4 and even <= half * 0.02:
        encoding = "utf-16-le"
    elif even >= half * 0.4 and odd <= half * 0.02:
        encoding = "utf-16-be"
    return encoding if encoding and _is_clean(sample[: half * 2].decode(encoding, "replace")) else None


def _is_clean(text: str) -> bool:
    """Say whether a text has next to no control characters."""
    controls = sum(character < " " and character not in "\t\n\r\f" for character in text)
    return controls * 50 <= len(text)


def decode_html(data: bytes) -> tuple[str, str, list[str]]:
    """Decode a web page like ``decode``, believing the encoding that it declares."""
    found = _DECLARED.search(data[:4096])
    if found and not data.startswith(tuple(mark for mark, _ in _MARKS)):
        try:
            encoding = codecs.lookup(found.group(1).decode("ascii")).name
            return data.decode(encoding), encoding, []
        except (LookupError, ValueError):
            pass
    text, encoding, warnings = decode(data)
    if encoding in _LATIN_CODE_PAGES:
        # Among these no guess is sure, and browsers take them all for windows-1252.
        return _lenient(data, "cp1252")
    return text, encoding, warnings


def html_title(markup: str) -> str | None:
    """Return a web page's title, ``None`` when it names none."""
    found = _TITLE.search(markup[:200_000])
    return " ".join(html.unescape(found.group(1)).split()) or None if found else None


def decode(data: bytes) -> tuple[str, str, list[str]]:
    """Decode a text file.

    Args:
        data: the whole file.

    Returns:
        The text without its byte order mark, the encoding's name, and warnings (empty as a rule).
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _lenient(data[len(mark) :], encoding)
    utf16 = guess_utf16(data)
    if utf16:
        return _lenient(data, utf16)
    try:
        return data.decode("utf-8"), "utf-8", []
    except UnicodeDecodeError as error:
        # A few damaged bytes in a long UTF-8 text are no reason to take it for another encoding.
        if _is_mostly_utf8(data, error.start):
            return _lenient(data, "utf-8")
    return _guess(data)


def _is_mostly_utf8(data: bytes, first_bad: int) -> bool:
    sample = data[max(0, first_bad - _SAMPLE_BYTES // 2) :][:_SAMPLE_BYTES]
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    foreign = sum(character > "\x7f" for character in text) - bad
    return foreign > 4 * bad


def _guess(data: bytes) -> tuple[str, str, list[str]]:
    from charset_normalizer import from_bytes

    # Plain ASCII tells nothing about the encoding, so the sample starts near the first other byte.
    first = next((index for index, byte in enumerate(data) if byte > 0x7F), 0)
    start = max(0, first - 256)
    best = from_bytes(data[start : start + _SAMPLE_BYTES]).best()
    return _lenient(data, best.encoding if best else "windows-1252")


def _lenient(data: bytes, encoding: str) -> tuple[str, str, list[str]]:
    text = data.decode(encoding, "replace")
    bad = text.count("\ufffd")
    warnings = [f"{bad:,} characters could not be decoded and were replaced."] if bad else []
    return text, encoding, warnings
