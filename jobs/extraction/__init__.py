"""Turn a document of any common kind into text, Markdown and metadata, in a caged child.

The parts, and who imports whom (an arrow points at what is imported)::

    the caller's process                       the child (engines are imported only here)

    attempts ──> cage ──> warm ─ ─ ─ starts ─ ─ ─> zygote ─ forks ─> child ──> confine ──> landlock, seccomp
       │          ├──> children ─ ─ ─ starts ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─> │ ├──> completion ──> language,
       │          │                                                     │        chunking, markdown_tables
       │          ├──> memory                                           ├──> page_log
       │          └──> harvest                                          └──> readers/* ──> reading,
       ├──> registry                                                         markdown, dates, decoding,
       └──> sniffing ──> containers                                          pages, ocr, iwa

    ``members`` takes attachments out in the child; ``handover`` takes them over, in the caller's
    process. Both sides: result, options, ocr_setup, faults, versions, media_types, decoding, children,
    progress, resume, page_texts

``strength`` tells how well a document is shut in on this machine.

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
from jobs.extraction.confine import CageLevel
from jobs.extraction.handover import MemberKeeper
from jobs.extraction.harvest import OnPages
from jobs.extraction.ocr_setup import OcrEngine, OcrSetup
from jobs.extraction.options import USUAL, Ocr, ReadOptions
from jobs.extraction.page_images import MOST_PAGES, Drawing, draw, has_images
from jobs.extraction.page_texts import merge
from jobs.extraction.result import Chunk, Extraction, Limits, Member, Table
from jobs.extraction.sniffing import sniff
from jobs.extraction.strength import cage_level
from jobs.extraction.versions import DRAWING_VERSION, ENGINE_VERSION, engine_version
from jobs.extraction.warm import prepare

__all__ = [
    "DRAWING_VERSION",
    "ENGINE_VERSION",
    "MOST_PAGES",
    "USUAL",
    "CageLevel",
    "Chunk",
    "Drawing",
    "Extraction",
    "Limits",
    "Member",
    "MemberKeeper",
    "Ocr",
    "OcrEngine",
    "OcrSetup",
    "OnPages",
    "ReadOptions",
    "Table",
    "cage_level",
    "draw",
    "engine_version",
    "extract",
    "has_images",
    "merge",
    "prepare",
    "sniff",
]
