"""What a bulk operation may be asked for: its kind, its filter, its arguments; pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from jobs.errors import InvalidBulk
from jobs.ids import parse_id
from jobs.model import (
    ENDED_STATUSES,
    HIGHEST_PRIORITY,
    JSON,
    LOWEST_PRIORITY,
    OPEN_STATUSES,
    OPERATION_NAMES,
    Label,
    Status,
    UserId,
)

Name = TypeVar("Name", bound=enum.StrEnum)

MOST_IDS = 1000
COUNT_CAP = 10_000
"""Nothing is counted further than this: a dry run costs the same on any queue."""

LONGEST_REASON = 500
_LONGEST_TEXT = 200
_LONGEST_WORD = 60
_LONGEST_ID = 64


class BulkKind(enum.StrEnum):
    """What is done to each item."""

    RETRY = "retry"
    CANCEL = "cancel"
    CHANGE_PRIORITY = "change_priority"
    DELETE = "delete"


STATUSES_OF: dict[BulkKind, tuple[Status, ...]] = {
    BulkKind.RETRY: (Status.FAILED, Status.CANCELLED),
    BulkKind.CANCEL: OPEN_STATUSES,
    BulkKind.CHANGE_PRIORITY: (Status.PENDING,),
    BulkKind.DELETE: ENDED_STATUSES,
}
"""The states in which an item can be changed so; everything else is left out."""

_STATUS_OF_LABEL: dict[Label, Status] = {
    Label.WAITING: Status.PENDING,
    Label.SCHEDULED: Status.PENDING,
    Label.RETRYING: Status.PENDING,
    Label.RUNNING: Status.IN_PROGRESS,
    Label.COMPLETED: Status.COMPLETED,
    Label.FAILED: Status.FAILED,
    Label.QUARANTINED: Status.FAILED,
    Label.CANCELLED: Status.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class BulkFilter:
    """Which items are meant; every member that is set must agree.

    Attributes:
        ids: exactly these, sorted; nothing else is set then but the owner.
        everything: all items; nothing else is set then but the owner.
        owner_id: whose.
        error_code: what the last attempt failed with.
        created_after: created at this instant or later.
        created_before: created earlier than this.
        text: as in lists: a part of the file's name, the beginning of its hash, or the document's id.
    """

    ids: tuple[str, ...] = ()
    everything: bool = False
    status: Status | None = None
    label: Label | None = None
    operation: str | None = None
    queue: str | None = None
    owner_id: UserId | None = None
    error_code: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None

    @property
    def statuses(self) -> tuple[Status, ...]:
        """The states that an item may be in."""
        meant = tuple(Status) if self.status is None else (self.status,)
        if self.label is None:
            return meant
        return tuple(status for status in meant if status is _STATUS_OF_LABEL[self.label])

    @property
    def is_of_states_only(self) -> bool:
        """Whether nothing but the state decides, so that the kept counts know how many there are."""
        plain = {*Label} - {Label.WAITING, Label.SCHEDULED, Label.RETRYING, Label.FAILED, Label.QUARANTINED}
        others = (
            self.operation, self.queue, self.owner_id, self.error_code, self.created_after,
            self.created_before, self.text,
        )  # fmt: skip
        return not self.ids and all(one is None for one in others) and (self.label or Label.RUNNING) in plain


@dataclass(frozen=True, slots=True)
class Preview:
    """What a bulk operation would meet.

    Attributes:
        matching: how many items the filter means.
        eligible: to how many of them it can be done.
        excluded: why not to the others, and how many that are.
        capped: ``matching`` is a lower bound: counting stopped.
        eligible_capped: so is ``eligible``.
    """

    matching: int
    eligible: int
    excluded: tuple[tuple[str, int], ...]
    capped: bool
    eligible_capped: bool


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """A tracked operation, as last read.

    Attributes:
        owner_id: whose items it may touch; everybody's when ``None``.
        state: ``running``, ``completed`` or ``cancelled``.
        matching: how many items it found in a state that it can change; ``COUNT_CAP`` says "or more".
        done: how many it has changed.
        skipped: how many of them could not be changed when their turn came.
    """

    id: str
    kind: BulkKind
    filter: dict[str, JSON]
    arguments: dict[str, JSON]
    reason: str
    requested_by: str
    owner_id: UserId | None
    state: str
    matching: int
    done: int
    skipped: int
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @property
    def is_running(self) -> bool:
        """Whether there is more to do."""
        return self.state == "running"

    @property
    def percent(self) -> int | None:
        """How far it is, 0 to 100; ``None`` while nobody knows how much there is."""
        handled = self.done + self.skipped
        if self.state == "completed":
            return 100
        if self.matching == COUNT_CAP or handled >= self.matching:
            return None
        return handled * 100 // self.matching


def parse_kind(raw: object) -> BulkKind:
    """Read a kind.

    Raises:
        InvalidBulk: there is no such kind.
    """
    return _one_of(BulkKind)("kind", raw)


def parse_arguments(kind: BulkKind, raw: object) -> dict[str, JSON]:
    """Read a kind's arguments: ``{"priority": n}`` to change priorities, otherwise none.

    Raises:
        InvalidBulk: one is missing, unknown or out of range.
    """
    given = _object("The arguments", raw if raw is not None else {})
    known = {"priority"} if kind is BulkKind.CHANGE_PRIORITY else set()
    for name in given.keys() - known:
        raise InvalidBulk(f"{kind} takes no argument {name!r}.")
    if not known:
        return {}
    priority = given.get("priority")
    if (
        isinstance(priority, bool)
        or not isinstance(priority, int)
        or not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY
    ):
        raise InvalidBulk(f"The priority is a whole number between {LOWEST_PRIORITY} and {HIGHEST_PRIORITY}.")
    return {"priority": priority}


def parse_reason(raw: object) -> str:
    """Read a reason; none is fine.

    Raises:
        InvalidBulk: it is no text, or longer than 500 characters.
    """
    if raw is None:
        return ""
    if not isinstance(raw, str):
        raise InvalidBulk("The reason is text.")
    cleaned = clean_text(raw)
    if len(cleaned) > LONGEST_REASON:
        raise InvalidBulk(f"The reason has at most {LONGEST_REASON} characters.")
    return cleaned


def clean_text(raw: str) -> str:
    """Leave out what no database takes: the null character and lone surrogates, which JSON may spell."""
    return raw.replace("\0", "").encode("utf-8", "ignore").decode().strip()


def parse_filter(raw: object, owner: UserId | None) -> tuple[BulkFilter, dict[str, JSON]]:
    """Read a filter as JSON has it.

    Args:
        raw: ``{"ids": […]}``, ``{"all": true}`` or any of the other members.
        owner: whose items the asker may touch; everybody's when ``None``.

    Returns:
        The filter, bound to that owner, and its canonical spelling.

    Raises:
        InvalidBulk: it is empty or cannot be meant.
    """
    given = _object("The filter", raw)
    for name in given.keys() - _READERS.keys() - {"ids", "all"}:
        raise InvalidBulk(
            f"The filter knows nothing of {name!r}; it may name ids, all, {', '.join(_READERS)}."
        )
    if not given:
        raise InvalidBulk('An empty filter would mean every job; say {"all": true} if that is meant.')
    for alone in ("ids", "all"):
        if alone in given and len(given) > 1:
            raise InvalidBulk(f"{alone!r} stands alone in a filter.")
    if owner is not None and given.get("owner_id") not in {None, owner}:
        raise InvalidBulk("Only an admin may name an owner.")
    if "all" in given:
        if given["all"] is not True:
            raise InvalidBulk('"all" is true or left out.')
        return BulkFilter(everything=True, owner_id=owner), {"all": True}
    if "ids" in given:
        ids = _ids(given["ids"])
        return BulkFilter(ids=ids, owner_id=owner), {"ids": list(ids)}
    values = {name: _READERS[name](name, value) for name, value in given.items()}
    spelt: dict[str, JSON] = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in values.items()
    }
    if owner is not None:
        values["owner_id"] = owner
    wanted = BulkFilter(**values)  # type: ignore[arg-type]  # each value was read by its member's type
    if not wanted.statuses:
        raise InvalidBulk(f"No job that is {wanted.status} is shown as {wanted.label}.")
    after, before = wanted.created_after, wanted.created_before
    if after is not None and before is not None and after >= before:
        raise InvalidBulk("created_after is not before created_before.")
    return wanted, spelt


def _object(what: str, raw: object) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise InvalidBulk(f"{what} is a JSON object.")
    return raw


def _ids(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MOST_IDS:
        raise InvalidBulk(f"ids is a list of 1 to {MOST_IDS} job ids.")
    found = {_id("ids", one) for one in raw}
    return tuple(sorted(found))


def _id(name: str, raw: object) -> str:
    known = parse_id(raw[:_LONGEST_ID]) if isinstance(raw, str) else None
    if known is None:
        raise InvalidBulk(f"{name} holds something that is no id.")
    return known


def _text(longest: int) -> Callable[[str, object], str]:
    def read(name: str, raw: object) -> str:
        cleaned = clean_text(raw) if isinstance(raw, str) else ""
        if not 1 <= len(cleaned) <= longest:
            raise InvalidBulk(f"{name} is text of 1 to {longest} characters.")
        return cleaned

    return read


def _one_of(values: type[Name]) -> Callable[[str, object], Name]:
    def read(name: str, raw: object) -> Name:
        if not isinstance(raw, str) or raw not in set(values):
            raise InvalidBulk(f"{name} is one of {', '.join(values)}.")
        return values(raw)

    return read


def _operation(name: str, raw: object) -> str:
    if not isinstance(raw, str) or raw not in OPERATION_NAMES:
        raise InvalidBulk(f"{name} is one of {', '.join(OPERATION_NAMES)}.")
    return raw


def _instant(name: str, raw: object) -> datetime:
    try:
        at = datetime.fromisoformat(raw) if isinstance(raw, str) else None
        if at is not None and at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidBulk(f"{name} is an instant with its time zone, as in 2026-11-30T12:00:00Z.")


_READERS: dict[str, Callable[[str, object], object]] = {
    "status": _one_of(Status),
    "label": _one_of(Label),
    "operation": _operation,
    "queue": _text(_LONGEST_WORD),
    "owner_id": lambda name, raw: UserId(_id(name, raw)),
    "error_code": _text(_LONGEST_WORD),
    "created_after": _instant,
    "created_before": _instant,
    "text": _text(_LONGEST_TEXT),
}
