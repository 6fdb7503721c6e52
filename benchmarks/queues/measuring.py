"""The measurements: how fast a queue is emptied, how soon a job begins, how fast jobs are queued."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

from benchmarks.queues.peers import Peer
from benchmarks.queues.stage import Stage, Surroundings, prepared

_SLOWEST_SECONDS = 120.0
_LOOK_SECONDS = 0.05
# What cannot be seen in the stamps is asked of the database, which costs it something.
_ASK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Drain:
    """How a full queue was emptied."""

    jobs: int
    seconds: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds


@dataclass(frozen=True, slots=True)
class Latency:
    """How long jobs took to begin on idle workers, in milliseconds.

    Attributes:
        median: half of them began sooner, counted from the commit or, without one, from the call.
        slow: 99 in 100 began sooner, counted so.
        median_of_call: half of them began sooner, counted from the call.
    """

    median: float
    slow: float
    median_of_call: float


def drain(peer: Peer, workload: str, count: int, surroundings: Surroundings) -> Drain:
    """Queue everything, start the workers, and time them from the first job's start to the last one's end.

    Without durable rows the last start stands for the last end.

    Args:
        peer: who works.
        workload: ``"noop"`` or ``"row"``.
        count: how many jobs.
        surroundings: where.

    Raises:
        RuntimeError: it did not come to an end.
    """
    with prepared(peer, workload, count, surroundings) as stage:
        stage.call("fill", "noop" if peer.own_rows else workload, str(count))
        stage.rest()
        has_rows = peer.own_rows or workload == "row"
        if has_rows and (left := stage.count_left()) != count:
            raise RuntimeError(f"{peer.name}: {left} of {count} rows are pending before anybody works.")
        with stage.working():
            if not peer.stamps:
                return _watch_rows(stage, count)
            _wait_for_starts(stage)
            first, last = min(stage.stamps.started()), max(stage.stamps.started())
            if has_rows:
                last = _wait_for_rows(stage)
            return Drain(count - 1, (last - first) / 1e9)


def measure_latency(peer: Peer, count: int, warm_up: int, surroundings: Surroundings) -> Latency:
    """Send one job after the other to idle workers.

    Args:
        peer: who works.
        count: how many jobs count.
        warm_up: how many are sent before them.
        surroundings: where.

    Raises:
        RuntimeError: some jobs never began.
    """
    total = warm_up + count
    with prepared(peer, "latency", total, surroundings) as stage:
        with stage.working():
            stage.call("latency", str(total))
        stamps = [stage.stamps.of(number) for number in range(warm_up + 1, total + 1)]
        begun = [one for one in stamps if one[2]]
        if len(begun) < len(stamps):
            raise RuntimeError(
                f"{peer.name}: {len(stamps) - len(begun)} of {count} jobs never began: {stage.said()}"
            )
    waits = [(started - (committed or called)) / 1e6 for called, committed, started in begun]
    calls = [(started - called) / 1e6 for called, _committed, started in begun]
    return Latency(statistics.median(waits), percentile(waits, 99), statistics.median(calls))


def measure_enqueueing(peer: Peer, command: str, count: int, surroundings: Surroundings) -> float:
    """Queue jobs that nobody works on.

    Args:
        peer: what is queued with.
        command: ``"single"`` or ``"bulk"``.
        count: how many jobs.
        surroundings: where.

    Returns:
        Jobs per second.
    """
    with prepared(peer, "noop", count, surroundings) as stage:
        return float(stage.call(command, str(count)))


def percentile(values: list[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def _wait_for_starts(stage: Stage) -> None:
    give_up_at = time.monotonic() + _SLOWEST_SECONDS
    while not stage.stamps.all_started():
        if time.monotonic() > give_up_at:
            raise RuntimeError(
                f"{stage.peer.name}: {len(stage.stamps.started())} of {stage.stamps.count} jobs began: "
                f"{stage.said()}"
            )
        time.sleep(_LOOK_SECONDS)


def _wait_for_rows(stage: Stage) -> int:
    """Wait until every row is settled, and return when that was seen, in nanoseconds."""
    give_up_at = time.monotonic() + _SLOWEST_SECONDS
    while stage.count_left():
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"{stage.peer.name}: {stage.count_left()} rows never ended: {stage.said()}")
        time.sleep(_LOOK_SECONDS / 5)
    return time.monotonic_ns()


def _watch_rows(stage: Stage, count: int) -> Drain:
    """Time a drain by its rows alone: from when the first ones are seen to be settled."""
    began = time.monotonic()
    first: tuple[float, int] | None = None
    while time.monotonic() < began + _SLOWEST_SECONDS:
        left, now = stage.count_left(), time.monotonic()
        if left == 0:
            # Sooner than could be seen: the workers' own start is in it.
            return Drain(count, now - began) if first is None else Drain(first[1], now - first[0])
        if left < count and first is None:
            first = (now, left)
        time.sleep(_ASK_SECONDS)
    raise RuntimeError(f"{stage.peer.name}: {stage.count_left()} of {count} rows never ended: {stage.said()}")
