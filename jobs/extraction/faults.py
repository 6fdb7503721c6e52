"""Why a reading ended badly: short codes that the child may send, sentences that people read.

The child sends a code only. The sentence is written here, in the parent, so that neither a path
nor text of the document can travel into an error message.
"""

from __future__ import annotations

import enum

from jobs.errors import Permanent, ProcessingError, Transient
from jobs.extraction.media_types import ENCRYPTED_OFFICE, PDF, describe


class FaultCode(enum.StrEnum):
    """The closed list of causes."""

    EMPTY = "empty"
    ENCRYPTED = "encrypted"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a code
    UNSUPPORTED_KIND = "unsupported_kind"
    NO_SUCH_PAGES = "no_such_pages"
    UNREADABLE = "unreadable"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_DEEP = "too_deep"
    LIMIT_MEMORY = "limit_memory"
    LIMIT_TIME = "limit_time"
    LIMIT_OUTPUT = "limit_output"
    READER_CRASHED = "reader_crashed"
    FORBIDDEN = "forbidden"
    ENVIRONMENT = "environment"


class Fault(Exception):
    """Raised by a reader, and by the cage for a child that it had to end.

    Args:
        code: the cause.
        detail: for ``READER_CRASHED`` how it ended, such as ``signal 11``; else unused.
        note: for the log of the attempt: an exception's class and a line of our code.
    """

    def __init__(self, code: FaultCode, *, detail: str = "", note: str = "") -> None:
        super().__init__(code.value)
        self.code = code
        self.detail = detail
        self.note = note


OPENED_BY_PASSWORD = frozenset({PDF, ENCRYPTED_OFFICE})
"""The kinds whose readers know what to do with a password."""

# A fault of the first reader after which another reader of the same document may succeed.
RETRIED_BY_NEXT_READER = frozenset(
    {
        FaultCode.UNREADABLE,
        FaultCode.LIMIT_MEMORY,
        FaultCode.LIMIT_TIME,
        FaultCode.LIMIT_OUTPUT,
        FaultCode.READER_CRASHED,
    },
)


def _with_article(words: str) -> str:
    """Put the article by sound: letters of abbreviations are spoken one by one."""
    first = words.split(maxsplit=1)[0]
    by_letter = first.isupper() and first[0] in "AEFHILMNORSX" and first not in {"ZIP", "HEIC"}
    by_sound = not first.isupper() and first[0].lower() in "aeio"
    if first in {"a", "unknown"}:
        return words
    return f"an {words}" if by_letter or by_sound else f"a {words}"


def as_error(
    fault: Fault, *, media_type: str, expected: str, limits_text: tuple[str, str]
) -> ProcessingError:
    """Turn a fault into the error that the caller sees.

    Args:
        fault: what ended the reading.
        media_type: the kind that the content has.
        expected: the kind that the file name promises, the same as ``media_type`` as a rule.
        limits_text: the memory and the time limit as people write them, ``("2 GB", "55 s")``.

    Returns:
        ``Transient`` when the machine is to blame, ``Permanent`` otherwise.
    """
    memory, seconds = limits_text
    sentences = {
        FaultCode.EMPTY: "The file is empty.",
        FaultCode.ENCRYPTED: "This file is protected with a password. "
        + (
            "Try again with the password."
            if media_type in OPENED_BY_PASSWORD
            else "Upload a copy without the password."
        ),
        FaultCode.WRONG_PASSWORD: "The password does not open this file. Try again with the right one.",
        FaultCode.UNSUPPORTED_KIND: f"This kind of file is not supported: {describe(media_type)}.",
        FaultCode.NO_SUCH_PAGES: "This document has none of the pages that were asked for.",
        FaultCode.UNREADABLE: (
            f"The file is damaged or not really {_with_article(describe(expected))}: it could not be read."
        ),
        FaultCode.TOO_MANY_PIXELS: "The picture has too many pixels to be read. Upload a smaller copy.",
        FaultCode.TOO_DEEP: "The parts of this file are nested too deeply to be read.",
        FaultCode.LIMIT_MEMORY: f"Reading this file needs more than {memory} of memory; it was stopped.",
        FaultCode.LIMIT_TIME: f"Reading this file took longer than {seconds}; it was stopped.",
        FaultCode.LIMIT_OUTPUT: "This file unpacks to more text than can be kept; it was stopped.",
        FaultCode.READER_CRASHED: f"The file crashed its reader ({fault.detail or 'unknown cause'}).",
        FaultCode.FORBIDDEN: "The file made its reader try what no document needs; it was stopped.",
        FaultCode.ENVIRONMENT: "The reader could not run because the machine is short of resources.",
    }
    kind = Transient if fault.code is FaultCode.ENVIRONMENT else Permanent
    error = kind(sentences[fault.code], code=fault.code.value)
    if fault.note:
        error.add_note(fault.note)
    return error
