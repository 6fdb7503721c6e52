"""Sizes of a chaos run, and its faults in the order in which they strike: the same seed, the same plan."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

# Shares of the kills; what the database has no processes for falls to the horses.
_KILLS = {
    "kill worker": 45, "kill horse": 21, "kill scheduler": 8, "kill web": 6, "kill web worker": 6,
    "kill redis": 5, "kill machine": 3, "kill pool": 2, "kill back end": 3, "kill database": 1,
}  # fmt: skip
_OF_A_DATABASE_SERVER = frozenset({"kill back end", "kill database"})
_STOPS = {"stop horse": 7, "stop worker and horse": 3}


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything.

    Attributes:
        documents: how many are uploaded.
        longest_seconds: the longest work of one document.
        machines: worker pools; each can be killed as a whole.
        workers: over all machines.
        kills: SIGKILLs of anything.
        stops: processes stopped for about a lease or longer, then continued.
        flushes: FLUSHALLs.
        restarts: orderly restarts of Redis.
        outage_seconds: how long Redis stays away once; 0 for never.
        full_disks: how often the web finds the disk full.
        rolling: orderly restarts of every process, one after the other.
    """

    documents: int = 10_000
    longest_seconds: float = 3.0
    machines: int = 2
    workers: int = 8
    webs: int = 2
    schedulers: int = 2
    kills: int = 500
    stops: int = 200
    flushes: int = 20
    restarts: int = 5
    outage_seconds: float = 60.0
    full_disks: int = 1
    rolling: int = 20

    @property
    def faults(self) -> int:
        """How many faults there are in all."""
        return (
            self.kills + self.stops + self.flushes + self.restarts
            + (self.outage_seconds > 0) + self.full_disks + self.rolling
        )  # fmt: skip


FULL = Size()
# The same kinds; what is cheap comes more often, because starting an interpreter takes most of a second.
SHORT = Size(
    documents=1_000, longest_seconds=1.2, workers=8, kills=52, stops=24, flushes=17, restarts=4,
    outage_seconds=3.0, full_disks=1, rolling=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One harm to do.

    Attributes:
        kind: what.
        pick: which of those that may be struck, as a fraction of their number.
        seconds: for how long, where it has a length.
    """

    kind: str
    pick: float
    seconds: float


def make_storm(size: Size, lease_seconds: float, *, database_server: bool, rng: random.Random) -> list[Fault]:
    """Draw the faults that strike at random moments.

    Args:
        size: how many.
        lease_seconds: a stop takes 1.1 to 2.2 of these.
        database_server: whether the database has processes of its own.
        rng: decides the order, the victims and the lengths.
    """
    shares = {
        kind: share for kind, share in _KILLS.items() if database_server or kind not in _OF_A_DATABASE_SERVER
    }
    kinds = [*_shared_out(size.kills, shares), *_shared_out(size.stops, _STOPS)]
    kinds += ["flush redis"] * size.flushes + ["restart redis"] * size.restarts
    rng.shuffle(kinds)
    return [Fault(kind, rng.random(), _length(kind, lease_seconds, rng)) for kind in kinds]


def _length(kind: str, lease_seconds: float, rng: random.Random) -> float:
    if kind in _STOPS:
        return rng.uniform(1.1, 2.2) * lease_seconds
    return rng.uniform(0.0, 1.0)


def _shared_out(count: int, shares: Mapping[str, int]) -> list[str]:
    """Return ``count`` kinds in these shares, each kind at least once while there are enough."""
    total = sum(shares.values())
    exact = {kind: count * share / total for kind, share in shares.items()}
    taken = {kind: max(min(1, count), int(amount)) for kind, amount in exact.items()}
    # Whoever got least of its share takes what is left; whoever got most gives what is too much.
    while sum(taken.values()) < count:
        kind = max(exact, key=lambda one: exact[one] - taken[one])
        taken[kind] += 1
    while sum(taken.values()) > count:
        kind = max(exact, key=lambda one: (taken[one] > 1, taken[one] - exact[one]))
        taken[kind] -= 1
    return [kind for kind, amount in taken.items() for _ in range(amount)]
