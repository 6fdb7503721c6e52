"""Bring the dates of documents into one form."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

_PDF = re.compile(
    r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\s*(?:(Z)|([+-])(\d\d)'?(\d\d)?'?)?",
)


def iso(value: str | None) -> str | None:
    """Return a date as an ISO 8601 string.

    Args:
        value: ISO 8601, RFC 5322 (mail) or PDF form (``D:20201002001208Z``).

    Returns:
        ``None`` when there is no date in it, and for dates that the calendar does not have.
    """
    text = (value or "").strip()
    if not text:
        return None
    for parse in (datetime.fromisoformat, _from_pdf, parsedate_to_datetime):
        try:
            return parse(text).isoformat()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _from_pdf(text: str) -> datetime:
    """Read a PDF date.

    Source: ISO 32000-1, section 7.9.4.
    """
    found = _PDF.match(text)
    if not found or not (text.startswith("D:") or text[:6].isdigit()):
        raise ValueError("no PDF date")
    year, month, day, hour, minute, second, zulu, sign, zone_hour, zone_minute = found.groups()
    zone = "+00:00" if zulu else f"{sign}{zone_hour}:{zone_minute or '00'}" if sign else ""
    return datetime.fromisoformat(
        f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone}",
    )
