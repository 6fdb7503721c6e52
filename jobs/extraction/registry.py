"""Which readers read which media type, in the order in which they are tried.

Readers are named by their module in ``jobs.extraction.readers``; the parent process never imports
one. A new format is one module there and one line here.
"""

from __future__ import annotations

from jobs.extraction import media_types as mt

_TEXT = ("plain_text",)
_TABLE = ("delimited", "plain_text")
_OFFICE = ("office",)
_IWORK = ("iwork",)
_IMAGE = ("image",)

_BY_KIND: dict[str, tuple[str, ...]] = {
    mt.PDF: ("pdf", "pdf_plain"),
    mt.CSV: _TABLE,
    mt.TSV: _TABLE,
    mt.HTML: ("office", "html_plain"),
    "application/xhtml+xml": ("office", "html_plain"),
    mt.XML: ("office", "plain_text"),
    mt.SVG: _OFFICE,
    mt.RTF: _OFFICE,
    mt.EML: _OFFICE,
    mt.MSG: _OFFICE,
    mt.EPUB: _OFFICE,
    mt.DOC: _OFFICE, mt.XLS: _OFFICE, mt.PPT: _OFFICE,
    mt.DOCX: _OFFICE, mt.XLSX: _OFFICE, mt.PPTX: _OFFICE,
    mt.DOCM: _OFFICE, mt.XLSM: _OFFICE, mt.PPTM: _OFFICE,
    mt.ENCRYPTED_OFFICE: ("protected_office",),
    mt.VSDX: ("visio",), mt.XPS: _OFFICE,
    mt.ODT: _OFFICE, mt.ODS: _OFFICE, mt.ODP: _OFFICE,
    mt.PAGES: _IWORK, mt.NUMBERS: _IWORK, mt.KEYNOTE: _IWORK,
    mt.ZIP: _OFFICE, mt.TAR: _OFFICE, mt.GZIP: _OFFICE, "application/x-7z-compressed": _OFFICE,
    "application/x-hwp": _OFFICE,
    "text/org": _OFFICE, "text/prs.fallenstein.rst": _OFFICE, "application/x-latex": _OFFICE,
    "application/x-fictionbook+xml": _OFFICE, "application/xml+opml": _OFFICE,
    "application/x-jats+xml": _OFFICE, "application/x-bibtex": _OFFICE,
    "application/x-ipynb+json": ("office", "plain_text"), "text/vnd.typst": _OFFICE,
    "image/png": _IMAGE, "image/jpeg": _IMAGE, "image/gif": _IMAGE, "image/tiff": _IMAGE,
    "image/bmp": _IMAGE, "image/webp": _IMAGE, "image/heic": _IMAGE, "image/avif": _IMAGE,
}  # fmt: skip

_OUR_TEXT_APPLICATIONS = frozenset(
    {
        "application/json", "application/x-ndjson", "application/yaml", "application/toml",
        "application/sql", mt.MBOX,
    },
)  # fmt: skip


READ_BY_PAGES = frozenset({"pdf"})
"""The readers that can go on after a page that broke an earlier child."""


def readers_for(media_type: str) -> tuple[str, ...]:
    """Return the readers' module names, first choice first; empty when the kind is not supported."""
    if media_type in _BY_KIND:
        return _BY_KIND[media_type]
    if media_type.startswith("text/") or media_type in _OUR_TEXT_APPLICATIONS:
        return _TEXT
    return ()
