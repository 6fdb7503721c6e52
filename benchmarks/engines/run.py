"""How well and how fast are PDFs read, beside other engines? ``make bench-extraction``.

Each engine is installed in an environment of its own and reads the same files in one process, from its start
to its end; this service reads them as its workers do, each in its cage. The ways take turns. Tables are
scored against the human truth of the ICDAR 2013 competition, see :mod:`benchmarks.table_truth`. The speed is
that of one processor: pages for a second of processor time of the process and all that it started, imports
included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pypdfium2

from benchmarks.page import describe_machine, markdown_table, replace_section
from benchmarks.queues.environments import FOLDER, NotHere, install
from benchmarks.table_truth import Scores, Tables, read_truth, score
from tests.support.corpus import CORPUS

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements")
PROGRAMS = Path(__file__).with_name("programs")
SECTION = "extraction"
# Long enough for the slowest of them, and no engine may hold up the others.
_MOST_SECONDS = 1_800.0


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine in one configuration.

    Attributes:
        name: as in the table.
        environment: the file under ``requirements/`` that it is installed from; ours when empty.
        function: of ``programs/read.py``.
        finds_tables: whether it says what is a table.
        reads_long: whether it also gets the long documents, for which some take minutes.
        note: what one must know to compare it.
        python: the oldest Python that it runs on.
    """

    name: str
    environment: str = ""
    function: str = ""
    finds_tables: bool = True
    reads_long: bool = True
    note: str = ""
    python: tuple[int, int] = (3, 11)


OURS = Engine("this service", note="in a cage for each file, with pages, chunks, language and tables")
ENGINES = (
    OURS,
    Engine("liteparse", "liteparse", "liteparse", note="the engine below ours"),
    Engine("xberg", "xberg", "xberg"),
    Engine(
        "camelot", "camelot-py", "camelot", reads_long=False, note="lattice, engine combined; tables only"
    ),
    Engine("pdfplumber", "pdfplumber", "pdfplumber", reads_long=False),
    Engine("pypdf", "pypdf", "pypdf", finds_tables=False, reads_long=False, note="text only"),
    Engine("pypdfium2", "pypdfium2", "pypdfium2", finds_tables=False, note="text only"),
)


@dataclass(slots=True)
class Measured:
    """What one engine came to.

    Attributes:
        cpu_seconds: for the files with truth, one figure for each turn.
        long_cpu_seconds: for the long ones.
        failed: how many files it refused or failed on.
        scores: how well it found tables; ``None`` when it does not look for any.
        why_not: why there is no measurement.
    """

    cpu_seconds: list[float] = field(default_factory=list)
    long_cpu_seconds: list[float] = field(default_factory=list)
    failed: int = 0
    scores: Scores | None = None
    why_not: str = ""


def main() -> None:
    """Measure and print; with ``--write`` into a page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3, help="how often each engine reads everything")
    parser.add_argument("--engines", default="", help="names, separated by commas; all by default")
    parser.add_argument(
        "--files", type=int, default=0, help="only the first files with truth; all by default"
    )
    parser.add_argument("--write", type=Path, help="the page whose section is replaced")
    options = parser.parse_args()
    named = [name for name in options.engines.split(",") if name]
    chosen = [engine for engine in ENGINES if not named or engine.name in named]
    truth = read_truth(CORPUS / "truth" / "tables")
    truth = dict(list(truth.items())[: options.files or None])
    files = [CORPUS / "truth" / "tables" / name for name in truth]
    long_files = [] if options.files else sorted((CORPUS / "typical").glob("*.pdf"), key=_page_count)[-3:]
    found = measure(chosen, files, long_files, truth, options.turns)
    text = report(found, sum(map(_page_count, files)), sum(map(_page_count, long_files)), options.turns)
    print(text)
    if options.write:
        replace_section(options.write, SECTION, text)


def measure(
    engines: Sequence[Engine],
    files: Sequence[Path],
    long_files: Sequence[Path],
    truth: Mapping[str, Tables],
    turns: int,
) -> dict[Engine, Measured]:
    """Let the engines read the files in turns, and score what they find in the first one."""
    found = {engine: Measured() for engine in engines}
    for engine, measured in found.items():
        try:
            install(engine, REQUIREMENTS)
        except NotHere as error:
            measured.why_not = str(error)
    for turn in range(turns):
        for engine, measured in found.items():
            if measured.why_not:
                continue
            print(f"{engine.name}, turn {turn + 1} …", file=sys.stderr)
            try:
                seconds, read = run(engine, files)
                measured.cpu_seconds.append(seconds)
                if long_files and engine.reads_long:
                    measured.long_cpu_seconds.append(run(engine, long_files)[0])
            except subprocess.TimeoutExpired:
                measured.why_not = f"took longer than {_MOST_SECONDS:.0f} s"
                continue
            measured.failed = sum("error" in one for one in read.values())
            if engine.finds_tables and turn == 0:
                measured.scores = score({name: _tables(one) for name, one in read.items()}, truth)
    return found


def run(engine: Engine, files: Sequence[Path]) -> tuple[float, dict[str, Any]]:
    """Let an engine read files; return the processor time and what it found by file name.

    Raises:
        subprocess.TimeoutExpired: it took too long, and was killed.
        RuntimeError: it ended without a result.
    """
    with tempfile.TemporaryDirectory(prefix="dq-b-") as folder:
        result = Path(folder) / "result.json"
        if engine.environment:
            python = FOLDER / engine.environment / "bin" / "python"
            command = [str(python), str(PROGRAMS / "read.py"), engine.function]
        else:
            command = [sys.executable, "-m", "benchmarks.engines.programs.ours"]
        began = os.times()
        process = subprocess.Popen(
            [*command, str(result), *map(str, files)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(_MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        ended = os.times()
        if not result.exists():
            raise RuntimeError(f"{engine.name} ended with {process.returncode} and without a result.")
        seconds = ended.children_user + ended.children_system - began.children_user - began.children_system
        return seconds, json.loads(result.read_text())


def report(found: Mapping[Engine, Measured], page_count: int, long_page_count: int, turns: int) -> str:
    """Return the section of the page."""
    ours = next((measured for engine, measured in found.items() if engine is OURS), None)
    heads = [
        "engine", "tables found", "structure", "neighbours", "rows", "columns", "CPU s", "pages / CPU s",
        "long documents, pages / CPU s", "processor time beside ours", "failed",
    ]  # fmt: skip
    rows = [_row(engine, measured, ours, page_count, long_page_count) for engine, measured in found.items()]
    notes = [f"- {engine.name}: {engine.note}." for engine in found if engine.note]
    notes += [
        f"- {engine.name}: not measured, {one.why_not}." for engine, one in found.items() if one.why_not
    ]
    head = (
        f"{time.strftime('%Y-%m-%d')}, {describe_machine()} {page_count:,} pages with truth, "
        f"{long_page_count:,} pages of long documents, median of {turns} turns."
    )
    return "\n\n".join([head, markdown_table(heads, rows), "\n".join(notes)])


def _row(
    engine: Engine, measured: Measured, ours: Measured | None, page_count: int, long_page_count: int
) -> list[str]:
    scores = measured.scores
    figures = (
        [
            f"{value:.3f}"
            for value in (scores.detection, scores.structure, scores.neighbours, scores.rows, scores.columns)
        ]
        if scores
        else [""] * 5
    )
    if not measured.cpu_seconds:
        return [engine.name, *figures, "", "", "", "", ""]
    seconds = statistics.median(measured.cpu_seconds)
    long_seconds = statistics.median(measured.long_cpu_seconds) if measured.long_cpu_seconds else 0.0
    beside = seconds / statistics.median(ours.cpu_seconds) if ours and ours.cpu_seconds else 0.0
    return [
        engine.name,
        *figures,
        f"{seconds:.1f}",
        f"{page_count / seconds:.0f}",
        f"{long_page_count / long_seconds:.0f}" if long_seconds else "",
        f"{beside:.2f}" if beside else "",
        str(measured.failed),
    ]


def _tables(read: Mapping[str, Any]) -> Tables:
    return {int(page): tables for page, tables in read.get("tables", {}).items()}


def _page_count(path: Path) -> int:
    try:
        with pypdfium2.PdfDocument(path) as document:
            return len(document)
    except pypdfium2.PdfiumError:
        return 0


if __name__ == "__main__":
    main()
