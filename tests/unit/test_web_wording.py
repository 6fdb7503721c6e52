"""Why an item waits, and how sizes and times are told."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.model import DocumentId, ItemId, Label, QueueItem, Status
from webapp.wording import Line, human_duration, human_size, relative, waiting_reason

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def item(**changes):
    values = {
        "id": ItemId("i"), "document_id": DocumentId("d"), "owner_id": None, "operation": "process",
        "status": Status.PENDING, "priority": 0, "fresh": False, "due_at": NOW + timedelta(seconds=38),
        "created_at": NOW, "updated_at": NOW, "finished_at": None, "announced_at": None, "attempt": 1,
        "failures": 0, "crashes": 0, "max_failures": 5, "stage": None, "progress": 0.0,
        "cancel_requested_at": None, "error_code": None, "error_message": None, "worker": None,
        "lease_id": None,
    }  # fmt: skip
    return QueueItem(**{**values, **changes})


@pytest.mark.parametrize(
    ("label", "line", "changes", "sentence"),
    [
        (Label.WAITING, Line(14, 4, 4), {}, "Waiting: all 4 workers are busy. Position 14."),
        (Label.WAITING, Line(2, 1, 1), {}, "Waiting: the worker is busy. Position 2."),
        (Label.WAITING, Line(1, 0, 0), {}, "Waiting: no worker is running. Position 1."),
        (Label.WAITING, Line(1, 2, 1), {}, "Accepted. Position 1."),
        (Label.WAITING, None, {}, None),
        (Label.RETRYING, None, {"failures": 2}, "Waiting: retry 2 of 4 at 12:00:38 UTC."),
        (
            Label.RETRYING, None,
            {"crashes": 1, "error_code": "crashed", "error_message": "Returned to queue: it died."},
            "Returned to queue: it died. Attempt not counted; next try at 12:00:38 UTC.",
        ),
        (Label.SCHEDULED, None, {}, "Scheduled: starts at 12:00:38 UTC."),
        (Label.COMPLETED, None, {"status": Status.COMPLETED}, None),
        (
            Label.RUNNING, None, {"status": Status.IN_PROGRESS, "cancel_requested_at": NOW},
            "Cancel asked for: the worker stops at its next step.",
        ),
    ],
)  # fmt: skip
def test_every_waiting_item_says_why(label, line, changes, sentence):
    assert waiting_reason(item(**changes), label, line) == sentence


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KB"),
        (1536, "1.5 KB"),
        (50 * 2**20, "50 MB"),
        (2**42, "4096 GB"),
    ],
)
def test_sizes(size, words):
    assert human_size(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59, "59 s"), (125, "2 min 5 s"), (3600, "1 h"), (90_061, "1 d 1 h")],
)
def test_durations(seconds, words):
    assert human_duration(seconds) == words


@pytest.mark.parametrize(
    ("ago", "words"), [(2, "now"), (7, "7 s ago"), (90, "1 min ago"), (-20, "in 20 s"), (7200, "2 h ago")]
)
def test_relative_times(ago, words):
    assert relative(NOW - timedelta(seconds=ago), NOW) == words
