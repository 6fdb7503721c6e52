"""Replays the events of every item and says which of them cannot have been written by who held the lease.

The ledger is append-only and an item's events are numbered in the order of their commits, so it tells who
held an item at any moment, even where a late writer changed the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# What ends an attempt, by the name that its row gets.
ENDS = {
    "completed": "completed", "retrying": "failed", "failed": "failed", "snoozed": "snoozed",
    "released": "released", "returned": "crashed", "quarantined": "crashed", "cancelled": "cancelled",
}  # fmt: skip
_EFFECTS = frozenset({"progress", "stage_completed"})


@dataclass
class Tenure:
    """The time in which one attempt held its item.

    Attributes:
        outcome: how it ended, ``None`` while it lasts.
        computed: the stages whose product it stored.
        noted: the stages that it wrote down, computed or reused.
    """

    number: int
    lease_id: str
    began: datetime
    ended: datetime | None = None
    outcome: str | None = None
    computed: list[str] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)

    def holds(self, at: datetime) -> bool:
        """Tell whether it held the item at this moment."""
        return self.began <= at and (self.ended is None or at <= self.ended)


@dataclass
class History:
    """One item as its events tell it."""

    item_id: str
    tenures: list[Tenure] = field(default_factory=list)
    completions: int = 0
    retried_after: int = 0
    accepted: int = 0
    last_kind: str = ""
    stale: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def holder(self) -> Tenure | None:
        """The attempt that holds the item after the last event."""
        return self.tenures[-1] if self.tenures and self.tenures[-1].ended is None else None

    @property
    def current(self) -> list[Tenure]:
        """The attempts since a person last retried the item."""
        return self.tenures[self.retried_after :]

    def find(self, attempt: int, lease_id: str) -> Tenure | None:
        """Return the attempt with this fence."""
        for tenure in self.tenures:
            if (tenure.number, tenure.lease_id) == (attempt, lease_id):
                return tenure
        return None

    def add(self, kind: str, attempt: int, lease_id: str | None, at: datetime, data: dict[str, Any]) -> None:
        """Take the next event; what its writer had no right to is noted in :attr:`stale`."""
        self.last_kind = kind
        if kind == "accepted":
            self.accepted += 1
        elif kind == "started":
            self._start(attempt, lease_id or "", at)
        elif kind == "retried":
            self.completions = 0
            self.retried_after = len(self.tenures)
        elif lease_id is not None or kind in _EFFECTS:
            self._write(kind, attempt, lease_id, at, data)

    def _start(self, attempt: int, lease_id: str, at: datetime) -> None:
        if self.holder is not None:
            self.stale.append(f"attempt {attempt} began while attempt {self.holder.number} held the item")
        if self.tenures and attempt <= self.tenures[-1].number:
            self.stale.append(f"attempt {attempt} came after attempt {self.tenures[-1].number}")
        if self.completions:
            self.doubled.append(f"attempt {attempt} began after the item was completed")
        self.tenures.append(Tenure(attempt, lease_id, at))

    def _write(
        self, kind: str, attempt: int, lease_id: str | None, at: datetime, data: dict[str, Any]
    ) -> None:
        holder = self.holder
        if holder is None or (holder.number, holder.lease_id) != (attempt, lease_id):
            who = "nobody" if holder is None else f"attempt {holder.number}"
            self.stale.append(f"{kind} was written by another than its holder, {who}")
        writer = next((tenure for tenure in self.tenures if tenure.lease_id == lease_id), None)
        if kind == "stage_completed" and writer is not None:
            self._checkpoint(writer, str(data.get("stage")), reused=bool(data.get("reused")))
        if kind == "completed":
            self.completions += 1
            if self.completions > 1:
                self.doubled.append(f"completed {self.completions} times")
        # Whoever it was that ended it: with this event nobody holds the item any more.
        if kind in ENDS and holder is not None:
            holder.ended, holder.outcome = at, ENDS[kind]

    def _checkpoint(self, writer: Tenure, stage: str, *, reused: bool) -> None:
        writer.noted.add(stage)
        if reused:
            return
        if any(stage in tenure.computed for tenure in self.tenures):
            self.doubled.append(f"the stage {stage} was stored twice")
        writer.computed.append(stage)


def replay(
    events: Iterable[tuple[str, str, int, str | None, datetime, dict[str, Any]]],
) -> dict[str, History]:
    """Replay events ``(item, kind, attempt, lease, at, data)``, in the order of their numbers."""
    histories: dict[str, History] = {}
    for item_id, kind, attempt, lease_id, at, data in events:
        history = histories.get(item_id)
        if history is None:
            history = histories[item_id] = History(item_id)
        history.add(kind, attempt, lease_id, at, data)
    return histories
