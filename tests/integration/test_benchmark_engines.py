"""The comparison of engines measures this service, scores its tables and writes its section."""

from __future__ import annotations

import pytest

from benchmarks.engines.run import ENGINES, OURS, REQUIREMENTS, measure, report
from benchmarks.table_truth import read_truth
from tests.support.corpus import CORPUS, needs_corpus

TRUTH = CORPUS / "truth" / "tables"


@needs_corpus
def test_this_service_is_measured_and_scored():
    truth = {
        name: tables for name, tables in read_truth(TRUTH).items() if name in {"eu-004.pdf", "us-006.pdf"}
    }
    found = measure([OURS], [TRUTH / name for name in truth], [], truth, turns=1)
    assert len(truth) == 2
    assert found[OURS].failed == 0
    assert found[OURS].cpu_seconds[0] > 0
    assert found[OURS].scores.detection == pytest.approx(1)
    text = report(found, 20, 0, 1)
    assert "| this service | 1.000 |" in text
    assert "median of 1 turns" in text


def test_every_engine_has_its_pinned_packages():
    for engine in ENGINES[1:]:
        listed = (REQUIREMENTS / f"{engine.environment}.txt").read_text().split()
        assert all("==" in line for line in listed)
        assert any(line.startswith(f"{engine.environment}==") for line in listed)
