"""How many uploads are acknowledged, beside a bare Flask view? ``make bench-upload``.

The real web front end (gunicorn as in the Procfile) and :mod:`benchmarks.bare_view`, which keeps the same
promise under the same gunicorn configuration and does nothing else, stand beside each other, each with a
database and a data folder of its own, and are loaded in turn by the same clients, so that whatever else the
machine does meets both alike. What counts are the ratios. Afterwards every acknowledged upload is looked for:
its row, and its bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from benchmarks.load import content
from benchmarks.page import describe_machine, markdown_table, replace_section
from jobs import accounts, database
from jobs.settings import load_settings
from jobs.tables import documents
from tests.support.processes import COMMANDS, Service
from tests.support.servers import PostgresServer, ValkeyServer

OURS, BARE = "the service", "a bare view"
DATABASES = ("sqlite", "postgresql")
KB, MB = 1_000, 1_000_000
COMMANDS["bare"] = [*COMMANDS["web"][:-1], "benchmarks.bare_view:create_app()"]


@dataclass(frozen=True)
class Load:
    """Clients at the same time, each with one file after the other."""

    clients: int
    size: int


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        loads: each is one row of the table.
        seconds: how long each of them lasts, each time.
        repetitions: how often; the medians count.
        memory_loads: how much memory they take is looked at; every client sends one file.
    """

    loads: tuple[Load, ...] = (
        Load(1, 10 * KB), Load(8, 10 * KB), Load(50, 10 * KB), Load(1, 10 * MB), Load(4, 10 * MB),
    )  # fmt: skip
    seconds: float = 6.0
    repetitions: int = 3
    memory_loads: tuple[Load, ...] = (Load(50, 10 * KB), Load(50, 10 * MB), Load(50, 10 * MB))


QUICK = Plan((Load(8, 10 * KB),), seconds=0.5, repetitions=1)


@dataclass
class Run:
    """What came of one load: how much was acknowledged in a second, and after how many milliseconds."""

    rate: float
    median: float
    p99: float

    @classmethod
    def of(cls, answer: dict) -> Run:
        """Sum up what the clients say."""
        times = sorted(answer["times"])
        if not times:
            raise RuntimeError(f"nothing was acknowledged: {answer['refused']}")
        return cls(
            len(times) / answer["seconds"],
            times[len(times) // 2] * 1000,
            times[min(len(times) - 1, len(times) * 99 // 100)] * 1000,
        )


@dataclass
class Memory:
    """The web processes' resident memory in bytes, before a load and at its peak."""

    before: int
    peak: int


@dataclass
class Findings:
    """Everything that was measured on one database."""

    runs: dict[tuple[str, Load], list[Run]] = field(default_factory=dict)
    memory: list[tuple[Load, Memory]] = field(default_factory=list)
    acknowledged: int = 0
    missing: int = 0


class Front:
    """One of the two, running.

    Args:
        part: ``"web"`` or ``"bare"``.
        url: of its database.
        redis_url: of the bells.
        folder: for its data and its log.
    """

    def __init__(self, part: str, url: str, redis_url: str, folder: Path) -> None:
        folder.mkdir()
        self._data = folder / "data"
        self._environ = {
            "DATABASE_URL": url, "REDIS_URL": redis_url, "DATA_DIR": str(self._data),
            "SECRET_KEY": "benchmark",
        }  # fmt: skip
        self._part = part
        settings = load_settings(self._environ)
        database.upgrade(settings)
        self.engine = database.make_engine(settings)
        self._key = accounts.create_api_key(self.engine, accounts.ensure_admin(self.engine).id, "benchmark")
        self.service = Service(self._environ, folder, (part,))
        self.sent: dict[str, tuple[str, int]] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[Front]:
        """Run it for a while."""
        try:
            self.service.start()
            self.service.wait_healthy()
            yield self
        finally:
            self.service.close()
            self.engine.dispose()

    def load(self, load: Load, seconds: float, seed: str) -> dict:
        """Let clients upload for so long, or one file each when ``seconds`` is 0."""
        command = [
            sys.executable, "-m", "benchmarks.load", self.service.url, self._key, str(load.clients),
            str(seconds), str(load.size), seed,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        if done.returncode:
            raise RuntimeError(f"{done.stderr}\n{self.service.all_output()}")
        answer: dict = json.loads(done.stdout)
        self.sent |= {made: (name, load.size) for name, made in answer["made"]}
        return answer

    def measure_memory(self, load: Load, seed: str) -> Memory:
        """Load it once, and look how much memory its processes take before and at most."""
        before = sum(_memory(pid, "VmRSS") for pid in self.service.descendants())
        for pid in self.service.descendants():
            # Source: proc(5), /proc/pid/clear_refs: 5 resets the peak.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        answer = self.load(load, 0, seed)
        if len(answer["times"]) != load.clients:
            raise RuntimeError(f"not every upload was acknowledged: {answer['refused']}")
        return Memory(before, sum(_memory(pid, "VmHWM") for pid in self.service.descendants()))

    def missing(self) -> int:
        """Count the acknowledged uploads that are not in the database with their bytes."""
        missing = 0
        with self.engine.connect() as connection:
            rows = {row.id: row for row in connection.execute(sa.select(documents))}
        for made, (name, size) in self.sent.items():
            expected = content(name, size)
            row = rows.get(made)
            path = self._data / "blobs" / (row.sha256[:2] if row else "") / (row.sha256 if row else "")
            kept = path.read_bytes() if path.is_file() else b""
            missing += not (row and kept == expected and row.sha256 == hashlib.sha256(kept).hexdigest())
        return missing


def _memory(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def run(kind: str, plan: Plan) -> Findings:
    """Measure on one database, in folders of its own that are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    findings = Findings()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        valkey = stack.enter_context(ValkeyServer())
        server = stack.enter_context(PostgresServer(durable=True)) if kind == "postgresql" else None
        fronts = {}
        for name, part in ((OURS, "web"), (BARE, "bare")):
            url = (
                server.url(server.create_database())
                if server
                else f"sqlite:///{folder / part / 'data' / 'q.db'}"
            )
            fronts[name] = stack.enter_context(Front(part, url, valkey.url, folder / part).running())
        for front in fronts.values():
            front.load(Load(4, 10 * KB), min(2.0, plan.seconds), "warm")
        for repetition in range(plan.repetitions):
            for load in plan.loads:
                for name, front in fronts.items():
                    found = Run.of(front.load(load, plan.seconds, f"{repetition}-{load.clients}-{load.size}"))
                    findings.runs.setdefault((name, load), []).append(found)
                    print(f"{kind}, {name}, {load}: {found}", file=sys.stderr, flush=True)
        ours = fronts[OURS]
        for number, load in enumerate(plan.memory_loads):
            findings.memory.append((load, ours.measure_memory(load, f"memory-{number}")))
        findings.acknowledged, findings.missing = len(ours.sent), ours.missing()
    return findings


def report(found: dict[str, Findings], plan: Plan) -> str:
    """Tell what was found, as Markdown."""
    rates, memory, counts = [], [], []
    for kind, findings in found.items():
        for load in plan.loads:
            ours, bare = (_medians(findings.runs[name, load]) for name in (OURS, BARE))
            rates.append(
                [
                    f"{kind}, {load.clients} at once, {_size(load.size)}",
                    f"{ours.rate:,.0f}", f"{bare.rate:,.0f}", f"**{ours.rate / bare.rate:.2f}**",
                    f"{ours.median:,.0f} / {ours.p99:,.0f}", f"{bare.median:,.0f} / {bare.p99:,.0f}",
                ]
            )  # fmt: skip
        memory += [
            [
                f"{kind}, {load.clients} at once, {_size(load.size)}",
                *(f"{n / MB:,.0f}" for n in (one.before, one.peak)),
            ]
            for load, one in findings.memory
        ]
        counts.append(f"{kind}: {findings.acknowledged:,} acknowledged, {findings.missing} missing")
    rate_heads = [
        "uploads", "the service, /s", "bare view, /s", "ratio", "the service, p50 / p99 (ms)",
        "bare view, p50 / p99 (ms)",
    ]  # fmt: skip
    memory_heads = ["one file of each client", "before (MB)", "peak (MB)"]
    return (
        f"{markdown_table(rate_heads, rates)}\n\nMedians of {plan.repetitions} repetitions of "
        f"{plan.seconds:g} s, taking turns; the load came from the same machine. {describe_machine()}\n\n"
        f"Memory of the web processes together:\n\n{markdown_table(memory_heads, memory)}\n\n"
        f"Looked for afterwards, row and bytes: {'; '.join(counts)}.\n"
    )


def _medians(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(one, name) for one in runs) for name in ("rate", "median", "p99")))


def _size(size: int) -> str:
    return f"{size // MB} MB" if size >= MB else f"{size // KB} kB"


def main() -> int:
    """Measure what the command line asks for.

    Returns:
        1 when an acknowledged upload was missing.
    """
    parser = argparse.ArgumentParser(prog="make bench-upload", description=__doc__)
    parser.add_argument("--database", choices=(*DATABASES, "both"), default="both")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="how long each load lasts")
    parser.add_argument("--repetitions", type=int, default=Plan.repetitions)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the section in this page")
    asked = parser.parse_args()
    plan = Plan(seconds=asked.seconds, repetitions=asked.repetitions)
    kinds = DATABASES if asked.database == "both" else (asked.database,)
    found = {kind: run(kind, plan) for kind in kinds}
    text = report(found, plan)
    print(text)
    if asked.write:
        replace_section(asked.write, "uploads", text)
    return int(any(one.missing for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
