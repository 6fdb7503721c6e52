"""The benchmarks run: this service and the bare loop, few jobs, nothing asserted of their speed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]


def run(module, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_comparison_writes_its_table_and_its_plot(tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\n<!-- queues: begin -->\nold\n<!-- queues: end -->\n\nThe rest.\n")
    run("benchmarks.queues.run", "--quick", "--write", str(page))
    text = page.read_text()
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:-1]
        for line in text.split("\n")
        if line.startswith("| ")
    }
    for name in ("Document Queue Service (own rows)", "bare loop, one at a time"):
        rate, p50, p99 = (float(rows[name][place].replace(",", "")) for place in (2, 4, 5))
        assert rate > 0
        assert 0 < p50 <= p99
    assert "\nold\n" not in text
    assert text.endswith("The rest.\n")
    plot = ET.parse(tmp_path / "benchmarks-queues.svg").getroot()
    labels = {element.text for element in plot.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Document Queue Service", "bare loop, one at a time"} <= labels
    assert "benchmarks-queues.svg" in text


def test_growth_writes_its_table(tmp_path):
    page = tmp_path / "benchmarks.md"
    run("benchmarks.growth", "--quick", "--database", "sqlite", "--write", str(page))
    (row,) = [line for line in page.read_text().split("\n") if line.startswith("| 1,000")]
    assert row.startswith("| 1,000 | 1.00 | ")
