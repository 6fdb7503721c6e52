"""The reasons and their sentences; no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.model import JSON, ItemId, Label, QueueItem, QueueState, Status, Throttle

COUNTED_TO = 10_000
"""Who is ahead is counted up to here."""

# A rate from fewer completions than this would be a guess.
_LEAST_COMPLETIONS = 3
_START_WORKERS = "python worker.py"
_WHY_NO_START = {
    "cancel_requested": "a cancel was asked for",
    "paused": "nobody knows when the queue goes on",
    "no_worker": "no worker is running",
    "scheduled": "it is not due yet",
    "backoff": "it is not due yet",
    "throttled": "it was asked to wait",
    "owner_limit": "it depends on this owner's other jobs",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps an item from running.

    Attributes:
        code: ``cancel_requested``, ``paused``, ``no_worker``, ``scheduled``, ``backoff``, ``throttled``,
            ``owner_limit``, ``workers_busy``, ``behind``, ``picking_up``, ``in_line`` (nobody counted),
            ``stage_throttled`` (it starts, but a later stage of it will wait), and for a running item
            ``cancel_requested`` and ``worker_silent``.
        sentence: for people.
        data: what it rests on; instants as ISO 8601.
    """

    code: str
    sentence: str
    data: dict[str, JSON]


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """What holds a running item.

    Attributes:
        since: when the attempt began.
        renewed_seconds_ago: when the lease was last prolonged.
        suspected: whether the lease ran out; the sweep takes the item back unless it is renewed.
    """

    worker: str
    attempt: int
    since: datetime
    renewed_seconds_ago: float
    suspected: bool
    cancel_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why an item waits.

    Attributes:
        reasons: the most decisive first; none for an item that has ended.
        workers_alive: on the item's queue, as all that follow.
        workers_busy: how many of them hold an item.
        running: how many items run.
        position: the item's place in line, 1 being the next; ``None`` when it is not in line.
        position_is_minimum: whether there are more ahead than were counted.
        throughput_per_minute: completed attempts over the last five minutes at most; ``None`` when there
            were none.
        expected_start: when it starts if all goes on as it does.
        expected_start_unknown: why nobody can tell.
        attempt: what holds it, for a running item.
    """

    job_id: ItemId
    status: Status
    label: Label
    queue: str
    reasons: tuple[Reason, ...] = ()
    workers_alive: int = 0
    workers_busy: int = 0
    running: int = 0
    position: int | None = None
    position_is_minimum: bool = False
    throughput_per_minute: float | None = None
    expected_start: datetime | None = None
    expected_start_unknown: str | None = None
    attempt: RunningAttempt | None = None

    def to_json(self, *, with_worker: bool = True) -> dict[str, JSON]:
        """Return it as JSON.

        Args:
            with_worker: whether to name the worker, which tells a host's name.
        """
        shown: dict[str, JSON] = _plain(asdict(self))
        if isinstance(shown["attempt"], dict) and not with_worker:
            del shown["attempt"]["worker"]
        return shown


@dataclass(frozen=True, slots=True)
class Crew:
    """A queue's workers that are alive, and how many of them hold an item."""

    alive: int = 0
    busy: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that reasons tell of.

    Attributes:
        several_queues: whether a queue has to be named to be known.
        uses: what each operation uses outside, as keys of throttles.
    """

    several_queues: bool
    max_running_per_owner: int
    sweep_seconds: float
    announce_again_seconds: float
    uses: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so at the moment, for the queues and owners of some items."""

    now: datetime
    paused: Mapping[str, QueueState]
    crews: Mapping[str, Crew]
    owners_running: Mapping[str | None, int]
    throttles: Sequence[Throttle]


def reasons_of_pending(
    item: QueueItem, facts: Facts, limits: Limits, position: int | None = None
) -> tuple[Reason, ...]:
    """Return every reason that holds for a pending item; there is always one.

    Args:
        item: the item.
        facts: what was read a moment ago.
        limits: the settings.
        position: its place in line; ``None`` when it is in none, or nobody counted.
    """
    crew = facts.crews.get(item.queue, Crew())
    found = []
    if item.cancel_requested_at is not None:
        found.append(_cancel(item))
    if item.queue in facts.paused:
        found.append(_paused(facts.paused[item.queue], facts.now))
    if crew.alive == 0:
        found.append(_no_worker(item.queue, named=limits.several_queues))
    if item.due_at > facts.now:
        return (*found, _not_due(item, facts))
    running = facts.owners_running.get(item.owner_id, 0)
    if 0 < limits.max_running_per_owner <= running:
        found.append(_owner_limit(running, limits.max_running_per_owner))
    if 0 < crew.alive <= crew.busy:
        who = "the worker is busy" if crew.alive == 1 else f"all {crew.alive} workers are busy"
        found.append(Reason("workers_busy", f"Waiting: {who}.", {"alive": crew.alive, "busy": crew.busy}))
    if position is not None and position > 1:
        found.append(_behind(position))
    if not found:
        in_line = Reason("in_line", "Waiting in line.", {})
        found.append(in_line if position is None else _picking_up(item, facts.now, limits))
    used = limits.uses.get(item.operation, ())
    throttled = (_stage_throttled(one, facts.now) for one in facts.throttles if one.key in used)
    return (*found, *throttled)


def reasons_of_running(item: QueueItem, held: RunningAttempt | None) -> tuple[Reason, ...]:
    """Return what there is to say of an item that runs; mostly nothing.

    Args:
        item: in any state; nothing is said of others.
        held: what holds it, where somebody looked.
    """
    found = []
    if item.status is Status.IN_PROGRESS and item.cancel_requested_at is not None:
        found.append(_cancel(item))
    if held is not None and held.suspected:
        words = "Its worker stopped answering; the job is taken back unless it answers again."
        found.append(Reason("worker_silent", words, {"renewed_seconds_ago": held.renewed_seconds_ago}))
    return tuple(found)


def expected_start(
    reasons: Sequence[Reason],
    now: datetime,
    position: int | None,
    free: int,
    completed: int,
    seconds: float,
) -> tuple[datetime | None, str | None]:
    """Say when a pending item starts, or why nobody can tell.

    Args:
        reasons: why it waits.
        now: the database's time.
        position: its place in line.
        free: how many of the queue's workers hold nothing.
        completed: how many attempts were completed lately ...
        seconds: ... in how many seconds.

    Returns:
        The instant, or ``None`` and the reason.
    """
    for reason in reasons:
        if reason.code in _WHY_NO_START:
            return None, _WHY_NO_START[reason.code]
    if position is None:
        return None, "it is not in line"
    if position <= free:
        return now, None
    if is_minimum(position):
        return None, "there are too many ahead"
    if completed < _LEAST_COMPLETIONS:
        return None, "too little was completed lately to tell"
    return now + timedelta(seconds=round(position * seconds / completed)), None


def is_minimum(position: int) -> bool:
    """Tell whether a place stands for all that follow: more than :data:`COUNTED_TO` are ahead."""
    return position > COUNTED_TO + 1


def _cancel(item: QueueItem) -> Reason:
    asked = None if item.cancel_requested_at is None else item.cancel_requested_at.isoformat()
    words = "Cancel asked for: the worker stops at its next step."
    return Reason("cancel_requested", words, {"since": asked})


def _paused(state: QueueState, now: datetime) -> Reason:
    since = "" if state.paused_at is None else f" since {_moment(state.paused_at, now)}"
    why = f": {state.pause_reason}" if state.pause_reason else ""
    data: dict[str, JSON] = {
        "queue": state.name,
        "by": state.paused_by,
        "since": None if state.paused_at is None else state.paused_at.isoformat(),
        "reason": state.pause_reason,
    }
    words = f"Waiting: the queue {state.name} is paused by {state.paused_by}{since}{why}"
    return Reason("paused", _ended(words), data)


def _no_worker(queue: str, *, named: bool) -> Reason:
    where = f"listening on {queue}" if named else "running"
    data: dict[str, JSON] = {"queue": queue, "command": _START_WORKERS}
    return Reason("no_worker", f"Waiting: no worker is {where}.", data)


def _not_due(item: QueueItem, facts: Facts) -> Reason:
    due = _moment(item.due_at, facts.now)
    seconds = round((item.due_at - facts.now).total_seconds(), 3)
    data: dict[str, JSON] = {"until": item.due_at.isoformat(), "seconds": seconds}
    if item.error_code == "throttled":
        keys: list[JSON] = [throttle.key for throttle in facts.throttles]
        words = _ended(f"Waiting until {due}: {item.error_message or 'it was asked to'}")
        return Reason("throttled", words, {**data, "reason": item.error_message, "throttled": keys})
    if not item.failures and not item.crashes:
        return Reason("scheduled", f"Scheduled: starts at {due}.", data)
    data |= {"retry": item.failures, "of": item.max_failures - 1, "crashes": item.crashes}
    if item.error_code == "crashed":
        words = f"{item.error_message or 'Returned to queue.'} Attempt not counted; next try at {due}."
    else:
        words = f"Waiting: retry {item.failures} of {item.max_failures - 1} at {due}."
    return Reason("backoff", words, data)


def _owner_limit(running: int, most: int) -> Reason:
    jobs = "one job of this owner runs" if running == 1 else f"{running} jobs of this owner run"
    words = f"Waiting: {jobs}, and no more than {most} may at once."
    return Reason("owner_limit", words, {"running": running, "limit": most})


def _behind(position: int) -> Reason:
    if is_minimum(position):
        words = f"Behind more than {COUNTED_TO:,} others."
        return Reason("behind", words, {"ahead": COUNTED_TO, "ahead_is_minimum": True})
    ahead = position - 1
    others = "one other" if ahead == 1 else f"{ahead:,} others"
    return Reason("behind", f"Behind {others}.", {"ahead": ahead, "ahead_is_minimum": False})


def _picking_up(item: QueueItem, now: datetime, limits: Limits) -> Reason:
    words = f"its bell rings within {limits.sweep_seconds:g} s"
    rang = None
    if item.announced_at is not None:
        rang = max(0.0, round((now - item.announced_at).total_seconds(), 3))
        if rang <= limits.announce_again_seconds and not item.deferred:
            # No seconds that run: the answer's entity tag would change with each of them.
            words = f"its bell rang at {_moment(item.announced_at, now)}"
    return Reason("picking_up", f"Being picked up: {words}.", {"announced_seconds_ago": rang})


def _stage_throttled(throttle: Throttle, now: datetime) -> Reason:
    words = _ended(
        f"The {throttle.key} is not asked before {_moment(throttle.until, now)}: {throttle.reason}"
    )
    data: dict[str, JSON] = {
        "key": throttle.key,
        "until": throttle.until.isoformat(),
        "reason": throttle.reason,
    }
    return Reason("stage_throttled", words, data)


def _moment(at: datetime, now: datetime) -> str:
    """Return an instant's time, with its day unless that is today."""
    shown = at.astimezone(UTC)
    same_day = shown.date() == now.astimezone(UTC).date()
    return f"{shown:%H:%M:%S} UTC" if same_day else f"{shown:%Y-%m-%d %H:%M} UTC"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def _plain(value: Any) -> Any:
    """Make JSON of a value: instants as ISO 8601, tuples as lists."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
