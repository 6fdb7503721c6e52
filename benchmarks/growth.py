"""How does the cost of a job grow with the workers and with the length of the queue? ``make bench-growth``.

The cost is the processor time of everything that takes part: the workers, the database's server, Redis.
A database is filled by SQL, with owners, priorities and retries mixed, and copied for every measurement; real
workers take jobs without a stage from it. What counts is the ratio to one worker on the shortest queue.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.cpu_time import cpu_seconds
from benchmarks.page import describe_machine, replace_section
from jobs import database
from jobs.delivery import Delivery, web_connection
from jobs.parent_death import start_tied
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings
from tests.support.depth import fill
from tests.support.servers import PostgresServer, ValkeyServer

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "benchmarks" / "queues" / "programs"
NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
_INTRODUCTION = """\
What does a job cost when more workers share the queue, and when it is longer? Here is the processor time of
all processes that take part (workers, database server, Redis) for each job, as a ratio to one worker on the
shortest queue. The jobs have no stage; owners, priorities and retries are mixed."""
_REPEAT = """\
```
make bench-growth ARGS="--write docs/benchmarks.md"   # both databases
make bench-growth ARGS="--database sqlite"            # one of them
```"""
_ENDED = 1_000
_BATCH = 500
_LOOK_SECONDS = 0.25
_STARTING_SECONDS = 30.0
_QUIET_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        workers: how many there are, the fewest first.
        depths: how many items are pending, by the kind of database, the fewest first.
        items: how many are worked off at most in a round.
        round_seconds: how long a round takes at most.
        least_seconds: of processor time, until which rounds are added.
        rounds: how many at most.
    """

    workers: tuple[int, ...] = (1, 2, 4, 8)
    depths: dict[str, tuple[int, ...]] | None = None
    items: int = 2_000
    round_seconds: float = 10.0
    least_seconds: float = 2.0
    rounds: int = 4

    def depths_of(self, kind: str) -> tuple[int, ...]:
        """Return how many items are pending on a kind of database."""
        return (self.depths or _DEPTHS)[kind]


_DEPTHS = {"postgresql": (1_000, 10_000, 100_000, 1_000_000), "sqlite": (1_000, 10_000, 100_000)}
_QUICK = Plan((1, 2), dict.fromkeys(_DEPTHS, (1_000,)), 20, 20.0, 0.0, 1)


@dataclass(frozen=True, slots=True)
class Cost:
    """What some jobs cost."""

    jobs: int = 0
    seconds: float = 0.0

    @property
    def per_job(self) -> float:
        """Processor seconds for each job."""
        return self.seconds / self.jobs

    def plus(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(self.jobs + other.jobs, self.seconds + other.seconds)


Costs = dict[tuple[int, int], Cost]


@dataclass(frozen=True, slots=True)
class Source:
    """A filled database that can be copied.

    Attributes:
        copied: makes a context with the address of a copy, which is then taken away.
        roots: the server's process, if there is one.
    """

    copied: Callable[[], contextlib.AbstractContextManager[str]]
    roots: tuple[int, ...] = ()


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="make bench-growth", description=__doc__)
    parser.add_argument("--database", choices=(*_DEPTHS, "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="does it work? few workers, few jobs")
    parser.add_argument("--write", type=Path, help="the page whose section is replaced")
    asked = parser.parse_args()
    plan = _QUICK if asked.quick else Plan()
    kinds = tuple(_DEPTHS) if asked.database == "both" else (asked.database,)
    began = time.monotonic()
    costs = {kind: measure(kind, plan) for kind in kinds}
    text = make_text(costs, plan, describe_machine(), (time.monotonic() - began) / 60)
    print(text)
    if asked.write is not None:
        replace_section(asked.write, "growth", text)


def measure(kind: str, plan: Plan) -> Costs:
    """Measure every number of workers on every length of the queue.

    Args:
        kind: ``"postgresql"`` or ``"sqlite"``.
        plan: how much.

    Returns:
        The cost by length and workers.
    """
    costs: Costs = {}
    for depth in plan.depths_of(kind):
        with _filled(kind, depth) as source:
            for workers in plan.workers:
                costs[depth, workers] = cost = _measure_cell(source, workers, plan)
                print(
                    f"{NAMES[kind]}, {depth:,} pending, {workers} workers: "
                    f"{cost.per_job * 1000:.2f} ms for each of {cost.jobs:,}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    return costs


def make_text(costs: dict[str, Costs], plan: Plan, machine: str, minutes: float) -> str:
    """Write the section: one table for each kind of database."""
    parts = ["## How the cost grows", _INTRODUCTION]
    for kind, found in costs.items():
        base = found[min(found)]
        parts += [f"### {NAMES[kind]}: 1.00 is {base.per_job * 1000:.2f} ms", make_table(found, plan.workers)]
    measured = (
        f"Measured once, in {minutes:.0f} minutes, up to {plan.items:,} jobs in a round of at most "
        f"{plan.round_seconds:.0f} s. {machine}"
    )
    return "\n\n".join([*parts, measured, "### Repeat it on your machine", _REPEAT])


def make_table(costs: Costs, workers: Sequence[int]) -> str:
    """Make a table in Markdown: a line for each length, a column for each number of workers."""
    base = costs[min(costs)].per_job
    heads = [f"{count} worker" + ("s" if count > 1 else "") for count in workers]
    lines = ["| pending | " + " | ".join(heads) + " |", "|---:|" + len(heads) * "---:|"]
    for depth in sorted({depth for depth, _ in costs}):
        ratios = [f"{costs[depth, count].per_job / base:.2f}" for count in workers]
        lines.append(f"| {depth:,} | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


def _measure_cell(source: Source, workers: int, plan: Plan) -> Cost:
    total = Cost()
    for _ in range(plan.rounds):
        with source.copied() as url:
            total = total.plus(_measure_round(url, source.roots, workers, plan))
        if total.seconds >= plan.least_seconds:
            break
    return total


def _measure_round(url: str, roots: tuple[int, ...], workers: int, plan: Plan) -> Cost:
    """Let workers take jobs for a while, once they are up and everything is quiet."""
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        valkey = stack.enter_context(ValkeyServer())
        environ = {
            "DATABASE_URL": url, "REDIS_URL": valkey.url, "DATA_DIR": str(folder), "WORKERS": str(workers),
            "SECRET_KEY": "only-for-benchmarks", "LOG_LEVEL": "ERROR",
        }  # fmt: skip
        settings = load_settings(environ)
        engine = database.make_engine(settings)
        stack.callback(engine.dispose)
        service = DocumentQueueService(engine, settings)
        waiting = service.get_pending_items(limit=plan.items)
        pool = stack.enter_context(_working(environ, folder))
        assert valkey.process is not None
        everything = (*roots, valkey.process.pid, pool)
        _wait_until_quiet(everything)
        done, used = _count_completed(service), cpu_seconds(everything)
        _ring(settings, waiting)
        give_up_at = time.monotonic() + plan.round_seconds
        while (jobs := _count_completed(service) - done) < len(waiting) and time.monotonic() < give_up_at:
            time.sleep(_LOOK_SECONDS)
        if not jobs:
            raise RuntimeError(f"No job was done: {(folder / 'log').read_text(errors='replace')[-2000:]}")
        return Cost(jobs, cpu_seconds(everything) - used)


def _ring(settings: Settings, items: Sequence[object]) -> None:
    delivery = Delivery(web_connection(settings), settings)
    for first in range(0, len(items), _BATCH):
        delivery.announce(items[first : first + _BATCH])  # type: ignore[arg-type]  # the service's own items


def _count_completed(service: DocumentQueueService) -> int:
    return int(service.get_queue_stats()["completed"] or 0)


def _wait_until_quiet(roots: Collection[int]) -> None:
    """Wait until the processes have started and do nothing for a second."""
    give_up_at = time.monotonic() + _STARTING_SECONDS
    time.sleep(1.0)
    used = cpu_seconds(roots)
    while time.monotonic() < give_up_at:
        time.sleep(1.0)
        before, used = used, cpu_seconds(roots)
        if used - before < _QUIET_SHARE:
            return


@contextlib.contextmanager
def _working(environ: dict[str, str], folder: Path) -> Iterator[int]:
    """Keep the workers running, and give the id of the process above them."""
    stamps = folder / "stamps"
    stamps.write_bytes(bytes(24))
    with (folder / "log").open("ab") as log:
        pool = start_tied(
            [sys.executable, str(PROGRAMS / "ours_program.py"), "pool"], signal.SIGKILL,
            env={
                **os.environ, **environ, "BENCH_STAGES": "0", "BENCH_WORKLOAD": "row",
                "BENCH_STAMPS": str(stamps), "BENCH_DSN": "",
                "PYTHONPATH": f"{PROGRAMS}{os.pathsep}{ROOT}",
            },
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield pool.pid
    finally:
        os.killpg(pool.pid, signal.SIGKILL)
        pool.wait()


@contextlib.contextmanager
def _filled(kind: str, depth: int) -> Iterator[Source]:
    """Fill a database, and give what makes copies of it."""
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if kind == "sqlite":
            path = folder / "filled.db"
            _fill(f"sqlite:///{path}", depth, folder)
            yield Source(partial(_copied_file, path, folder))
            return
        server = stack.enter_context(PostgresServer(durable=True))
        name = server.create_database()
        _fill(server.url(name), depth, folder)
        assert server.process is not None
        yield Source(partial(_copied_database, server, name), (server.process.pid,))


def _fill(url: str, depth: int, folder: Path) -> None:
    settings = load_settings({"DATABASE_URL": url, "DATA_DIR": str(folder), "SECRET_KEY": "x"})
    database.upgrade(settings)
    engine = database.make_engine(settings)
    fill(engine, depth, _ENDED)
    engine.dispose()


@contextlib.contextmanager
def _copied_file(path: Path, folder: Path) -> Iterator[str]:
    copy = Path(shutil.copy(path, folder / "copy.db"))
    yield f"sqlite:///{copy}"
    for rest in folder.glob("copy.db*"):
        rest.unlink()


@contextlib.contextmanager
def _copied_database(server: PostgresServer, name: str) -> Iterator[str]:
    copy = server.create_database(name)
    yield server.url(copy)
    server.drop_database(copy)


if __name__ == "__main__":
    main()
