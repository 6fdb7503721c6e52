"""The state machine as a pure function: each row of the table, and that nothing else is possible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.backoff import ceiling_seconds, full_jitter
from jobs.model import (
    ENDED_STATUSES,
    CancelAcknowledged,
    Completed,
    Crashed,
    DocumentId,
    Failed,
    ItemId,
    Label,
    QueueItem,
    Released,
    Snoozed,
    Status,
)
from jobs.states import TRANSITIONS, RetryPolicy, Trigger, decide, label, next_status

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(max_failures=3, max_crashes=3, base_seconds=2.0, cap_seconds=60.0)


def make_item(**changes):
    base = QueueItem(
        id=ItemId("i"), document_id=DocumentId("d"), owner_id=None, operation="process",
        status=Status.IN_PROGRESS, priority=0, fresh=False, due_at=NOW, created_at=NOW, updated_at=NOW,
        finished_at=None, announced_at=None, attempt=1, failures=0, crashes=0, max_failures=3, stage=None,
        progress=0.0, cancel_requested_at=None, error_code=None, error_message=None, worker="w", lease_id="l",
    )  # fmt: skip
    return base._replace(**changes)


def failed(*, permanent=False, retry_after=None):
    return Failed(code="x", message="It broke.", permanent=permanent, retry_after=retry_after)


@pytest.mark.parametrize(
    ("item", "outcome", "trigger", "status"),
    [
        (make_item(), Completed(), Trigger.COMPLETE, Status.COMPLETED),
        (make_item(), failed(), Trigger.FAIL_RETRY, Status.PENDING),
        (make_item(failures=2), failed(), Trigger.FAIL_FINAL, Status.FAILED),
        (make_item(), failed(permanent=True), Trigger.FAIL_FINAL, Status.FAILED),
        (make_item(), Snoozed(5, "throttled"), Trigger.SNOOZE, Status.PENDING),
        (make_item(), Released("stop"), Trigger.RELEASE, Status.PENDING),
        (make_item(), CancelAcknowledged(), Trigger.CANCEL_ACKNOWLEDGE, Status.CANCELLED),
        (make_item(), Crashed("signal 9"), Trigger.RESCUE_RETRY, Status.PENDING),
        (make_item(crashes=2), Crashed("signal 9"), Trigger.RESCUE_QUARANTINE, Status.FAILED),
    ],
)
def test_each_outcome_leads_to_its_row_of_the_table(item, outcome, trigger, status):
    settlement = decide(item, outcome, POLICY, 0.5)
    assert (settlement.trigger, settlement.status) == (trigger, status)


def test_only_a_failure_counts_as_a_failure_and_only_a_crash_as_a_crash():
    counted = {
        type(outcome).__name__: (settlement.failures, settlement.crashes)
        for outcome in (
            Completed(), failed(), Snoozed(1, "x"), Released("x"), CancelAcknowledged(), Crashed("x")
        )
        for settlement in [decide(make_item(), outcome, POLICY, 0.5)]
    }  # fmt: skip
    assert counted == {
        "Completed": (0, 0),
        "Failed": (1, 0),
        "Snoozed": (0, 0),
        "Released": (0, 0),
        "CancelAcknowledged": (0, 0),
        "Crashed": (0, 1),
    }


@pytest.mark.parametrize("outcome", [failed(), Snoozed(1, "x"), Released("x"), Crashed("x")])
def test_no_retry_outlives_a_cancel(outcome):
    asked = make_item(cancel_requested_at=NOW)
    assert decide(asked, outcome, POLICY, 0.5).status is Status.CANCELLED


def test_work_that_was_finished_before_the_cancel_was_seen_counts():
    assert decide(make_item(cancel_requested_at=NOW), Completed(), POLICY, 0.5).status is Status.COMPLETED


def test_the_quarantine_says_why():
    message = decide(make_item(crashes=2), Crashed("killed by signal 11"), POLICY, 0.5).error_message
    assert message is not None
    assert "signal 11" in message
    assert "3 workers" in message


def test_retry_after_is_honoured_up_to_the_cap():
    assert decide(make_item(), failed(retry_after=30), POLICY, 0.0).delay_seconds == 30
    assert decide(make_item(), failed(retry_after=9_999), POLICY, 0.0).delay_seconds == POLICY.cap_seconds


@given(status=st.sampled_from(Status), triggers=st.lists(st.sampled_from(Trigger), max_size=30))
def test_an_ended_item_changes_only_by_a_retry(status, triggers):
    for trigger in triggers:
        following = next_status(status, trigger)
        if following is None:
            continue
        if status in ENDED_STATUSES:
            assert trigger is Trigger.RETRY
            assert status is not Status.COMPLETED
        status = following


def test_every_settling_trigger_starts_from_in_progress():
    settling = {trigger for (status, trigger) in TRANSITIONS if status is Status.IN_PROGRESS}
    others = {trigger for (status, trigger) in TRANSITIONS if status is not Status.IN_PROGRESS}
    assert settling & others == set()


@given(
    failures=st.integers(1, 10_000),
    fraction=st.floats(0, 1, exclude_max=True),
    base=st.floats(0.001, 100),
    cap=st.floats(0.001, 10_000),
)
def test_the_wait_is_drawn_between_zero_and_a_growing_bounded_ceiling(failures, fraction, base, cap):
    wait = full_jitter(failures, fraction, base=base, cap=cap)
    assert 0 <= wait <= ceiling_seconds(failures, base=base, cap=cap) <= cap
    assert ceiling_seconds(failures, base=base, cap=cap) <= ceiling_seconds(failures + 1, base=base, cap=cap)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": Status.PENDING}, Label.WAITING),
        ({"status": Status.PENDING, "due_at": NOW + timedelta(seconds=1)}, Label.SCHEDULED),
        ({"status": Status.PENDING, "due_at": NOW + timedelta(seconds=1), "failures": 1}, Label.RETRYING),
        ({"status": Status.PENDING, "due_at": NOW + timedelta(seconds=1), "crashes": 1}, Label.RETRYING),
        ({"status": Status.IN_PROGRESS}, Label.RUNNING),
        ({"status": Status.COMPLETED}, Label.COMPLETED),
        ({"status": Status.FAILED}, Label.FAILED),
        ({"status": Status.FAILED, "error_code": "quarantined"}, Label.QUARANTINED),
        ({"status": Status.CANCELLED}, Label.CANCELLED),
    ],
)
def test_people_are_shown_a_word_derived_from_the_row(changes, expected):
    assert label(make_item(**changes), NOW) is expected
