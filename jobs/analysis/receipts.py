"""Vendor, date and total of a receipt or an invoice, and one line that tells them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.analysis.entities import find_dates
from jobs.analysis.text import one_line

_HEAD_LINES = 12
_MAX_LINES = 400
_AMOUNT = re.compile(r"(?<![\d.,])\d{1,3}(?:[,.' ]\d{3}){0,3}[.,]\d{2}(?![.,]?\d)")
_COMPANY = re.compile(
    r"\b(?:s(?:dn)?\.? ?b[hn]d|s/b|bhd|ltd|limited|inc|llc|plc|corp|corporation|company|gmbh|ag|kg"
    r"|s\.?a\.?r?\.?l?|bv|ab|s\.?r\.?l|enterprise|trading|restaurant|restoran|cafe|store|stores|mart|market|shop|hardware|pharmacy"
    r"|stationery|bakery|hotel)\b\.?",
    re.IGNORECASE,
)
_NOT_VENDOR = re.compile(
    r"\b(?:invoice|receipt|bill|date|tel|fax|phone|gst|vat|no\.|jalan|jln|street|road|avenue|"
    r"lot|cash|page|total|thank|reg|welcome"
    r"|rechnung|facture|factura|www|taman)\b|[@:#]|\d{4,}",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    r"\b(?:grand ?total|total|amount due|balance due|gesamt(?:betrag|summe)?|summe|montant|"
    r"importe|totale|nett? amt|to pay)\b",
    re.IGNORECASE,
)
_STRONG_TOTAL = re.compile(
    r"\b(?:grand|rounded|round(?:ed|d)?|nett?|final|due|payable|inclusive|incl|after|to pay|"
    r"gesamt\w*)\b|\btotal\b.{0,12}\brm\b",
    re.IGNORECASE,
)
_NOT_TOTAL = re.compile(
    r"\b(?:sub|excl|excluding|before|disc|discount|saving|tax|gst(?! inc)|vat|qty|quantity|"
    r"items?|points?|change|tender|adj\w*|zwischen\w*)",
    re.IGNORECASE,
)
_INCLUDED = re.compile(r"\bincl?\w{0,9}\.?\)? ?(?:of )?(?:\d+% )?(?:gst|tax|vat)\b", re.IGNORECASE)
_TAX_SUMMARY = re.compile(r"\b(?:gst|tax|vat) (?:summary|analysis|code|rate)", re.IGNORECASE)
_REGISTRATION = re.compile(r"\([^()]{0,24}\d[^()]{0,24}\)|\b\d{5,8}-[A-Z]\b")
_ONLY_FORM = re.compile(
    r"(?:c[op]\.? ?)?(?:\([^()]{1,12}\) ?)?(?:sdn\.? ?b[hn]d|ltd|inc|gmbh)\.?", re.IGNORECASE
)
_PAID = re.compile(r"\b(?:cash|tender|visa|master|card|paid|bar)\b", re.IGNORECASE)
_CURRENCIES = (
    ("MYR", re.compile(r"\bRM ?\d|\bRM\b|\bMYR\b|sdn\.? bhd", re.IGNORECASE)),
    ("EUR", re.compile(r"€|\bEUR\b")),
    ("GBP", re.compile(r"£|\bGBP\b")),
    ("CHF", re.compile(r"\bCHF\b|\bFr\.")),
    ("INR", re.compile(r"₹|\bINR\b|\bRs\.?\b")),
    ("JPY", re.compile(r"\bJPY\b|[¥\uffe5]")),
    ("SGD", re.compile(r"\bSGD\b|S\$")),
    ("USD", re.compile(r"\bUSD\b|US\$|\$")),
)


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a receipt or an invoice says of itself; ``None`` where it was not found.

    Attributes:
        total: with two decimals and a point, without the currency.
        currency: ISO 4217 code.
        date: ISO 8601, or as written when two readings are possible.
    """

    vendor: str | None
    date: str | None
    total: str | None
    currency: str | None

    def sentence(self, kind: str) -> str | None:
        """Return ``Receipt from X dated Y, total MYR Z.``, or ``None`` when too little is known.

        Args:
            kind: ``receipt`` or ``invoice``.
        """
        if self.total is None or (self.vendor is None and self.date is None):
            return None
        parts = [kind.capitalize()]
        if self.vendor:
            parts.append(f"from {self.vendor}")
        if self.date:
            parts.append(f"dated {self.date}")
        amount = f"{self.currency} {self.total}" if self.currency else self.total
        return " ".join(parts) + f", total {amount}."


def read_purchase(text: str) -> Purchase:
    """Read vendor, date, total and currency from a receipt's or an invoice's cleaned text."""
    lines = [" ".join(line.replace("|", " ").split()) for line in text.split("\n")]
    lines = [line for line in lines if line][:_MAX_LINES]
    dates = find_dates("\n".join(lines))
    currency = next((code for code, pattern in _CURRENCIES if pattern.search(text[:20_000])), None)
    return Purchase(_vendor(lines), dates[0] if dates else None, _total(lines), currency)


def _vendor(lines: list[str]) -> str | None:
    """Return the first line that names a company, else the first that may be a name."""
    head = [_REGISTRATION.sub("", line).strip("#*-_= ") for line in lines[:_HEAD_LINES]]
    names = [line for line in head if sum(character.isalpha() for character in line) >= 4]
    for number, line in enumerate(names):
        if _COMPANY.search(line) and not _NOT_VENDOR.search(line):
            # A name over two lines ends with its legal form alone.
            if number and _ONLY_FORM.fullmatch(line) and not _NOT_VENDOR.search(names[number - 1]):
                line = f"{names[number - 1]} {line}"  # noqa: PLW2901 (joined to be returned)
            return one_line(line, 80)
    return next((one_line(line, 80) for line in names if not _NOT_VENDOR.search(line)), None)


def _total(lines: list[str]) -> str | None:
    """Return the amount of the line that most clearly states the total."""
    best: tuple[float, float, str] | None = None
    summarised = 0.0
    for number, line in enumerate(lines):
        if _TAX_SUMMARY.search(line):
            summarised = 1.5
        if not _TOTAL.search(line):
            continue
        amounts = _AMOUNT.findall(line)
        if not amounts and number + 1 < len(lines):
            amounts = _AMOUNT.findall(lines[number + 1])[:1]
        if not amounts:
            continue
        value = _decimal(amounts[-1])
        weight = _total_weight(line, len(amounts)) - summarised
        if best is None or (weight, float(value)) >= best[:2]:
            best = (weight, float(value), value)
    return best[2] if best else None


def _total_weight(line: str, amounts: int) -> float:
    """Return how clearly a line states the total: about 2 at best, below 0 when it does not."""
    bare = _INCLUDED.sub(" ", line)
    doubts = (_NOT_TOTAL.search(bare), _PAID.search(bare), amounts > 1)
    return 1.0 + bool(_STRONG_TOTAL.search(line)) - 1.5 * sum(map(bool, doubts))


def _decimal(amount: str) -> str:
    """Return an amount with a decimal point and no separators of thousands."""
    digits = "".join(character for character in amount if character.isdigit())
    return f"{int(digits[:-2] or 0)}.{digits[-2:]}"
