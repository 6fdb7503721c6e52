"""Names of things that have a recognisable form, found by patterns that take linear time.

Every quantifier is bounded and every pattern starts at a border, so that no text makes a search
slow. The values are data from an untrusted document.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date

MAX_VALUES = 20
MAX_VALUE_CHARACTERS = 200

_CURRENCY = r"(?:US\$|A\$|C\$|R\$|RM|USD|EUR|GBP|CHF|JPY|CNY|MYR|SGD|AUD|CAD|INR|SEK|NOK|DKK|PLN|CZK|RUB|BRL|[$€£¥₹₽₩])"  # noqa: E501
_AMOUNT = r"\d{1,3}(?:[,.' ]\d{3}){1,4}(?:[.,]\d{1,2})?(?!\d)|\d{1,12}(?:[.,]\d{1,2})?(?!\d)"
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan januar janvier enero gennaio januari",
            "february feb februar février febrero febbraio februari",
            "march mar märz mars marzo maart",
            "april apr avril abril aprile",
            "may mai mayo maggio mei",
            "june jun juni juin junio giugno",
            "july jul juli juillet julio luglio",
            "august aug août agosto augustus",
            "september sep sept septembre septiembre settembre",
            "october oct oktober okt octobre octubre ottobre",
            "november nov novembre noviembre",
            "december dec dezember dez décembre diciembre dicembre",
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH = "(?:" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
_DAY = r"[0-3]?\d"
_YEAR = r"(?:19|20)\d\d"

_EMAIL = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5}")
_URL = re.compile(r"\b(?:https?://|ftp://|www\.)[^\s<>\"'`{}|\\^\[\]]{3,300}", re.IGNORECASE)
_MONEY = re.compile(
    rf"(?<![\w$€£¥]){_CURRENCY} ?(?:{_AMOUNT})(?: ?(?:million|billion|bn|m|k)\b)?|"
    rf"(?<![\w.,])(?:{_AMOUNT}) ?(?:€|£|¥|EUR|USD|CHF|GBP|SEK|NOK|DKK|PLN)(?!\w)"
)
_PERCENT = re.compile(r"(?<![\w.,])[-+]?\d{1,6}(?:[.,]\d{1,4})? ?%")
_ISO_DATE = re.compile(rf"(?<![\d-])({_YEAR})-(\d\d)-(\d\d)(?![\d-])")
_NUMERIC_DATE = re.compile(rf"(?<![\d/.-])({_DAY})([/.-])({_DAY})\2({_YEAR}|\d\d)(?![\d/-])")
_DAY_FIRST = re.compile(
    rf"(?<![\w/])({_DAY})(?:st|nd|rd|th|\.)?[ -](?:of |de )?({_MONTH})[ ,-]{{1,2}}(?:de )?({_YEAR})",
    re.IGNORECASE,
)
# Few words stand before a number: the look ahead spares the others a comparison with every month.
_MONTH_FIRST = re.compile(
    rf"\b(?=[^\W\d_]{{3,10}}\.? \d)({_MONTH}) ({_DAY})(?:st|nd|rd|th)?,? ({_YEAR})", re.IGNORECASE
)
_CJK_DATE = re.compile(rf"({_YEAR}) ?年 ?(\d{{1,2}}) ?月 ?(\d{{1,2}}) ?日")
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?)?\d{2,5}(?:[ .-]\d{2,8}){1,4}(?![\w/-])"
)
_PHONE_LABEL = re.compile(
    r"(?:tel|phone|fax|mobile|cell|téléphone|telefon|telephone|call|h/p|hp)\b[^\d+(\n]{0,12}$", re.IGNORECASE
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_IDENTIFIER = re.compile(
    r"\b(?:DOI:? ?10\.\d{4,9}/[\w.()/:-]{1,100}|10\.\d{4,9}/[\w.()/:-]{1,100}|arXiv:\d{4}\.\d{4,5}"
    r"|ISBN(?:-1[03])?:? [\dX-]{10,17}|ISSN:? ?\d{4}-\d{3}[\dX])"
)
_ORGANISATION = re.compile(
    r"(?<![\w&])(?:[A-Z][\w&'\u2019.-]{1,30} (?:(?:of|and|&|for|the|de) )?){1,5}"
    r"(?:Inc|Ltd|LLC|LLP|PLC|Corp|Corporation|Company|Co|GmbH|AG|S\.A|SA|BV|AB|Sdn\.? Bhd|SDN\.? BHD"
    r"|University|Institute|Foundation|Association|Bank|Ministry|Department|Hospital|Agency|Council|Committee)\b\.?"
)
_ARTICLE = re.compile(r"^(?:(?:The|Copyright|And|In|Of|By|For|At|A|This|Our|Each|Any) )+")
_COMMON_BODY = re.compile(
    r"^(?:Audit|Compensation|Executive|Nominating|Steering|New|State|Such) (?:Committee|Company|Council)\b"
)
_PERSON = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|Professor|Herr|Frau|Mme|Sra?|Dott)\.? "
    r"((?:[A-Z][\w'\u2019-]{0,25}\.? ){0,3}[A-Z][\w'\u2019-]{1,25})"
)


def find_entities(text: str) -> dict[str, list[str]]:
    """Find e-mail addresses, URLs, amounts, dates and the like.

    Args:
        text: cleaned text.

    Returns:
        Each kind that occurs, with at most 20 distinct values, the most frequent first and
        otherwise in the text's order. Dates are ISO 8601 where only one reading is possible, and
        as written otherwise.
    """
    finders: dict[str, Callable[[str], Iterable[str]]] = {
        "emails": lambda source: (found.rstrip(".-").lower() for found in _EMAIL.findall(source)),
        "urls": lambda source: (found.rstrip(".,;:!?)") for found in _URL.findall(source)),
        "money": _MONEY.findall,
        "percentages": _PERCENT.findall,
        "dates": find_dates,
        "phones": _find_phones,
        "ibans": lambda source: (found for found in _IBAN.findall(source) if _is_iban(found)),
        "identifiers": lambda source: (found.rstrip(".,)") for found in _IDENTIFIER.findall(source)),
        "organisations": _find_organisations,
        "people": _PERSON.findall,
    }
    found = {kind: _most_frequent(find(text)) for kind, find in finders.items()}
    return {kind: values for kind, values in found.items() if values}


def find_dates(text: str) -> list[str]:
    """Return the text's dates in its order, ISO 8601 where only one reading is possible."""
    found = [(match.start(), match.group()) for match in _ISO_DATE.finditer(text)]
    for match in _CJK_DATE.finditer(text):
        year, month, day = (int(part) for part in match.groups())
        found.append((match.start(), _iso(year, month, day) or match.group()))
    for match in _DAY_FIRST.finditer(text):
        month = _MONTHS[match[2].lower().rstrip(".")]
        found.append((match.start(), _iso(int(match[3]), month, int(match[1])) or match.group()))
    for match in _MONTH_FIRST.finditer(text):
        month = _MONTHS[match[1].lower().rstrip(".")]
        found.append((match.start(), _iso(int(match[3]), month, int(match[2])) or match.group()))
    for match in _NUMERIC_DATE.finditer(text):
        value = _numeric_date(match)
        if value:
            found.append((match.start(), value))
    return [value for _, value in sorted(found)]


def _numeric_date(match: re.Match[str]) -> str | None:
    """Return an ISO date for ``25/12/2018``, the text itself for ``01/02/2018``, else ``None``."""
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    if len(match[4]) == 2:
        # "1.10.32" is far more often a section's number than a date.
        if match[2] == "." and (year > 40 or len(match[1]) == 1 or len(match[3]) == 1):
            return None
        year += 2000 if year < 70 else 1900
    # A dot is written between day and month only; a slash or dash may be either order.
    if first > 12 or match[2] == "." or first == second:
        return _iso(year, second, first)
    if second > 12:
        return _iso(year, first, second)
    return match.group() if _iso(year, first, second) else None


def _iso(year: int, month: int, day: int) -> str | None:
    """Return the ISO date, or ``None`` when there is no such day."""
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def _find_phones(text: str) -> list[str]:
    """Return numbers written as international or named as telephone numbers."""
    found = []
    for match in _PHONE.finditer(text):
        digits = sum(character.isdigit() for character in match.group())
        labelled = _PHONE_LABEL.search(text[max(0, match.start() - 24) : match.start()])
        if 7 <= digits <= 15 and (match.group().startswith("+") or labelled):
            found.append(match.group())
    return found


def _find_organisations(text: str) -> list[str]:
    """Return names that end with a legal form or a kind of institution, but not that word alone."""
    names = (_ARTICLE.sub("", " ".join(found.split())) for found in _ORGANISATION.findall(text))
    return [name for name in names if " " in name and not _COMMON_BODY.match(name)]


def _is_iban(text: str) -> bool:
    """Return whether the check digits fit.

    Source: ISO 7064, MOD 97-10, as ISO 13616 uses it.
    """
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    digits = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return int(digits) % 97 == 1


def _most_frequent(values: Iterable[str]) -> list[str]:
    """Return distinct values, the most frequent first, at most ``MAX_VALUES``."""
    counts = Counter(" ".join(value.split())[:MAX_VALUE_CHARACTERS] for value in values)
    return [value for value, _ in counts.most_common(MAX_VALUES) if value]
