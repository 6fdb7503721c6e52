"""What was measured of each peer, and the table of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.queues.measuring import Latency
from benchmarks.queues.peers import Peer

_NONE = "-"
_HEAD = (
    "queue", "A/s", "to rq", "B/s", "to rq", "p50 ms", "p99 ms", "enqueue/s", "bulk/s", "supervised",
    "durable",
)  # fmt: skip


@dataclass
class Figures:
    """Of one peer: a value for each repetition, as far as it was measured.

    Attributes:
        missing: why nothing was measured, or which measurement failed.
    """

    noop: list[float] = field(default_factory=list)
    row: list[float] = field(default_factory=list)
    latency: list[Latency] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    bulk: list[float] = field(default_factory=list)
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The medians of one peer; ``None``: not measured.

    Attributes:
        noop: jobs per second of workload A; of B where the peer's own rows are the durable ones.
        row: jobs per second of workload B.
        p50: the median wait for a job's start, in milliseconds.
        p99: what 99 in 100 jobs do not wait longer than.
        p50_of_call: the median wait counted from the call, with its commit.
        single: single calls per second.
        bulk: jobs per second in batches of 500.
    """

    peer: Peer
    noop: float | None
    row: float | None
    p50: float | None
    p99: float | None
    p50_of_call: float | None
    single: float | None
    bulk: float | None
    missing: str


def summarise(peer: Peer, figures: Figures) -> Result:
    """Take the medians of the repetitions."""
    row = _median(figures.row)
    return Result(
        peer=peer,
        noop=row if peer.own_rows else _median(figures.noop),
        row=row,
        p50=_median(one.median for one in figures.latency),
        p99=_median(one.slow for one in figures.latency),
        p50_of_call=_median(one.median_of_call for one in figures.latency),
        single=_median(figures.single),
        bulk=_median(figures.bulk),
        missing=figures.missing,
    )


def make_table(results: Sequence[Result], base: str) -> str:
    """Make the table in Markdown, the fastest of workload B first.

    Args:
        results: one for each peer.
        base: the name of the peer that the ratios are to.
    """
    of_base = next((result for result in results if result.peer.name == base), None)
    lines = [_line(_HEAD), _line(("---", *(8 * ("---:",)), "---", "---"))]
    for result in ranked(results):
        own = " (own rows)" if result.peer.own_rows else ""
        lines.append(
            _line(
                (
                    f"{result.peer.name}{own}",
                    _figure(result.noop), _ratio(result.noop, of_base and of_base.noop),
                    _figure(result.row), _ratio(result.row, of_base and of_base.row),
                    _figure(result.p50), _figure(result.p99),
                    _figure(result.single), _figure(result.bulk),
                    result.peer.supervised, result.peer.durable,
                )
            )
        )  # fmt: skip
    return "\n".join(lines)


def make_notes(results: Sequence[Result]) -> str:
    """List what one must know of each peer, in the order of the table."""
    lines = []
    for result in ranked(results):
        note = f"not measured: {result.missing}; " if result.missing else ""
        if result.p50_of_call is not None and result.peer.kind == "ours":
            note += f"p50 with the commit {_figure(result.p50_of_call)} ms; "
        lines.append(f"- {result.peer.name}: {note}{result.peer.note}.")
    return "\n".join(lines)


def ranked(results: Iterable[Result]) -> list[Result]:
    """Return the results, the fastest of workload B first, those without a figure last."""
    return sorted(results, key=lambda result: -(result.row or 0.0))


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def _figure(value: float | None) -> str:
    """Write a figure with about three digits."""
    if value is None:
        return _NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float | None, base: float | None) -> str:
    return _NONE if value is None or not base else f"{_figure(value / base)}x"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
