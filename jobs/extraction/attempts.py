"""Try the readers of a document's kind, one after the other, within one budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import Transient
from jobs.extraction import cage
from jobs.extraction import media_types as mt
from jobs.extraction.children import CHILD_PROGRAM
from jobs.extraction.faults import RETRIED_BY_NEXT_READER, Fault, FaultCode, as_error
from jobs.extraction.handover import MemberKeeper, take_members
from jobs.extraction.harvest import Harvest, OnPages
from jobs.extraction.ocr_setup import OcrSetup
from jobs.extraction.options import USUAL, ReadOptions
from jobs.extraction.page_texts import merge
from jobs.extraction.progress import Progress
from jobs.extraction.registry import READ_BY_PAGES, readers_for
from jobs.extraction.result import GIB, Extraction, Limits, Member
from jobs.extraction.resume import Resume
from jobs.extraction.sniffing import sniff
from jobs.extraction.versions import engine_version
from jobs.extraction.warm import is_wanted
from jobs.model import JSON

_HEAD_BYTES = 8192
# While another reader is left, one reader may use this share of the time that remains.
_FIRST_SHARE = 0.7
_ABOUT_PASSWORDS = frozenset({FaultCode.ENCRYPTED, FaultCode.WRONG_PASSWORD})
_DEFAULT_OCR = OcrSetup()
# A page may take this share of a reader's time, and at least so many seconds; what is no single page, that.
_PAGE_SHARE, _PAGE_SECONDS, _WHOLE_SHARE = 0.2, 3.0, 0.6
# What is kept back to make a whole of the pages that are there.
_FINISH_SHARE, _FINISH_SECONDS = 0.2, 6.0
# With less than this there is no use in asking the next reader for pages.
_MEND_SECONDS = 1.0
# With less time than this no other child is begun, nor after so many have broken.
_MIN_SECONDS = 0.5
_MOST_BROKEN = 8
# How a child ends that one page has broken.
_BY_A_PAGE = frozenset({FaultCode.READER_CRASHED, FaultCode.LIMIT_TIME, FaultCode.LIMIT_MEMORY})


def extract(
    path: Path,
    *,
    filename: str,
    limits: Limits,
    options: ReadOptions = USUAL,
    ocr: OcrSetup = _DEFAULT_OCR,
    only: Sequence[int] = (),
    on_progress: Callable[[Progress], None] | None = None,
    on_pages: OnPages | None = None,
    warm: bool = True,
    members: MemberKeeper | None = None,
) -> Extraction:
    """Read a document in a caged child process.

    Args:
        path: where the document's bytes are.
        filename: its name at upload; decides only among kinds of text, and wording.
        limits: the bounds of time, memory and output.
        options: what the sender asks of the reading.
        ocr: the OCR engine that the operator chose; it must be installed.
        only: the pages to read, from 1; all when empty. The others have their places and no text.
        on_progress: called in this thread with how far it is, never backwards and at
            least once a second. Whatever it raises kills the child and reaches the caller: that
            is how a cancelled or lost job stops the work.
        on_pages: called in this thread with the pages that are read, about once a second once it
            lasts; as good as an untrusted process has made them.
        warm: whether the child may be forked from this process's fork server; else it is started
            as a program of its own, which takes longer and is otherwise the same.
        members: gets what is taken out of a mail or archive; nothing is with ``None``.

    Raises:
        Permanent: the document cannot be read: it is empty, protected, damaged, of an unsupported
            kind, or reached a limit. ``code`` is one of ``FaultCode``.
        Transient: the machine could not start the reader or is out of disk.
    """
    head = _head(path)
    media_type = sniff(head, path, filename)
    try:
        readers = _choose(head, media_type, filename)
        tell = _Forward(on_progress)
        program = None if warm and is_wanted() else CHILD_PROGRAM
        errand = _Errand(
            path,
            filename,
            media_type,
            limits,
            options,
            ocr,
            tell,
            program,
            members,
            frozenset(only),
            on_pages,
        )
        extraction = _try_readers(readers, errand)
    except Fault as fault:
        expected = _expected(media_type, filename)
        limits_text = (f"{limits.memory_bytes / GIB:g} GB", f"{limits.wall_seconds:g} s")
        raise as_error(
            fault, media_type=media_type, expected=expected, limits_text=limits_text
        ) from fault.__cause__
    tell(tell.at._replace(share=1.0))
    return extraction


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise Transient("The stored file could not be opened.", code="environment") from error


class _Forward:
    """Passes progress on so that it never goes backwards, although each reader starts at 0."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self._on_progress = on_progress
        self.at = Progress(0.0)

    def __call__(self, told: Progress) -> None:
        before = self.at
        self.at = Progress(
            max(before.share, told.share),
            max(before.page, told.page),
            max(before.page_count, told.page_count),
            told.at_page,
        )
        if self._on_progress is not None:
            self._on_progress(self.at)


def _expected(media_type: str, filename: str) -> str:
    """Name the kind to speak of when a file cannot be read: what people believe it to be."""
    promised = mt.promised_by_name(filename)
    is_vague = media_type in {mt.OCTET_STREAM, mt.ZIP, mt.OLE}
    return promised if promised and is_vague else media_type


def _choose(head: bytes, media_type: str, filename: str) -> tuple[str, ...]:
    """Return the readers to try, or raise the fault that shows without reading."""
    if not head:
        raise Fault(FaultCode.EMPTY)
    readers = readers_for(media_type)
    if readers:
        return readers
    is_damaged = media_type == mt.OCTET_STREAM and mt.promised_by_name(filename)
    raise Fault(FaultCode.UNREADABLE if is_damaged else FaultCode.UNSUPPORTED_KIND)


@dataclass(frozen=True, slots=True)
class _Errand:
    """What every reader of one document is told."""

    path: Path
    filename: str
    media_type: str
    limits: Limits
    options: ReadOptions
    ocr: OcrSetup
    on_progress: Callable[[Progress], None]
    program: Sequence[str] | None
    members: MemberKeeper | None
    only: frozenset[int]
    on_pages: OnPages | None


def _try_readers(readers: tuple[str, ...], errand: _Errand) -> Extraction:
    started = time.monotonic()
    first_fault: Fault | None = None
    for index, reader in enumerate(readers):
        is_last = index == len(readers) - 1
        left = errand.limits.wall_seconds - (time.monotonic() - started)
        seconds = left if is_last else left * _FIRST_SHARE
        try:
            extraction = _read(errand, reader, seconds)
        except Fault as fault:
            first_fault = first_fault or fault
            if is_last or fault.code not in RETRIED_BY_NEXT_READER:
                # The first reader's trouble says more, except that a later one found a password.
                raise (fault if fault.code in _ABOUT_PASSWORDS else first_fault) from None
        else:
            left = errand.limits.wall_seconds - (time.monotonic() - started)
            if extraction.failed_pages and not is_last and reader in READ_BY_PAGES and left > _MEND_SECONDS:
                extraction = _mend(errand, extraction, readers[index + 1], left)
            return extraction if first_fault is None else _with_warning(extraction, first_fault)
    raise AssertionError("unreachable: the last reader returns or raises")


def _read(errand: _Errand, reader: str, seconds: float) -> Extraction:
    """Read with one reader; what a page breaks is only that page, where the reader goes by pages."""
    if reader not in READ_BY_PAGES:
        return _read_once(
            errand, reader, seconds, Resume(only=errand.only), Harvest(errand.limits, errand.on_pages)
        )
    harvest = Harvest(errand.limits, errand.on_pages)
    ends_at = time.monotonic() + seconds
    last_at = ends_at - min(_FINISH_SECONDS, _FINISH_SHARE * seconds)
    patience = cage.Patience(max(_PAGE_SECONDS, _PAGE_SHARE * seconds), _WHOLE_SHARE * seconds)
    resume, broken = Resume(only=errand.only), 0
    first: Fault | None = None
    while True:
        until = ends_at if resume.finish else last_at
        left = until - time.monotonic()
        try:
            return _read_once(errand, reader, left, resume, harvest, patience)
        except Fault as fault:
            broken += 1
            first = first or fault
            page = harvest.at.at_page
            if fault.code not in _BY_A_PAGE or resume.finish or (resume.careful and not page):
                # What broke the first child says more than what was left for the others.
                raise (first if fault.code in RETRIED_BY_NEXT_READER else fault) from None
            if page:
                harvest.failed[page] = fault.code.value
            is_over = broken >= _MOST_BROKEN or time.monotonic() > last_at - _MIN_SECONDS
            if is_over and not harvest.texts:
                raise first from None
            resume = Resume(
                kept=harvest.texts,
                failed=harvest.failed,
                careful=True,
                finish=fault.code.value if is_over else None,
                only=errand.only,
            )


def _mend(errand: _Errand, base: Extraction, reader: str, seconds: float) -> Extraction:
    """Let the next reader have the pages that failed; it may see words on them, if no structure."""
    resume = Resume(only=frozenset(one.page for one in base.failed_pages))
    try:
        more = _read_once(errand, reader, seconds, resume, Harvest(errand.limits))
    except Fault:
        return base
    read = [page for page in sorted(resume.only) if page <= len(more.pages) and more.pages[page - 1]]
    if not read or not base.page_starts:
        return base
    mended = merge(base, more, read)
    numbers = ", ".join(f"{page:,}" for page in read[:20]) + (" and more" if len(read) > 20 else "")
    mended.warnings.append(
        f"Read by the fallback reader, perhaps without headings and tables: page {numbers}."
    )
    return mended


def _read_once(
    errand: _Errand,
    reader: str,
    seconds: float,
    resume: Resume,
    harvest: Harvest,
    patience: cage.Patience | None = None,
) -> Extraction:
    harvest.begin()
    request: dict[str, JSON] = {
        "path": str(errand.path.resolve()),
        "filename": errand.filename,
        "media_type": errand.media_type,
        "reader": reader,
        "seconds": seconds,
        "limits": errand.limits.to_json(),
        "options": errand.options.to_json(),
        "ocr": errand.ocr.to_json(),
        "members": errand.members is not None,
        "resume": resume.to_json(),
    }
    members: list[Member] = []

    def take_over(scratch: Path, answer: dict[str, JSON]) -> None:
        if errand.members is not None and "fault" not in answer:
            members.extend(take_members(scratch, answer.get("members"), errand.limits, errand.members))

    answer, usage = cage.run(
        request,
        limits=errand.limits,
        seconds=seconds,
        on_progress=errand.on_progress,
        program=errand.program,
        take_over=take_over,
        harvest=harvest,
        patience=patience,
    )
    if "fault" in answer:
        raise cage.fault_of(answer)
    body = answer.get("extraction")
    try:
        extraction = Extraction.from_json(
            {
                **(body if isinstance(body, dict) else {}),
                "media_type": errand.media_type,
                "engine_version": engine_version(errand.ocr),
                # Whose bytes they are is never the child's word.
                "members": [member.to_json() for member in members],
            }
        )
    except ValueError as error:
        raise Fault(FaultCode.READER_CRASHED, detail="no valid result") from error
    extraction.metadata["extraction_seconds"] = round(usage.seconds, 3)
    extraction.metadata["peak_memory_bytes"] = usage.peak_bytes
    return extraction


def _with_warning(extraction: Extraction, fault: Fault) -> Extraction:
    """Say that the better reader gave up, so that missing structure surprises nobody."""
    reasons = {
        FaultCode.LIMIT_MEMORY: "needed too much memory",
        FaultCode.LIMIT_TIME: "took too long",
        FaultCode.READER_CRASHED: "crashed",
    }
    reason = reasons.get(fault.code, "could not read it")
    extraction.warnings.append(
        f"Read by the fallback reader because the usual one {reason}; headings and tables may be missing."
    )
    return extraction
