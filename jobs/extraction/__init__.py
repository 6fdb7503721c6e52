"""Turn a document of any common kind into text, Markdown and metadata, in a caged child.

The parts, and who imports whom (an arrow points at what is imported)::

    the caller's process                       the child (engines are imported only here)

    attempts ──> cage ──> warm ─ ─ ─ starts ─ ─ ─> zygote ─ forks ─> child ──> confine
       │          ├──> children ─ ─ ─ starts ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─> │ ├──> completion ──> language
       │          ├──> memory                                           ├──> page_log
       │          └──> harvest                                          └──> readers/* ──> reading,
       ├──> registry                                                         markdown, dates, decoding,
       └──> sniffing ──> containers                                          pages, ocr, iwa

    both sides: result, options, faults, versions, media_types, decoding, children, progress, resume,
    page_texts

``attempts`` picks the readers for a media type and tries them in order; ``cage`` runs one reader
in a fresh process under limits; ``child`` is what runs in that process, and ``confine`` is its
first step. Pages that are done come to ``harvest`` while others are read; what breaks a child in
the middle of a PDF is only the page in hand: another child goes on. The process is forked by the
fork server ``zygote``, which has imported every engine and used none, or started as a program where
that is not to be had. A new format is one module in ``readers`` and one line in ``registry``. This
package knows no database, no queue and no web framework: it imports ``jobs.errors``, ``jobs.model``,
``jobs.languages`` and ``jobs.peak_memory`` only.
"""

from __future__ import annotations

from jobs.extraction.attempts import extract
from jobs.extraction.harvest import OnPages
from jobs.extraction.options import Ocr, ReadOptions
from jobs.extraction.page_texts import merge
from jobs.extraction.result import Extraction, Limits, Table
from jobs.extraction.sniffing import sniff
from jobs.extraction.versions import ENGINE_VERSION
from jobs.extraction.warm import prepare

__all__ = [
    "ENGINE_VERSION",
    "Extraction",
    "Limits",
    "Ocr",
    "OnPages",
    "ReadOptions",
    "Table",
    "extract",
    "merge",
    "prepare",
    "sniff",
]
