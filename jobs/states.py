"""The state machine of a queue item: pure decisions, no I/O, no clock, no randomness.

The database repeats these rules twice more: as the guard of every UPDATE in
:mod:`jobs.queue_service` and as CHECK constraints in :mod:`jobs.tables`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from jobs.backoff import full_jitter
from jobs.model import (
    CancelAcknowledged,
    Completed,
    Crashed,
    Failed,
    Label,
    Outcome,
    QueueItem,
    Released,
    Snoozed,
    Status,
)


class Trigger(enum.StrEnum):
    """Everything that can happen to an item."""

    CLAIM = "claim"
    RENEW = "renew"
    COMPLETE = "complete"
    FAIL_RETRY = "fail_retry"
    FAIL_FINAL = "fail_final"
    SNOOZE = "snooze"
    RELEASE = "release"
    RESCUE_RETRY = "rescue_retry"
    RESCUE_QUARANTINE = "rescue_quarantine"
    CANCEL_WAITING = "cancel_waiting"
    CANCEL_REQUEST = "cancel_request"
    CANCEL_ACKNOWLEDGE = "cancel_acknowledge"
    RETRY = "retry"


TRANSITIONS: dict[tuple[Status, Trigger], Status] = {
    (Status.PENDING, Trigger.CLAIM): Status.IN_PROGRESS,
    (Status.PENDING, Trigger.CANCEL_WAITING): Status.CANCELLED,
    (Status.IN_PROGRESS, Trigger.RENEW): Status.IN_PROGRESS,
    (Status.IN_PROGRESS, Trigger.COMPLETE): Status.COMPLETED,
    (Status.IN_PROGRESS, Trigger.FAIL_RETRY): Status.PENDING,
    (Status.IN_PROGRESS, Trigger.FAIL_FINAL): Status.FAILED,
    (Status.IN_PROGRESS, Trigger.SNOOZE): Status.PENDING,
    (Status.IN_PROGRESS, Trigger.RELEASE): Status.PENDING,
    (Status.IN_PROGRESS, Trigger.RESCUE_RETRY): Status.PENDING,
    (Status.IN_PROGRESS, Trigger.RESCUE_QUARANTINE): Status.FAILED,
    (Status.IN_PROGRESS, Trigger.CANCEL_REQUEST): Status.IN_PROGRESS,
    (Status.IN_PROGRESS, Trigger.CANCEL_ACKNOWLEDGE): Status.CANCELLED,
    (Status.FAILED, Trigger.RETRY): Status.PENDING,
    (Status.CANCELLED, Trigger.RETRY): Status.PENDING,
}
"""Every legal step. What is not here cannot happen."""


def next_status(status: Status, trigger: Trigger) -> Status | None:
    """Return where a trigger leads from a status, or ``None`` when the step is illegal."""
    return TRANSITIONS.get((status, trigger))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently an item is tried.

    Attributes:
        max_failures: failures after which the item is failed for good, 1 or more.
        max_crashes: crashes after which the item is quarantined, 1 or more.
        base_seconds: longest wait after the first failure.
        cap_seconds: longest wait after any failure.
        timeout_seconds: longest time that an attempt may take.
    """

    max_failures: int = 5
    max_crashes: int = 3
    base_seconds: float = 2.0
    cap_seconds: float = 900.0
    timeout_seconds: int = 600


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one attempt ends: what the guarded UPDATE writes.

    Attributes:
        trigger: the row of the state table.
        delay_seconds: how long until the item is due again; 0 for an ended item.
        failures: how many failures to add, 0 or 1.
        crashes: how many crashes to add, 0 or 1.
        error_code: machine-readable cause, or ``None`` when nothing went wrong.
        error_message: the sentence for people, or ``None``.
    """

    trigger: Trigger
    delay_seconds: float = 0.0
    failures: int = 0
    crashes: int = 0
    error_code: str | None = None
    error_message: str | None = None

    @property
    def status(self) -> Status:
        """The state after the settlement."""
        return TRANSITIONS[Status.IN_PROGRESS, self.trigger]


def decide(item: QueueItem, outcome: Outcome, policy: RetryPolicy, fraction: float) -> Settlement:
    """Decide how an attempt with this outcome ends.

    Args:
        item: the item as it was claimed.
        outcome: what the attempt came to.
        policy: the limits and waits in force.
        fraction: a random number in [0, 1) for the jitter, drawn by the caller.

    Returns:
        The one settlement that follows; a cancel that was asked for turns every
        outcome but ``Completed`` into cancelled, so that no retry outlives a cancel.
    """
    match outcome:
        case Completed():
            return Settlement(Trigger.COMPLETE)
        case CancelAcknowledged():
            return Settlement(Trigger.CANCEL_ACKNOWLEDGE)
        case Failed():
            return _decide_failed(item, outcome, policy, fraction)
        case Snoozed(seconds=seconds, reason=reason, code=code):
            if item.cancel_requested_at is not None:
                return Settlement(Trigger.CANCEL_ACKNOWLEDGE)
            return Settlement(
                Trigger.SNOOZE,
                delay_seconds=max(0.0, seconds),
                error_code=code,
                error_message=reason,
            )
        case Released():
            if item.cancel_requested_at is not None:
                return Settlement(Trigger.CANCEL_ACKNOWLEDGE)
            return Settlement(Trigger.RELEASE)
        case Crashed(reason=reason):
            return _decide_crashed(item, reason, policy, fraction)
        case _:
            assert_never(outcome)


def _decide_failed(item: QueueItem, outcome: Failed, policy: RetryPolicy, fraction: float) -> Settlement:
    if item.cancel_requested_at is not None:
        return Settlement(Trigger.CANCEL_ACKNOWLEDGE)
    failures = item.failures + 1
    spent = failures >= item.max_failures
    if outcome.permanent or spent:
        return Settlement(
            Trigger.FAIL_FINAL, failures=1, error_code=outcome.code, error_message=outcome.message
        )
    delay = full_jitter(failures, fraction, base=policy.base_seconds, cap=policy.cap_seconds)
    if outcome.retry_after is not None:
        delay = max(delay, min(outcome.retry_after, policy.cap_seconds))
    return Settlement(
        Trigger.FAIL_RETRY,
        delay_seconds=delay,
        failures=1,
        error_code=outcome.code,
        error_message=outcome.message,
    )


def _decide_crashed(item: QueueItem, reason: str, policy: RetryPolicy, fraction: float) -> Settlement:
    if item.cancel_requested_at is not None:
        return Settlement(Trigger.CANCEL_ACKNOWLEDGE)
    crashes = item.crashes + 1
    if crashes >= policy.max_crashes:
        return Settlement(
            Trigger.RESCUE_QUARANTINE,
            crashes=1,
            error_code="quarantined",
            error_message=(
                f"Quarantined: this file stopped {crashes} workers ({reason}). Nothing else is affected."
            ),
        )
    # A short jitter spreads the items of one dead machine; nobody should wait long for another's crash.
    return Settlement(
        Trigger.RESCUE_RETRY,
        delay_seconds=full_jitter(crashes, fraction, base=policy.base_seconds, cap=policy.cap_seconds),
        crashes=1,
        error_code="crashed",
        error_message=f"Returned to queue: {reason}.",
    )


def label(item: QueueItem, now: datetime) -> Label:
    """Return the word people are shown for an item.

    Args:
        item: the row as read.
        now: the database's time.
    """
    match item.status:
        case Status.IN_PROGRESS:
            return Label.RUNNING
        case Status.COMPLETED:
            return Label.COMPLETED
        case Status.CANCELLED:
            return Label.CANCELLED
        case Status.FAILED:
            return Label.QUARANTINED if item.error_code == "quarantined" else Label.FAILED
        case Status.PENDING:
            if item.due_at <= now:
                return Label.WAITING
            return Label.RETRYING if item.failures or item.crashes else Label.SCHEDULED
        case _:
            assert_never(item.status)
