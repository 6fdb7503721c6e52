"""The full chaos run: ``python -m tests.chaos.run``, which is ``make chaos``.

Exits with 0 when no rule was broken on any database.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.plan import FULL, Size
from tests.chaos.storm import Report, run_storm
from tests.chaos.table import page, render

_SEED = 20261123


def main(arguments: list[str] | None = None) -> int:
    """Run on each database, print the table, write the page if asked to."""
    options = _parse(arguments)
    size = _size(options)
    kinds = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    print(f"seed {options.seed}, {size.documents} documents, {size.faults} faults on {', '.join(kinds)}")
    reports: list[Report] = []
    for kind in kinds:
        began = time.monotonic()

        def say(line: str, kind: str = kind, began: float = began) -> None:
            print(f"{kind} {time.monotonic() - began:6.0f} s: {line}", flush=True)

        report, evidence = run_storm(
            kind,
            size,
            seed=options.seed,
            budget_seconds=options.budget_minutes * 60,
            guard=options.guard,
            say=say,
        )
        reports.append(report)
        if report.findings.violations:
            print(evidence if options.logs else report.findings.describe())
    print(render(reports))
    if options.write:
        options.write.write_text(page(reports, _command(options)), "utf-8")
    return 1 if any(report.findings.violations for report in reports) else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=_SEED, help="decides everything that is drawn")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--documents", type=int, default=FULL.documents)
    parser.add_argument("--faults", type=int, default=FULL.kills, help="random kill -9s")
    parser.add_argument("--stops", type=int, default=FULL.stops, help="SIGSTOPs of 1.1 to 2.2 leases")
    parser.add_argument("--flushes", type=int, default=FULL.flushes, help="FLUSHALLs")
    parser.add_argument("--restarts", type=int, default=FULL.restarts, help="restarts of Redis")
    parser.add_argument("--outage", type=float, default=FULL.outage_seconds, help="seconds without Redis")
    parser.add_argument("--full-disks", type=int, default=FULL.full_disks, help="times the disk is full")
    parser.add_argument("--rolling", type=int, default=FULL.rolling, help="rolling restarts")
    parser.add_argument("--workers", type=int, default=FULL.workers)
    parser.add_argument("--budget-minutes", type=float, default=55.0, help="for each database")
    parser.add_argument("--guard", choices=["on", "off"], default="on", help="off: without the fence")
    parser.add_argument("--write", type=Path, help="write the page with the table here")
    parser.add_argument("--logs", action="store_true", help="print what the logs say of a violation")
    return parser.parse_args(arguments)


def _size(options: argparse.Namespace) -> Size:
    return replace(
        FULL,
        documents=options.documents,
        workers=options.workers,
        kills=options.faults,
        stops=options.stops,
        flushes=options.flushes,
        restarts=options.restarts,
        outage_seconds=options.outage,
        full_disks=options.full_disks,
        rolling=options.rolling,
    )


def _command(options: argparse.Namespace) -> str:
    """Return the command that repeats a run, with what differs from the defaults."""
    defaults = vars(_parse([]))
    changed = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if name not in {"write", "logs"} and (name == "seed" or value != defaults[name])
    ]
    return f'make chaos ARGS="{" ".join(changed)}"'


if __name__ == "__main__":
    sys.exit(main())
