"""How fast is the same job on other queues for Python? ``make bench``.

Every peer has its own environment, two worker processes, and servers of our own: PostgreSQL with fsync and
synchronous_commit on, Valkey with appendfsync everysec. Within each repetition the peers take turns with each
workload, so that whatever else the machine does meets all alike. What counts are the ratios.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.page import describe_machine, replace_section
from benchmarks.queues import environments, report
from benchmarks.queues.measuring import Drain, drain, measure_enqueueing, measure_latency
from benchmarks.queues.peers import BARE, OURS, PEERS, Peer
from benchmarks.queues.stage import Surroundings
from benchmarks.queues.table import Figures, Result, summarise
from jobs.database import make_engine
from jobs.settings import load_settings
from tests.support.servers import PostgresServer, ValkeyServer

# A drain that ended sooner says little, and is made again with so many jobs that it takes about so long.
_SHORTEST_SECONDS = 1.5
_GOOD_SECONDS = 4.0
_LARGEST_GROWTH = 10.0


@dataclass
class Plan:
    """How much is measured.

    Attributes:
        repetitions: how often.
        latency_jobs: how many jobs are sent one after the other, and count.
        warm_up: how many are sent before them.
        part: of a peer's numbers of jobs; below 1 for a try that need not be exact.
    """

    repetitions: int = 3
    latency_jobs: int = 300
    warm_up: int = 20
    part: float = 1.0
    _grown: dict[tuple[str, str], int] = field(default_factory=dict)

    def jobs(self, peer: Peer, workload: str) -> int:
        """Return how many jobs a drain has."""
        usual = peer.noop_jobs if workload == "noop" else peer.row_jobs
        return self._grown.get((peer.name, workload), self.scaled(usual))

    def scaled(self, count: int) -> int:
        """Return a number of jobs as the plan wants it."""
        return max(2, round(count * self.part)) if count else 0

    def grow(self, peer: Peer, workload: str, drained: Drain) -> bool:
        """Take more jobs from now on if the drain was too short to say much; tell whether it was."""
        if drained.seconds >= _SHORTEST_SECONDS or self.part < 1:
            return False
        factor = min(_LARGEST_GROWTH, _GOOD_SECONDS / drained.seconds)
        self._grown[peer.name, workload] = round(self.jobs(peer, workload) * factor)
        return True


_QUICK = Plan(1, 5, 1, 0.01)


def main() -> int:
    """Measure what the command line asks for; 1 when something could not be measured."""
    asked = _parse()
    peers = [OURS, BARE] if asked.quick else list(PEERS)
    if asked.only:
        peers = [peer for peer in PEERS if peer.name in asked.only]
    plan = _QUICK if asked.quick else Plan(asked.repetitions)
    began = time.monotonic()
    results, conditions = measure_all(peers, plan)
    minutes = (time.monotonic() - began) / 60
    text = report.make_text(
        results, conditions, machine=describe_machine(), repetitions=plan.repetitions, minutes=minutes
    )
    print(text)
    if asked.write is not None:
        replace_section(asked.write, "queues", text)
        (asked.write.parent / report.PLOT).write_text(report.make_plot(results))
    return int(any(result.missing for result in results))


def measure_all(peers: list[Peer], plan: Plan) -> tuple[list[Result], str]:
    """Measure peers in turns.

    Returns:
        A result for each, and in words which servers they ran on, and what else ran.
    """
    figures = {peer.name: Figures() for peer in peers}
    for peer in peers:
        try:
            environments.install(peer)
        except environments.NotHere as error:
            figures[peer.name].missing = str(error)
    with PostgresServer(durable=True) as postgres:
        surroundings = Surroundings(postgres)
        for repetition in range(plan.repetitions):
            for peer in peers:
                found = figures[peer.name]
                if not found.missing:
                    _measure(peer, plan, surroundings, found)
                    print(f"{repetition + 1}: {peer.name}: {_last(found)}", file=sys.stderr, flush=True)
        conditions = f"{_name_servers(postgres)}; {_tell_of_others(surroundings.others)}"
    return [summarise(peer, figures[peer.name]) for peer in peers], conditions


def _measure(peer: Peer, plan: Plan, surroundings: Surroundings, figures: Figures) -> None:
    """Measure everything of a peer once; a failure is written down, and the others go on."""
    try:
        if peer.noop_jobs:
            figures.noop.append(_drain(peer, "noop", plan, surroundings))
        if peer.row_jobs:
            figures.row.append(_drain(peer, "row", plan, surroundings))
        if peer.latency:
            figures.latency.append(measure_latency(peer, plan.latency_jobs, plan.warm_up, surroundings))
        if peer.singles:
            single = measure_enqueueing(peer, "single", plan.scaled(peer.singles), surroundings)
            figures.single.append(single)
        if peer.bulks and peer.singles:
            figures.bulk.append(measure_enqueueing(peer, "bulk", plan.scaled(peer.bulks), surroundings))
    except RuntimeError as error:
        print(f"{peer.name}: {error}", file=sys.stderr)
        figures.missing = "a measurement failed"


def _drain(peer: Peer, workload: str, plan: Plan, surroundings: Surroundings) -> float:
    drained = drain(peer, workload, plan.jobs(peer, workload), surroundings)
    while plan.grow(peer, workload, drained):
        drained = drain(peer, workload, plan.jobs(peer, workload), surroundings)
    return drained.rate


def _last(found: Figures) -> str:
    """Tell the newest figures in a line, for whoever waits."""
    told = [f"{name} {values[-1]:,.0f}/s" for name, values in
            (("A", found.noop), ("B", found.row), ("single", found.single), ("bulk", found.bulk))
            if values]  # fmt: skip
    if found.latency:
        told.append(f"p50 {found.latency[-1].median:.2f} ms, p99 {found.latency[-1].slow:.2f} ms")
    return ", ".join(told) or found.missing


def _name_servers(postgres: PostgresServer) -> str:
    with postgres.connect() as connection:
        number = connection.info.server_version
    with ValkeyServer() as valkey, valkey.client() as client:
        about = client.info("server")
    redis = about.get("valkey_version") or about.get("redis_version")
    return (
        f"PostgreSQL {number // 10_000}.{number % 10_000} with fsync and synchronous_commit on, "
        f"Valkey {redis} with appendfsync everysec, SQLite {_sqlite_version()} (ours), "
        f"{sqlite3.sqlite_version} (others)"
    )


def _sqlite_version() -> str:
    engine = make_engine(load_settings({"DATABASE_URL": "sqlite:///:memory:"}))
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("SELECT sqlite_version()").scalar_one())


def _tell_of_others(shares: list[float]) -> str:
    if not shares:
        return "it is not known what else ran"
    return (
        f"other processes took {statistics.median(shares):.0%} of the processors meanwhile (median), "
        f"{max(shares):.0%} at worst"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", action="append", help="the name of a peer; may be given again")
    parser.add_argument("--quick", action="store_true", help="only this service and the bare loop, few jobs")
    parser.add_argument("--write", type=Path, help="the page whose section is replaced")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
