"""What do broken and malicious files do to the service and to their neighbours? ``make bench-hostile``.

Every nasty file of the corpus and mutations of its good ones (flipped, cut, spliced, blanked and repeated
bytes, all from a seed) go through real workers, with good small documents between them. The same good
documents are worked off alone before, so that both times come from one run. A neighbour's time is that of its
attempt: how long it waits for a worker that is busy with something else is the affair of the queue.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from benchmarks.documents import ONE_PAGERS, Made, World, make_files, worlds
from benchmarks.page import describe_machine, markdown_table, replace_section
from jobs import database
from jobs.tables import attempts, documents, queue_items
from tests.support.corpus import CORPUS, files
from tests.support.processes import Service

SECTION = "hostile"
NEIGHBOUR = "neighbour-"
_MIB = 1024**2
_LARGEST_ORIGINAL = 3 * _MIB
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How one document ended.

    Attributes:
        code: why it failed, empty when it was completed.
        message: the sentence for it.
        attempts: how many there were.
        seconds: how long the last one took.
        waited: from its upload to the beginning of that.
        peak_bytes: of its reader, 0 when that is not known.
        crashes: how often a worker was blamed on it.
    """

    name: str
    status: str
    code: str
    message: str
    attempts: int
    seconds: float
    waited: float
    peak_bytes: int
    crashes: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run: how all documents ended, and what became of the workers.

    Attributes:
        worker_pids: the workers' process ids at its beginning and at its end.
        first_bytes: resident memory of the workers and their work horses after a tenth of the time.
        last_bytes: the same at the end.
    """

    ended: list[Ended]
    worker_pids: tuple[frozenset[int], frozenset[int]]
    first_bytes: int
    last_bytes: int

    @property
    def neighbours(self) -> list[Ended]:
        """The good documents."""
        return [one for one in self.ended if one.name.startswith(NEIGHBOUR)]

    @property
    def hostile(self) -> list[Ended]:
        """The others."""
        return [one for one in self.ended if not one.name.startswith(NEIGHBOUR)]


def mutations(originals: Sequence[Path], count: int, seed: int) -> Iterator[Made]:
    """Yield broken copies of files, the same ones for the same seed.

    Args:
        originals: the files to break, in turn.
        count: how many.
        seed: of all that is drawn.
    """
    dice = random.Random(seed)
    for number, path in zip(range(count), itertools.cycle(originals), strict=False):
        others = [other for other in originals if other.suffix == path.suffix and other != path]
        donor = dice.choice(others) if others else path
        how = dice.choice(list(_WAYS))
        content = _WAYS[how](bytearray(path.read_bytes()), donor.read_bytes(), dice)
        yield Made(f"{number:04}-{how}-{path.name}", content or b"\0")


def _flipped(content: bytearray, _donor: bytes, dice: random.Random) -> bytes:
    for _ in range(max(1, min(200, len(content) // 500))):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


def _cut(content: bytearray, _donor: bytes, dice: random.Random) -> bytes:
    return bytes(content[: dice.randrange(1, len(content) + 1)])


def _spliced(content: bytearray, donor: bytes, dice: random.Random) -> bytes:
    return bytes(content[: dice.randrange(1, len(content) + 1)] + donor[dice.randrange(len(donor)) :])


def _blanked(content: bytearray, _donor: bytes, dice: random.Random) -> bytes:
    begin, end = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    content[begin:end] = bytes(end - begin)
    return bytes(content)


def _repeated(content: bytearray, _donor: bytes, dice: random.Random) -> bytes:
    begin = dice.randrange(len(content))
    part = content[begin : begin + 4096]
    return bytes(content[:begin] + part * dice.randrange(2, 50) + content[begin:])


_WAYS = {"flipped": _flipped, "cut": _cut, "spliced": _spliced, "blanked": _blanked, "repeated": _repeated}


def originals() -> list[Path]:
    """Return the good files that are broken: all but the largest, which only take longer."""
    return [path for path in files("typical") if 0 < path.stat().st_size <= _LARGEST_ORIGINAL]


def run(made: Sequence[Made], *, kind: str = "sqlite", workers: int = 2) -> Run:
    """Let real workers work files off, in this order.

    Raises:
        RuntimeError: they did not all end.
    """
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    try:
        with worlds(kind, folder) as world:
            world.environ["WORKERS"] = str(workers)
            world.fill(list(made))
            service = Service(world.environ, folder, ("worker",))
            with contextlib.closing(service):
                service.start()
                with _Watch(service) as watch:
                    # Attachments and members of archives become documents of their own.
                    while True:
                        count = _count(world)
                        world.drain(count)
                        if _count(world) == count:
                            break
                return Run(_ended(world), (watch.first_pids, watch.pids()), watch.first_bytes, watch.bytes())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Watch:
    """Looks at the workers' processes while they run."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.first_pids: frozenset[int] = frozenset()
        self.first_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def pids(self) -> frozenset[int]:
        """Return the ids of the RQ workers; their work horses are children of theirs."""
        own = set(self._service.descendants("jobs.rq_worker"))
        return frozenset(pid for pid in own if _parent(pid) not in own)

    def bytes(self) -> int:
        """Return the resident memory of workers and work horses together."""
        return sum(_resident(pid) for pid in self._service.descendants("jobs.rq_worker"))

    def _look(self) -> None:
        looks = 0
        while not self._stop.wait(_LOOK_SECONDS):
            looks += 1
            if not self.first_pids:
                self.first_pids = self.pids()
            if looks == 10:
                self.first_bytes = self.bytes()


def _parent(pid: int) -> int:
    # Behind the name, which may have spaces and brackets, stand the state and the parent.
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[1])
    return 0


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _count(world: World) -> int:
    with database.reading(world.engine) as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(queue_items)).scalar_one()


def _ended(world: World) -> list[Ended]:
    last = sa.select(attempts).subquery()
    statement = (
        sa.select(
            documents.c.filename, queue_items.c.status, queue_items.c.error_code, queue_items.c.error_message,
            queue_items.c.attempt, queue_items.c.crashes, queue_items.c.created_at,
            last.c.started_at, last.c.ended_at, last.c.peak_memory_bytes,
        )
        .join(documents, documents.c.id == queue_items.c.document_id)
        .join(last, sa.and_(last.c.item_id == queue_items.c.id, last.c.attempt == queue_items.c.attempt))
    )  # fmt: skip
    with database.reading(world.engine) as connection:
        return [
            Ended(
                name=row.filename,
                status=row.status,
                code=row.error_code or "",
                message=row.error_message or "",
                attempts=row.attempt,
                seconds=(row.ended_at - row.started_at).total_seconds(),
                waited=(row.started_at - row.created_at).total_seconds(),
                peak_bytes=row.peak_memory_bytes or 0,
                crashes=row.crashes,
            )
            for row in connection.execute(statement)
        ]


def p95(values: Sequence[float]) -> float:
    """Return the value that 95 of 100 do not exceed."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def report(alone: Run, beside: Run, seed: int) -> str:
    """Tell what was found, as Markdown."""
    hostile, quiet, disturbed = beside.hostile, alone.neighbours, beside.neighbours
    ratio = p95([one.seconds for one in disturbed]) / p95([one.seconds for one in quiet])
    growth = beside.last_bytes / max(1, beside.first_bytes)
    checks = [
        (
            "ended, completed or failed with a reason",
            len(hostile),
            sum(not _is_settled(one) for one in hostile),
        ),
        ("worked on once", len(hostile), sum(one.attempts != 1 for one in hostile)),
        ("without a crash of its worker", len(hostile), sum(one.crashes > 0 for one in hostile)),
        ("neighbours completed", len(disturbed), sum(one.status != "completed" for one in disturbed)),
        ("workers that are still the same", *_workers(beside)),
    ]
    figures = [
        ["neighbours' p95 with hostile files, by that without", f"{ratio:.2f}", "below 2"],
        ["memory of workers at the end, by that at the beginning", f"{growth:.2f}", "about 1"],
        ["longest attempt, s", f"{max(one.seconds for one in hostile):.1f}", "below 130"],
        ["largest reader, MiB", f"{max(one.peak_bytes for one in hostile) / _MIB:,.0f}", "about 2,048"],
    ]
    ends = Counter(one.code or "completed" for one in hostile)
    return "\n\n".join(
        [
            markdown_table(
                ["invariant", "documents", "broken"],
                [[name, f"{of:,}", str(bad)] for name, of, bad in checks],
            ),
            markdown_table(["figure", "measured", "goal"], figures),
            markdown_table(
                ["how they ended", "documents"], [[code, str(n)] for code, n in ends.most_common()]
            ),
            f"Seed {seed}; 2 workers on SQLite. {describe_machine()}",
        ]
    )


def _is_settled(one: Ended) -> bool:
    is_failed = (
        one.status == "failed" and one.code and len(one.message) > 15 and "Traceback" not in one.message
    )
    return one.status == "completed" or bool(is_failed)


def _workers(beside: Run) -> tuple[int, int]:
    before, after = beside.worker_pids
    return len(before), len(before - after)


def mixed(hostile: Sequence[Made], neighbours: Sequence[Made]) -> list[Made]:
    """Put good documents evenly between the others."""
    every = max(1, len(hostile) // max(1, len(neighbours)))
    line: list[Made] = []
    good = iter(neighbours)
    for number, one in enumerate(hostile):
        line.append(one)
        if number % every == 0:
            line += itertools.islice(good, 1)
    return [*line, *good]


def main() -> int:
    """Run, print, and write if asked to.

    Returns:
        1 when an invariant is broken.
    """
    parser = argparse.ArgumentParser(prog="make bench-hostile", description=__doc__)
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--neighbours", type=int, default=150)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the section in this page")
    asked = parser.parse_args()
    nasty = [Made(f"nasty-{path.name}", path.read_bytes()) for path in files("nasty") if path.stat().st_size]
    broken = list(mutations(originals(), asked.mutations, asked.seed))
    random.Random(asked.seed).shuffle(broken)
    hostile = [one for pair in itertools.zip_longest(broken, nasty) for one in pair if one]
    good = [
        Made(f"{NEIGHBOUR}{one.name}", one.content)
        for one in make_files(ONE_PAGERS, asked.neighbours, f"neighbour-{asked.seed}")
    ]
    alone = run(good)
    beside = run(mixed(hostile, good))
    text = report(alone, beside, asked.seed)
    print(text)
    if asked.write:
        replace_section(asked.write, SECTION, text)
    broken_ones = [one for one in beside.hostile if not _is_settled(one) or one.attempts != 1 or one.crashes]
    for one in broken_ones:
        print(one, file=sys.stderr)
    return int(bool(broken_ones) or any(one.status != "completed" for one in beside.neighbours))


if __name__ == "__main__":
    if not CORPUS.is_dir():
        sys.exit("The corpus of real documents lies beside the project, and is not there.")
    sys.exit(main())
