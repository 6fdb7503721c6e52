"""The program in the cage: one document, read by one reader or drawn, one result file, and out.

It is started by ``cage`` as a program, or forked by ``zygote``, and talks back in three ways only:
progress lines on a pipe, and in its scratch folder the pages that are done and one result file.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn, cast

from jobs.extraction.cage import REQUEST_NAME, RESULT_NAME
from jobs.extraction.completion import complete
from jobs.extraction.confine import CageLevel, confine, shut_in
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.handover import MEMBERS_NAME
from jobs.extraction.members import unpack
from jobs.extraction.ocr_setup import OcrSetup
from jobs.extraction.options import ReadOptions
from jobs.extraction.page_log import PAGES_NAME, PageLog
from jobs.extraction.reading import Reader, Source
from jobs.extraction.result import Limits
from jobs.extraction.resume import FROM_THE_START, Resume
from jobs.model import JSON

# Writing the result and leaving must still fit before the cage's own deadline.
_FINISH_SECONDS = 3.0
_OWN_FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Run as a program of its own; see ``read_one`` for the three arguments."""
    read_one(Path(sys.argv[-3]), int(sys.argv[-2]), int(sys.argv[-1]))


def read_one(scratch: Path, pipe: int, parent_pid: int) -> NoReturn:
    """Read the document named in the request and leave without running any destructor.

    The process ends by ``os._exit``: some engines crash in their own clean-up at a normal exit.

    Args:
        scratch: the folder with the request, into which the result goes.
        pipe: the descriptor for progress.
        parent_pid: the process with which this one shall die.
    """
    status = 1
    try:
        request = json.loads((scratch / REQUEST_NAME).read_text(encoding="utf-8"))
        limits = Limits(**request["limits"])
        confine(limits, parent_pid)
        if shut_in(Path(str(request["path"])), scratch, _models(request)) < CageLevel.named(
            limits.cage_level
        ):
            answer: dict[str, object] = {"fault": FaultCode.ENVIRONMENT.value, "note": "cage level"}
        else:
            answer = _answer(request, limits, pipe, scratch)
        _write(scratch / RESULT_NAME, answer)
        status = 0
    finally:
        os._exit(status)


def _models(request: dict[str, object]) -> list[Path]:
    """Return what of the operator's models must be readable, wherever links lead."""
    setup = OcrSetup.from_json(cast("dict[str, JSON]", request["ocr"]))
    if not setup.models_dir:
        return []
    return [Path(setup.models_dir), *(path.resolve() for path in setup.tesseract_models().values())]


def _answer(request: dict[str, object], limits: Limits, pipe: int, scratch: Path) -> dict[str, object]:
    """Run the reader; every way it can fail becomes a fault code."""
    try:
        told = cast("dict[str, JSON] | None", request.get("resume"))
        resume = FROM_THE_START if told is None else Resume.from_json(told)
        page_log = PageLog(lambda line: os.write(pipe, line), scratch / PAGES_NAME, at_once=resume.careful)
        source = Source(
            path=Path(str(request["path"])),
            filename=str(request["filename"]),
            media_type=str(request["media_type"]),
            limits=limits,
            deadline=time.monotonic() + float(str(request["seconds"])) - _FINISH_SECONDS,
            report=page_log.report,
            options=ReadOptions.from_json(cast("dict[str, JSON]", request["options"])),
            page_log=page_log,
            resume=resume,
            ocr=OcrSetup.from_json(cast("dict[str, JSON]", request["ocr"])),
        )
        if "first_page" in request:
            drawing = importlib.import_module("jobs.extraction.drawing")
            return {"drawing": drawing.draw(source, int(str(request["first_page"])))}
        module = importlib.import_module(f"jobs.extraction.readers.{request['reader']}")
        reader = cast("Reader", module.read)
        reading = reader(source)
        # A request of somebody who keeps no members says nothing of them.
        takes_members = request.get("members", False)
        names = unpack(source, scratch / MEMBERS_NAME, reading.warnings) if takes_members else []
        extraction = complete(reading, source)
    # Panics of engines written in Rust derive from BaseException.
    except BaseException as error:  # noqa: BLE001
        return {"fault": _code_of(error).value, "note": _note_of(error)}
    return {"extraction": extraction.to_json(), "members": names}


def _code_of(error: BaseException) -> FaultCode:
    if isinstance(error, Fault):
        return error.code
    if isinstance(error, MemoryError):
        return FaultCode.LIMIT_MEMORY
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return FaultCode.ENVIRONMENT
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return FaultCode.LIMIT_OUTPUT
    return FaultCode.UNREADABLE


def _note_of(error: BaseException) -> str:
    """Name the exception's class and the last line of our own code, and nothing of the document."""
    if isinstance(error, Fault) and error.note:
        return error.note
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_OWN_FOLDER)]
    where = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return type(error).__name__ + where


def _write(path: Path, answer: dict[str, object]) -> None:
    # Lone surrogates from a broken document cannot be encoded otherwise.
    data = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    try:
        path.write_bytes(data)
    except OSError as error:
        code = _code_of(error)
        path.write_bytes(json.dumps({"fault": code.value, "note": type(error).__name__}).encode())
