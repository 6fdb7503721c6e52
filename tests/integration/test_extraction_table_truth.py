"""Tables of real PDFs against human truth, read as the service reads them."""

from __future__ import annotations

import pytest

from benchmarks.table_truth import read_truth, score
from jobs.extraction import Limits, extract
from tests.support.corpus import CORPUS, needs_corpus

TRUTH = CORPUS / "truth" / "tables"


@needs_corpus
def test_tables_are_found_and_built_as_people_see_them():
    # A third of them, from both halves of the set; `make bench-extraction` reads all.
    truth = dict(list(read_truth(TRUTH).items())[1::3])
    found = {}
    for name in truth:
        pages = found.setdefault(name, {})
        for table in extract(TRUTH / name, filename=name, limits=Limits()).tables:
            pages.setdefault(table.page, []).append(table.rows)
    scores = score(found, truth)
    assert len(truth) >= 14
    assert scores.detection >= 0.90
    assert scores.structure >= 0.79
    assert scores.neighbours >= 0.88


@needs_corpus
def test_the_truth_scores_itself_and_nothing_scores_nothing():
    truth = read_truth(TRUTH)
    assert score(truth, truth).detection == pytest.approx(1)
    assert score(truth, truth).structure == pytest.approx(1)
    assert score(truth, truth).neighbours == pytest.approx(1)
    assert score({}, truth).neighbours == 0
    assert score({}, truth).detection == 0
