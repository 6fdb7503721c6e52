"""What passes between the child program and its readers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jobs.extraction.faults import FaultCode
from jobs.extraction.ocr_setup import OcrSetup
from jobs.extraction.options import ReadOptions
from jobs.extraction.page_log import PageLog, silent
from jobs.extraction.result import FailedPage, Limits, Table
from jobs.extraction.resume import FROM_THE_START, Resume
from jobs.model import JSON


@dataclass(frozen=True, slots=True)
class Source:
    """The document that a reader shall read.

    Attributes:
        path: where its bytes are; read only.
        filename: its name at upload, for choosing among kinds of text.
        media_type: as ``sniff`` found it.
        limits: the bounds to keep.
        deadline: the ``time.monotonic`` instant by which a reader that can stop early should be
            done; the cage ends it a little later.
        report: takes the share that is done, 0 to 1.
        options: what the sender asks of the reading.
        page_log: takes note of each page that is done.
        resume: what an earlier child has read, and what is to be read now.
        ocr: the OCR engine that the operator chose.
    """

    path: Path
    filename: str
    media_type: str
    limits: Limits
    deadline: float
    report: Callable[[float], None]
    options: ReadOptions
    page_log: PageLog = field(default_factory=silent)
    resume: Resume = FROM_THE_START
    ocr: OcrSetup = field(default_factory=OcrSetup)

    @property
    def locked(self) -> FaultCode:
        """What to say of a document that is protected and did not open."""
        return FaultCode.ENCRYPTED if self.options.password is None else FaultCode.WRONG_PASSWORD

    def seconds_left(self) -> float:
        """Return the seconds until the deadline, negative once it has passed."""
        return self.deadline - time.monotonic()


@dataclass(slots=True)
class Reading:
    """What a reader found; the child completes it to an ``Extraction``.

    Attributes:
        markdown: the document with structure.
        text: without markup; ``None`` lets the child derive it from the Markdown.
        pages: plain text per page, empty when the format has none.
        page_starts: where each of ``pages`` begins in ``markdown``; empty when that is not known.
        failed_pages: those that could not be read, each with an empty text in its place.
        tables: found by the reader itself; ``None`` lets the child take them from the Markdown.
        engine: package names joined by ``+``.
    """

    markdown: str
    engine: str
    text: str | None = None
    title: str | None = None
    page_count: int | None = None
    pages: list[str] = field(default_factory=list)
    metadata: dict[str, JSON] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tables: list[Table] | None = None
    page_starts: list[int] = field(default_factory=list)
    failed_pages: list[FailedPage] = field(default_factory=list)


Reader = Callable[[Source], Reading]
