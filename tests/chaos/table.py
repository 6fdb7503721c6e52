"""The reports of chaos runs as a table for people, and as the page ``docs/chaos.md``."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.servers import BOUND_FACTOR, BOUND_SECONDS
from tests.chaos.storm import Report

# In this order; a rule that a report does not know was not looked at, and says so.
RULES = (
    "lost",
    "not accepted",
    "not completed",
    "completed twice",
    "stale effects",
    "stuck",
    "poison not quarantined after exactly 3 crashes",
    "crashes without a cause",
    "failures without a cause",
    "attempts burnt by rolling restarts",
    "duplicates per key",
    "wrong answers",
    "recovered too late",
    "rows that contradict the ledger",
    "ledger out of balance",
    "database damaged",
)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def lines_of(report: Report) -> list[tuple[str, str]]:
    """Return what a report says, as pairs of name and value."""
    lines = [
        ("documents", f"{report.documents}"),
        ("faults", f"{report.faults}"),
        *((f"· {kind}", str(amount)) for kind, amount in sorted(report.strikes.items())),
    ]
    known = report.findings.offenders
    lines += [(rule, str(len(known[rule])) if rule in known else "not looked at") for rule in RULES]
    lines += [(rule, str(len(found))) for rule, found in known.items() if rule not in RULES]
    returned = [one.returned for one in report.recoveries]
    claimed = [one.claimed for one in report.recoveries if one.claimed is not None]
    lines += [
        ("recoveries measured", str(len(returned))),
        ("struck to back in the queue, p50 / p99 / max", _spread(returned)),
        ("struck to claimed again, p50 / p99 / max", _spread(claimed)),
        ("bound: lease + heartbeat + 2 sweeps", f"{BOUND_SECONDS:.2f} s"),
    ]
    lines += [(name, _written(value)) for name, value in report.notes.items()]
    lines += [
        ("duration", f"{report.seconds / 60:.1f} min"),
        ("documents per second, faults included", f"{report.documents / max(report.working_seconds, 1):.1f}"),
    ]
    return lines


def render(reports: Sequence[Report]) -> str:
    """Draw the reports side by side as a Markdown table."""
    columns = [dict(lines_of(report)) for report in reports]
    # The longest first, so that what only one database has stands among its like.
    longest_first = sorted(columns, key=len, reverse=True)
    names = list(dict.fromkeys(name for column in longest_first for name in column))
    rows = [[name, *(column.get(name, "-") for column in columns)] for name in names]
    head = ["", *(report.database for report in reports)]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]

    def draw(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join(
        [draw(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(draw, rows)]
    )


def page(reports: Sequence[Report], command: str) -> str:
    """Write ``docs/chaos.md``.

    Args:
        reports: one for each database.
        command: what repeats the run.
    """
    size = reports[0].size
    verdict = "holds" if all(not report.findings.violations for report in reports) else "**does not hold**"
    return f"""# Chaos

What the service promises {verdict} while its processes and servers are killed, stopped and flushed at
random: the last run of `make chaos`. Every process and server is real; only the work on a document is
replaced by a pause of 1 to 50 ms (one in twenty: up to {size.longest_seconds:g} s; one in two hundred kills
its process), because the runs are about the queue. A shorter run is part of `make test`.

{render(reports)}

The lines from “lost” to “database damaged” count what must not be: each has to be 0. They are read from the
database after the run (the last by SQLite's integrity_check). The ledger of events is replayed for every
item, and each result, artifact and event has to carry the fence of the attempt that held the item at that
moment. A crash or failure of a healthy document has to be explained by a fault that struck its very process
or worker, or by a time in which the database was struck or took no writes. A healthy document that was
killed three times is quarantined like any other, and then has to complete when somebody retries it. A
rolling restart, in a phase without other faults, may cost nobody an attempt. Recovery must not take longer
than {BOUND_FACTOR:g} times the bound; time in which the database took no writes does not count. The factor
is for processors that are busy with starting interpreters all the time.

To repeat it (the seed decides documents, requests, faults and victims; the moments follow the work):

```
{command}
```

`make chaos ARGS=--help` lists the options. Without the fence (`ARGS="--guard off"`) the same run finds
violations; `tests/chaos/test_fence.py` shows the same in seconds.
"""


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f} / {max(values):.2f} s"


def _written(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {amount}" for name, amount in value.items()) or "none"
    if isinstance(value, tuple):
        return " / ".join(map(str, value))
    return str(value)
