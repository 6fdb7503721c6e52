"""Turn a document of any common kind into text, Markdown and metadata, in a caged child.

The parts, and who imports whom (an arrow points at what is imported)::

    the caller's process                       the child (engines are imported only here)

    attempts ──> cage ─ ─ ─ ─ starts ─ ─ ─ ─> child ──> confine
       │          └──> memory                   ├──> completion ──> language, markdown
       ├──> registry                            └──> readers/* ──> reading, markdown, dates,
       └──> sniffing ──> containers                                decoding, pages, ocr, iwa

    both sides: result, faults, versions, media_types, decoding

``attempts`` picks the readers for a media type and tries them in order; ``cage`` runs one reader
in a fresh process under limits; ``child`` is the program in that process, and ``confine`` is its
first step. A new format is one module in ``readers`` and one line in ``registry``. This package
knows no database, no queue and no web framework: it imports ``jobs.errors`` and ``jobs.model``
only.
"""

from __future__ import annotations

from jobs.extraction.attempts import extract
from jobs.extraction.result import Extraction, Limits
from jobs.extraction.sniffing import sniff
from jobs.extraction.versions import ENGINE_VERSION

__all__ = ["ENGINE_VERSION", "Extraction", "Limits", "extract", "sniff"]
