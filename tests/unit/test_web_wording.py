"""Why an item waits, and how sizes and times are told."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from jobs.model import DocumentId, ItemId, Label, QueueItem, QueueState, Status, Throttle
from jobs.waiting import Reason, Waiting
from jobs.waiting.reasons import Crew, Facts, Limits, reasons_of_pending
from webapp.wording import (
    fact,
    human_duration,
    human_size,
    instant_words,
    is_figure,
    prospect,
    relative,
    waiting_reason,
)

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def waiting(*sentences, code="workers_busy", **changes):
    reasons = tuple(Reason(code, sentence, {}) for sentence in sentences)
    values = {"reasons": reasons, "position": None, "expected_start": None, **changes}
    return Waiting(ItemId("i"), Status.PENDING, Label.WAITING, "documents", **values)


BUSY = "Waiting: all 4 workers are busy."


@pytest.mark.parametrize(
    ("explained", "sentence"),
    [
        (waiting(BUSY, "Behind 13 others.", position=14), "Waiting: all 4 workers are busy. Position 14."),
        (waiting(BUSY, position=1234), "Waiting: all 4 workers are busy. Position 1,234."),
        (
            waiting(BUSY, position=10_002, position_is_minimum=True),
            "Waiting: all 4 workers are busy. Position beyond 10,000.",
        ),
        (waiting("Behind 13 others.", code="behind", position=14), "Behind 13 others."),
        (waiting("Being picked up.", code="picking_up", position=1), "Being picked up."),
        (
            waiting("Scheduled: starts at 12:00:38 UTC.", code="scheduled"),
            "Scheduled: starts at 12:00:38 UTC.",
        ),
        (waiting(), None),
    ],
)
def test_a_reason_is_told_in_one_line_with_the_place(explained, sentence):
    assert waiting_reason(explained) == sentence


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Position 14, a moment."),
        (62, "Position 14, about 1 min."),
        (47, "Position 14, about 50 s."),
        (170, "Position 14, about 3 min."),
        (5400, "Position 14, about 1 h 30 min."),
    ],
)
def test_the_prospect_is_no_more_exact_than_it_can_be(seconds, words):
    start = NOW + timedelta(seconds=seconds)
    assert prospect(waiting(BUSY, position=14, expected_start=start), NOW) == words


def test_the_prospect_says_why_nobody_can_tell():
    unknown = waiting(BUSY, position=14, expected_start_unknown="no worker is running")
    assert prospect(unknown, NOW) == "Position 14; no worker is running."
    assert prospect(waiting(BUSY, position=14), NOW) == "Position 14."
    assert prospect(waiting(BUSY), NOW) is None


# The reasons' own sentences; the facts behind them are in tests/integration/test_waiting.py.

FACTS = Facts(NOW, {}, {"documents": Crew(alive=4, busy=4)}, {}, ())
LIMITS = Limits(False, 0, 5.0, 15.0, {"process": ("model",)})


def item(**changes):
    values = {
        "id": ItemId("i"), "document_id": DocumentId("d"), "owner_id": None, "operation": "process",
        "status": Status.PENDING, "priority": 0, "fresh": False, "due_at": NOW - timedelta(seconds=38),
        "created_at": NOW, "updated_at": NOW, "finished_at": None, "announced_at": None, "attempt": 1,
        "failures": 0, "crashes": 0, "max_failures": 5, "stage": None, "progress": 0.0,
        "cancel_requested_at": None, "error_code": None, "error_message": None, "worker": None,
        "lease_id": None,
    }  # fmt: skip
    return QueueItem(**{**values, **changes})


def facts(**changes):
    return dataclasses.replace(FACTS, **changes)


LATER = {"due_at": NOW + timedelta(seconds=38)}
PAUSED = {"documents": QueueState("documents", NOW - timedelta(days=1), "anna", "Out of paper")}


@pytest.mark.parametrize(
    ("changes", "known", "position", "sentences"),
    [
        ({}, FACTS, 14, ["Waiting: all 4 workers are busy.", "Behind 13 others."]),
        ({}, facts(crews={"documents": Crew(1, 1)}), 1, ["Waiting: the worker is busy."]),
        ({}, facts(crews={}), 1, ["Waiting: no worker is running."]),
        ({}, facts(crews={"documents": Crew(2, 1)}), None, ["Waiting in line."]),
        ({}, facts(crews={"documents": Crew(2, 1)}), 1, ["Being picked up: its bell rings within 5 s."]),
        (
            {"announced_at": NOW - timedelta(seconds=2)}, facts(crews={"documents": Crew(2, 1)}), 1,
            ["Being picked up: its bell rang at 11:59:58 UTC."],
        ),
        ({**LATER}, FACTS, None, ["Scheduled: starts at 12:00:38 UTC."]),
        (
            {"due_at": NOW + timedelta(days=2)}, FACTS, None,
            ["Scheduled: starts at 2026-11-24 12:00 UTC."],
        ),
        ({**LATER, "failures": 2}, FACTS, None, ["Waiting: retry 2 of 4 at 12:00:38 UTC."]),
        (
            {**LATER, "crashes": 1, "error_code": "crashed", "error_message": "Returned to queue: it died."},
            FACTS, None,
            ["Returned to queue: it died. Attempt not counted; next try at 12:00:38 UTC."],
        ),
        (
            {**LATER, "failures": 1, "error_code": "throttled", "error_message": "Too many at once"},
            FACTS, None,
            ["Waiting until 12:00:38 UTC: Too many at once."],
        ),
        (
            {**LATER}, facts(paused=PAUSED), None,
            [
                "Waiting: the queue documents is paused by anna since 2026-11-21 12:00 UTC: Out of paper.",
                "Scheduled: starts at 12:00:38 UTC.",
            ],
        ),
        (
            {}, facts(throttles=(Throttle("model", NOW + timedelta(seconds=9), "Slow down"),)), 1,
            [
                "Waiting: all 4 workers are busy.",
                "The model is not asked before 12:00:09 UTC: Slow down.",
            ],
        ),
        (
            {"cancel_requested_at": NOW}, FACTS, 1,
            ["Cancel asked for: the worker stops at its next step.", "Waiting: all 4 workers are busy."],
        ),
    ],
)  # fmt: skip
def test_every_waiting_item_says_why(changes, known, position, sentences):
    found = reasons_of_pending(item(**changes), known, LIMITS, position)
    assert [reason.sentence for reason in found] == sentences


def test_an_owners_limit_is_told_with_its_number():
    limits = dataclasses.replace(LIMITS, max_running_per_owner=1)
    found = reasons_of_pending(item(), facts(owners_running={None: 1}), limits, 2)
    assert found[0].sentence == "Waiting: one job of this owner runs, and no more than 1 may at once."
    assert reasons_of_pending(item(), facts(owners_running={"other": 1}), limits, 2)[0].code == "workers_busy"


def test_of_a_queue_among_several_the_name_is_told():
    limits = dataclasses.replace(LIMITS, several_queues=True)
    (reason,) = reasons_of_pending(item(queue="ocr"), FACTS, limits, 1)
    assert reason.sentence == "Waiting: no worker is listening on ocr."


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


def test_instants_of_documents_are_written_for_people_and_others_stay():
    assert instant_words("2024-07-29T20:38:11+00:00") == "2024-07-29 20:38 UTC"
    assert instant_words("2024-07-29T20:38:11") == "2024-07-29 20:38"
    assert instant_words("2024-07-29") == "2024-07-29"
    assert instant_words("last spring") == "last spring"


def test_what_is_known_of_a_document_has_names_and_units():
    assert fact("char_count", 12345) == ("Characters", "12,345")
    assert fact("peak_memory_bytes", 75153408) == ("Memory at most", "71.7 MB")
    assert fact("created_at", "2024-07-29T20:38:11+00:00") == ("Created", "2024-07-29 20:38 UTC")
    assert fact("parts", ["a", "b"]) == ("Parts", "a, b")
    assert fact("from", "Ann") == ("From", "Ann")


def test_numbers_of_tables_are_known_by_sight():
    assert all(map(is_figure, ["12", "-3.5", "1,234.00", "$5", "(81)", "12 %", "5€"]))
    assert not any(map(is_figure, ["", "a1", "2024-01-02", "12 apples", "-"]))
