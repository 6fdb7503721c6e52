"""The words people read: labels, sizes, times, and why an item waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.model import Event, Label, QueueItem, Status

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
STAGE_WORDS = {"extract": "Extracting", "analyze": "Analysing"}
STAGE_NAMES = {"extract": "Extract", "analyze": "Analyse"}
OPERATION_WORDS = {
    "process": "Extract and analyse",
    "extract": "Extract text only",
    "analyze": "Analyse again",
}
REDIS_AWAY = "Redis unreachable: new jobs are accepted and start when it is back."


@dataclass(frozen=True, slots=True)
class Line:
    """What is ahead of a waiting item.

    Attributes:
        position: its place among the due items, 1 being the next; ``None`` when it is not due.
        workers: how many workers are alive.
        busy: how many of them hold an item.
    """

    position: int | None
    workers: int
    busy: int


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


def waiting_reason(item: QueueItem, label: Label, line: Line | None) -> str | None:
    """Say why an item does not run yet.

    Args:
        item: the item.
        label: what it is shown as.
        line: what is ahead of it; ``None`` when nobody counted.

    Returns:
        One sentence, or ``None`` for an item that runs or has ended.
    """
    if item.cancel_requested_at is not None and item.status is Status.IN_PROGRESS:
        return "Cancel asked for: the worker stops at its next step."
    if label is Label.SCHEDULED:
        return f"Scheduled: starts at {item.due_at.astimezone(UTC):%H:%M:%S} UTC."
    if label is Label.RETRYING:
        return _retrying(item)
    if label is not Label.WAITING or line is None:
        return None
    place = "" if line.position is None else f" Position {line.position}."
    if line.workers == 0:
        return f"Waiting: no worker is running.{place}"
    if line.busy >= line.workers:
        who = "the worker is busy" if line.workers == 1 else f"all {line.workers} workers are busy"
        return f"Waiting: {who}.{place}"
    return f"Accepted.{place}"


def _retrying(item: QueueItem) -> str:
    due = f"{item.due_at.astimezone(UTC):%H:%M:%S} UTC"
    if item.error_code == "crashed":
        reason = item.error_message or "Returned to queue."
        return f"{reason} Attempt not counted; next try at {due}."
    return f"Waiting: retry {item.failures} of {item.max_failures - 1} at {due}."


def event_words(event: Event) -> str:
    """Tell an event in a few words for the timeline."""
    data = event.data
    by = f" by {data['by']}" if data.get("by") else ""
    words = {
        "accepted": "Accepted and stored",
        "started": f"Attempt {event.attempt} started",
        "progress": _progress_words(event),
        "stage_completed": _stage_words(event),
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


def _progress_words(event: Event) -> str:
    stage = STAGE_WORDS.get(str(event.data.get("stage")), str(event.data.get("stage") or "Working"))
    progress = event.data.get("progress")
    done = progress if isinstance(progress, (int, float)) else 0.0
    return f"{stage} {done:.0%}" if done else stage
