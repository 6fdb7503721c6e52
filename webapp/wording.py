"""The words people read: labels, sizes, times, and why an item waits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.model import IMAGES_OPERATION, JSON, Event, Label
from jobs.read_options import DEFAULT_PRESET
from jobs.waiting import Waiting

LABEL_WORDS: dict[str, str] = {
    Label.WAITING: "Waiting",
    Label.SCHEDULED: "Scheduled",
    Label.RETRYING: "Retrying",
    Label.RUNNING: "Running",
    Label.COMPLETED: "Completed",
    Label.FAILED: "Failed",
    Label.QUARANTINED: "Quarantined",
    Label.CANCELLED: "Cancelled",
}
STAGE_WORDS = {"extract": "Extracting", "analyze": "Analysing", "images": "Drawing pages"}
STAGE_NAMES = {"extract": "Extract", "analyze": "Analyse", "images": "Draw pages"}
OPERATION_WORDS = {
    "process": "Extract and analyse",
    "extract": "Extract text only",
    "analyze": "Analyse again",
    "images": "Draw pages",
    "retry_pages": "Read failed pages again",
}
OCR_WORDS = {"auto": "where a page has no text", "always": "on every page", "never": "never"}
_FACT_NAMES = {
    "char_count": "Characters", "word_count": "Words", "row_count": "Rows", "column_count": "Columns",
    "line_count": "Lines", "sheet_count": "Sheets", "slide_count": "Slides", "file_count": "Files",
    "created_at": "Created", "modified_at": "Changed", "modified_by": "Changed by", "cc": "CC", "bcc": "BCC",
    "ocr_confidence": "OCR confidence, of 100", "ocr_page_count": "Pages read by OCR",
    "extraction_seconds": "Reading took", "peak_memory_bytes": "Memory at most",
}  # fmt: skip
_LANGUAGE_NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian",
    "sr": "Serbian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_FIGURE = re.compile(r"[-+(]?[$€£¥]?\s?[-+]?\d[\d.,'\s]*\)?\s?[%$€£¥]?")
REDIS_AWAY = "Redis unreachable: new jobs are accepted and start when it is back."


def human_size(size: float) -> str:
    """Return a byte count as people write it, e.g. ``1.4 MB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            whole = unit == "bytes" or size >= 100 or round(size, 1) == int(size)
            return f"{size:.0f} {unit}" if whole else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes every size")


def human_duration(seconds: float) -> str:
    """Return a duration in its two largest units, e.g. ``2 min 5 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0 s"


def relative(at: datetime, now: datetime | None = None) -> str:
    """Return an instant as seen from now, e.g. ``3 min ago`` or ``in 20 s``."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    if abs(seconds) < 5:
        return "now"
    text = human_duration(float(int(abs(seconds)))).split(" ")
    if abs(seconds) < 10:
        text = [str(int(abs(seconds))), "s"]
    amount = " ".join(text[:2])
    return f"{amount} ago" if seconds > 0 else f"in {amount}"


def absolute(at: datetime) -> str:
    """Return an instant to the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def instant_words(stated: str) -> str:
    """Return an instant that a document states, in ISO 8601, as people read it; others as they are."""
    try:
        at = datetime.fromisoformat(stated)
    except ValueError:
        return stated
    if len(stated) <= len("2026-01-01"):
        return f"{at:%Y-%m-%d}"
    return f"{at:%Y-%m-%d %H:%M}" + (f" {at:%Z}" if at.tzinfo else "")


def option_words(operation: str, options: Mapping[str, JSON]) -> list[tuple[str, str]]:
    """Name a job's options and say what they are; of a password only that one was given.

    Args:
        operation: the job's; where pages are drawn nothing but the password counts.
        options: as :func:`jobs.read_options.options_json` returns them.
    """
    password = [("Password", "given")] if options.get("password") else []
    if operation == IMAGES_OPERATION:
        return password
    return [
        ("Preset", str(options.get("preset", DEFAULT_PRESET))),
        ("OCR", OCR_WORDS[str(options.get("ocr", "auto"))]),
        ("Languages", str(options.get("languages", "default")).replace(",", ", ")),
        ("Pages", str(options.get("pages", "all"))),
        ("Tables", "yes" if options.get("tables", True) else "no"),
        *password,
    ]


def fact(key: str, value: JSON) -> tuple[str, str]:
    """Return the name and the words of something that is known of a document, by its key in the metadata."""
    name = _FACT_NAMES.get(key, key.replace("_", " ").capitalize())
    if key == "extraction_seconds" and isinstance(value, (int, float)):
        return name, human_duration(value)
    if key == "peak_memory_bytes" and isinstance(value, int):
        return name, human_size(value)
    if isinstance(value, list):
        return name, ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return name, f"{value:,}"
    return name, instant_words(str(value)) if key.endswith("_at") or key == "date" else str(value)


def language_name(code: str) -> str:
    """Return what people call a language of an ISO 639-1 code; the code in capitals for rarer ones."""
    return _LANGUAGE_NAMES.get(code, code.upper())


def is_figure(cell: str) -> bool:
    """Say whether a table's cell is a number, to be set to the right."""
    return _FIGURE.fullmatch(cell.strip()) is not None


def waiting_reason(waiting: Waiting) -> str | None:
    """Say in one line why an item does not run yet.

    Args:
        waiting: the explanation.

    Returns:
        The most decisive reason, with its place where that is not the reason; ``None`` for an item that
        runs or has ended.
    """
    if not waiting.reasons:
        return None
    reason = waiting.reasons[0]
    if waiting.position is None or reason.code in {"behind", "picking_up"}:
        return reason.sentence
    return f"{reason.sentence} {place_in_line(waiting.position, waiting.position_is_minimum)}."


def place_in_line(position: int, is_minimum: bool = False) -> str:
    """Return a place as people read it, e.g. ``Position 14``."""
    return f"Position beyond {position - 2:,}" if is_minimum else f"Position {position:,}"


def prospect(waiting: Waiting, now: datetime) -> str | None:
    """Say where in line an item is, and when it may start.

    Args:
        waiting: the explanation.
        now: the database's time.

    Returns:
        A sentence such as "Position 14, about 3 min.", or ``None`` when it is not in line.
    """
    if waiting.position is None:
        return None
    place = place_in_line(waiting.position, waiting.position_is_minimum)
    if waiting.expected_start is None:
        return (
            f"{place}; {waiting.expected_start_unknown}." if waiting.expected_start_unknown else f"{place}."
        )
    seconds = (waiting.expected_start - now).total_seconds()
    if seconds < 10:
        return f"{place}, a moment."
    whole = round(seconds / 60) * 60 if seconds >= 90 else round(seconds / 10) * 10
    return f"{place}, about {human_duration(whole)}."


def event_words(event: Event) -> str:
    """Tell an event in a few words for the timeline."""
    data = event.data
    by = f" by {data['by']}" if data.get("by") else ""
    words = {
        "accepted": "Accepted and stored",
        "started": f"Attempt {event.attempt} started",
        "progress": _progress_words(event),
        "stage_completed": _stage_words(event),
        "children": _children_words(event),
        "completed": "Completed",
        "retrying": f"Attempt {event.attempt} failed; it will be tried again",
        "failed": f"Failed at attempt {event.attempt}",
        "snoozed": "Put back to wait; no failure counted",
        "released": "Returned to queue: the worker was asked to stop",
        "returned": "Returned to queue: the worker stopped answering",
        "quarantined": "Quarantined",
        "cancelled": f"Cancelled{by}",
        "cancel_requested": f"Cancel asked for{by}",
        "retried": f"Retried{by}",
    }
    return words.get(event.kind, event.kind.replace("_", " ").capitalize())


def _stage_words(event: Event) -> str:
    stage = STAGE_NAMES.get(str(event.data.get("stage")), str(event.data.get("stage")).capitalize())
    return f"{stage} done, kept from before" if event.data.get("reused") else f"{stage} done"


def _children_words(event: Event) -> str:
    data = event.data
    words = f"{data.get('made', 0)} attachments or files became documents of their own"
    if data.get("too_deep"):
        words += f"; {data['too_deep']} were left out: nested too deeply"
    if data.get("too_many"):
        words += f"; {data['too_many']} were left out: too many came out of one upload"
    return words


def _progress_words(event: Event) -> str:
    stage = STAGE_WORDS.get(str(event.data.get("stage")), str(event.data.get("stage") or "Working"))
    progress = event.data.get("progress")
    done = progress if isinstance(progress, (int, float)) else 0.0
    return f"{stage} {done:.0%}" if done else stage


@dataclass(frozen=True, slots=True)
class BulkWords:
    """How a kind of bulk operation is spoken of.

    Attributes:
        ask: the button, and the beginning of the question.
        consequence: what comes of it, for the dialog.
        doing: what it does while it runs.
        done: what it has done to so many jobs.
    """

    ask: str
    consequence: str
    doing: str
    done: str


BULK_WORDS: dict[str, BulkWords] = {
    "retry": BulkWords(
        "Retry",
        "Each gets a fresh budget of attempts and waits in line again. Stages that finished are not computed "
        "again.",
        "Retrying",
        "put back into the queue",
    ),
    "cancel": BulkWords(
        "Cancel",
        "Waiting jobs end at once, running ones at their next step. Their documents stay, and they can be "
        "retried later.",
        "Cancelling",
        "cancelled or asked to stop",
    ),
    "change_priority": BulkWords(
        "Change the priority of",
        "Higher goes first. They line up anew among the jobs of their new priority.",
        "Changing the priority of",
        "moved in their line",
    ),
    "delete": BulkWords(
        "Delete",
        "They are deleted with their attempts and timelines. This cannot be undone. Documents, their "
        "original files and their newest results stay.",
        "Deleting",
        "deleted",
    ),
}
_FILTER_WORDS = {
    "status": "state",
    "label": "shown as",
    "operation": "operation",
    "queue": "queue",
    "owner_id": "owner",
    "error_code": "error",
    "created_after": "created from",
    "created_before": "created before",
    "text": "name, hash or id",
}


def bulk_scope(chosen: Mapping[str, object]) -> str:
    """Tell in words which jobs a bulk operation's filter means."""
    if "all" in chosen:
        return "every job"
    ids = chosen.get("ids")
    if isinstance(ids, list):
        return "1 chosen job" if len(ids) == 1 else f"{len(ids):,} chosen jobs"
    return "jobs with " + ", ".join(
        f"{_FILTER_WORDS.get(name, name)} {value}" for name, value in chosen.items()
    )


def told(event: Event) -> str:
    """Tell an event for the timeline, with the reason that a person gave for it."""
    data = event.data
    words = event_words(event)
    if event.kind == "priority_changed":
        by = f" by {data['by']}" if data.get("by") else ""
        words = f"Priority changed from {data.get('from')} to {data.get('to')}{by}"
    return f"{words}: {data['reason']}" if data.get("reason") else words
