"""How fast is the same durable job on other queues for Python? ``make bench``.

A row goes from pending to in_progress to completed, durably. Everything is queued first; then two worker
processes are started, and the rate is measured from the first settled jobs that are seen to the last one. The
peers take turns, repetition by repetition, so that whatever else the machine does meets all alike. What
counts are the ratios. PostgreSQL runs with fsync and synchronous_commit on, Valkey with appendfsync everysec.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.queues.peers import PEERS, Peer
from tests.support.servers import PostgresServer, ValkeyServer

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".bench"
_SLOWEST_SECONDS = 120.0
_LOOK_SECONDS = 0.02


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", action="append", help="the name of a peer; may be given again")
    arguments = parser.parse_args()
    chosen = [peer for peer in PEERS if not arguments.only or peer.name in arguments.only]
    for peer in chosen:
        install(peer)
    rates: dict[str, list[float]] = {peer.name: [] for peer in chosen}
    with PostgresServer(durable=True) as postgres, ValkeyServer() as valkey:
        for repetition in range(arguments.repetitions):
            for peer in chosen:
                rate = measure(peer, postgres, valkey)
                rates[peer.name].append(rate)
                print(f"{repetition + 1}: {peer.name}: {rate:,.0f}/s", file=sys.stderr)
        with postgres.connect() as connection:
            version = connection.info.server_version // 10_000
    print(f"PostgreSQL {version}, Python {platform.python_version()}, {os.cpu_count()} processors.\n")
    print(table(chosen, {name: statistics.median(found) for name, found in rates.items()}))


def table(peers: list[Peer], rates: dict[str, float]) -> str:
    """Make the table, fastest first, as ratios to stock rq."""
    base = rates.get("rq")
    rows = ["| queue | jobs/s | to rq | supervised | |", "|---|---:|---:|---|---|"]
    for peer in sorted(peers, key=lambda one: -rates[one.name]):
        ratio = "-" if base is None else f"{rates[peer.name] / base:,.1f}"
        supervised = "yes" if peer.supervised else ""
        rows.append(f"| {peer.name} | {rates[peer.name]:,.0f} | {ratio} | {supervised} | {peer.note} |")
    return "\n".join(rows)


def install(peer: Peer) -> None:
    """Give a peer an environment of its own, once."""
    if not peer.requirements:
        return
    folder = environment(peer)
    stamp = folder / "installed"
    wanted = "\n".join(peer.requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", *peer.requirements], check=True)
    stamp.write_text(wanted)


def environment(peer: Peer) -> Path:
    """Return where a peer is installed; peers with the same requirements share it."""
    return ENVIRONMENTS / peer.program.removesuffix("_program.py") if peer.requirements else Path(sys.prefix)


def measure(peer: Peer, postgres: PostgresServer, valkey: ValkeyServer) -> float:
    """Fill a peer, let it drain, and return the jobs per second.

    Raises:
        RuntimeError: it did not come to an end.
    """
    valkey.flush()
    name = postgres.create_database()
    environ = {
        **os.environ,
        **peer.environ,
        "BENCH_DSN": f"host={postgres.folder} user=postgres dbname={name}",
        "BENCH_URL": f"postgresql://postgres@/{name}?host={postgres.folder}",
        "BENCH_REDIS": valkey.url,
        "DATABASE_URL": postgres.url(name),
        "REDIS_URL": valkey.url,
        "SECRET_KEY": "only-for-benchmarks",
        "LOG_LEVEL": "ERROR",
        "PYTHONPATH": f"{PROGRAMS}{os.pathsep}{ROOT}" if not peer.requirements else str(PROGRAMS),
    }
    try:
        with tempfile.TemporaryDirectory(prefix="dq-b-") as data, postgres.connect(name) as connection:
            environ["DATA_DIR"] = data
            connection.execute(
                "CREATE TABLE bench_jobs (id bigint PRIMARY KEY, state text NOT NULL DEFAULT 'pending')"
            )
            connection.execute("CREATE INDEX ON bench_jobs (id) WHERE state = 'pending'")
            fill = ("python", peer.program, "enqueue", str(peer.jobs))
            subprocess.run(_command(peer, fill, valkey), env=environ, cwd=PROGRAMS, check=True)
            connection.execute("VACUUM ANALYZE")
            with _working(peer, environ, valkey):
                return _watch(peer, connection)
    finally:
        postgres.drop_database(name)


def _watch(peer: Peer, connection: psycopg.Connection) -> float:
    give_up_at = time.monotonic() + _SLOWEST_SECONDS
    first: tuple[float, int] | None = None
    while time.monotonic() < give_up_at:
        row = connection.execute(peer.done).fetchone()
        now, done = time.monotonic(), row[0] if row else 0
        if done and first is None:
            first = (now, done)
        if first is not None and done >= peer.jobs:
            return (done - first[1]) / (now - first[0])
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"{peer.name} did not settle {peer.jobs} jobs within {_SLOWEST_SECONDS:.0f} s.")


@contextmanager
def _working(peer: Peer, environ: dict[str, str], valkey: ValkeyServer) -> Iterator[None]:
    processes = [
        subprocess.Popen(
            _command(peer, words, valkey), env=environ, cwd=PROGRAMS, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for words in peer.workers
    ]  # fmt: skip
    try:
        yield
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(peer: Peer, words: tuple[str, ...], valkey: ValkeyServer) -> list[str]:
    program = environment(peer) / "bin" / words[0]
    return [str(program), *(valkey.url if word == "REDIS" else word for word in words[1:])]


if __name__ == "__main__":
    main()
