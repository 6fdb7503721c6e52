"""The table of growth, and the processor time of trees of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cpu_time import cpu_seconds
from benchmarks.growth import Cost, make_table

BURN = "import time\nwhile time.process_time() < 0.3: pass"
PARENT = f"""import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
print("done", flush=True)
sys.stdin.read()"""


def test_ratios_are_to_the_fewest_workers_on_the_shortest_queue():
    costs = {(1_000, 1): Cost(100, 1.0), (1_000, 2): Cost(200, 3.0), (10_000, 1): Cost(100, 1.1),
             (10_000, 2): Cost(100, 0.5)}  # fmt: skip
    lines = make_table(costs, (1, 2)).split("\n")
    assert lines[0] == "| pending | 1 worker | 2 workers |"
    assert lines[2:] == ["| 1,000 | 1.00 | 1.50 |", "| 10,000 | 1.10 | 0.50 |"]


def test_costs_add_up():
    assert Cost(1, 0.5).plus(Cost(3, 1.5)).per_job == pytest.approx(0.5)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_descendants_count_and_go_on_counting_when_they_are_dead():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout.readline() == b"done\n"
        assert 0.28 <= cpu_seconds([parent.pid]) < 3
        parent.stdin.close()
        parent.wait()
    assert cpu_seconds([parent.pid]) == 0
