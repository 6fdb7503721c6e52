"""The section of the page: what was measured, on what, how to repeat it, the table and the plot."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.queues import environments
from benchmarks.queues.peers import BASE
from benchmarks.queues.plot import Bar, draw_bars
from benchmarks.queues.table import Result, make_notes, make_table, ranked

PLOT = "benchmarks-queues.svg"
_TITLE = "Durable jobs per second (workload B)"
_INTRODUCTION = """\
How fast is the same trivial job on other queues? Each has two worker processes, an environment of its
own, and the configuration that somebody who knows it would choose. Read the ratios; the figures are this
machine's."""
_MEANING = """\
- **A**: the job does nothing. Everything is queued first, then the workers start. From the first job's
  start to the last one's.
- **B**: a durable row goes from pending to in progress to completed, each in a commit of its own. From
  the first job's start until all rows are completed. "Own rows": the queue's rows are the durable state,
  so its B is its A; some of these commit many rows at once.
- **p50, p99**: the workers are idle, and a job is sent 20 to 50 ms after the one before began. From just
  before the call that sends it to the job's first line. Ours: from when the job's row is committed to the
  first line of a stage; the notes have it with the commit.
- **enqueue/s, bulk/s**: from one process, with nobody working: single calls, and batches of 500 where
  there is such a call. Ours are of documents that were accepted before.
- **supervised**: a job that kills its process is noticed, and its neighbours go on. **durable**: what a
  killed worker had in hand is run again ("as failed": it is kept as a failed job). Both are what each one's
  source and documents say; they are not measured here.

A job's first line writes the time of the machine's one clock into shared memory, which costs nothing that
could be seen here. Servers are asked about progress only once all jobs have begun; ours without a stage
has no first line, so its rows are counted ten times a second."""
_REPEAT = """\
```
make bench ARGS="--write docs/benchmarks.md"               # everything; nothing else should run meanwhile
make bench ARGS="--only rq --only celery --repetitions 1"  # some of them
make bench ARGS="--quick"                                  # does it work? only ours and the bare loop
```"""


def make_text(
    results: Sequence[Result], conditions: str, *, machine: str, repetitions: int, minutes: float
) -> str:
    """Write the section.

    Args:
        results: one for each peer.
        conditions: which servers they ran on, and what else ran.
        machine: what it was measured on.
        repetitions: of how many the medians are.
        minutes: how long it took.
    """
    times = "once" if repetitions == 1 else f"{repetitions} times in turns; the figures are medians"
    measured = f"Measured {times}; it took {minutes:.0f} minutes. {machine} {conditions}."
    versions = sorted({environments.version(result.peer) for result in results} - {""})
    if versions:
        measured += f" {', '.join(versions)}; `benchmarks/queues/requirements` has all packages."
    parts = [
        "## Other queues for Python",
        _INTRODUCTION,
        f"![{describe_plot(results)}]({PLOT})",
        make_table(results, BASE),
        _MEANING,
        "What one must know of each:",
        make_notes(results),
        measured,
        "### Repeat the comparison",
        _REPEAT,
    ]
    return "\n\n".join(parts)


def describe_plot(results: Sequence[Result]) -> str:
    """Say in words what the plot shows."""
    told = [f"{result.peer.name} {result.row:,.0f}" for result in ranked(results) if result.row]
    return f"{_TITLE}: {'; '.join(told)}."


def make_plot(results: Sequence[Result]) -> str:
    """Draw workload B."""
    bars = [Bar(result.peer.name, result.row, result.peer.kind) for result in ranked(results) if result.row]
    return draw_bars(
        bars,
        title=_TITLE,
        unit="two worker processes each; logarithmic scale; dashed: a loop without a queue, the limit",
        description=describe_plot(results),
    )
