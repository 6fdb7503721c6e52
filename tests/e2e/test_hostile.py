"""Broken files harm neither the workers nor each other: a short run of ``make bench-hostile``."""

from __future__ import annotations

import pytest

from benchmarks.documents import ONE_PAGERS, Made, make_files
from benchmarks.hostile import NEIGHBOUR, Ended, Run, mixed, mutations, originals, report, run
from tests.support.corpus import CORPUS, needs_corpus

pytestmark = [pytest.mark.e2e, needs_corpus, pytest.mark.timeout(300)]

QUICK_NASTY = ("made_random.pdf", "made_trunc_half.docx", "made_xxe.docx", "r2-user-password.pdf")
SUFFIXES = {".pdf", ".docx", ".eml", ".xlsx", ".odt", ".csv", ".html", ".rtf", ".zip"}
SMALL = 200_000


def test_broken_files_end_with_a_reason_and_workers_and_neighbours_do_not_notice():
    small = [path for path in originals() if path.suffix in SUFFIXES and path.stat().st_size < SMALL]
    hostile = [Made(name, (CORPUS / "nasty" / name).read_bytes()) for name in QUICK_NASTY]
    hostile += mutations(small, 40, seed=7)
    good = [Made(f"{NEIGHBOUR}{one.name}", one.content) for one in make_files(ONE_PAGERS[:1], 10, "good")]
    found = run(mixed(hostile, good))
    assert len(found.hostile) >= len(hostile)
    for one in found.hostile:
        assert one.status in {"completed", "failed"}, one
        assert (one.attempts, one.crashes) == (1, 0), one
        assert one.status == "completed" or (one.code and len(one.message) > 15), one
        assert "Traceback" not in one.message, one
    assert [one.status for one in found.neighbours] == ["completed"] * len(good)
    before, after = found.worker_pids
    assert len(before) == 2
    assert before == after


def test_mutations_are_the_same_for_the_same_seed_and_no_good_files():
    some = originals()[:8]
    first, again, other = (list(mutations(some, 16, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sum(made.content == path.read_bytes() for made, path in zip(first, some * 2, strict=True)) < 4


def test_what_is_broken_is_told():
    def ended(name, **changed):
        usual = {
            "status": "completed", "code": "", "message": "", "attempts": 1, "seconds": 1.0, "waited": 0.0,
            "peak_bytes": 1, "crashes": 0,
        }  # fmt: skip
        return Ended(name, **{**usual, **changed})

    pids = (frozenset({1, 2}), frozenset({1, 3}))
    quiet = Run([ended(f"{NEIGHBOUR}{number}") for number in range(3)], pids, 1, 1)
    disturbed = [ended(f"{NEIGHBOUR}{number}", seconds=3.0) for number in range(3)]
    beside = Run([*disturbed, ended("bad", status="failed", crashes=1)], pids, 100, 150)
    text = report(quiet, beside, 5)
    assert "| ended, completed or failed with a reason | 1 | 1 |" in text
    assert "| without a crash of its worker | 1 | 1 |" in text
    assert "| workers that are still the same | 2 | 1 |" in text
    assert "| neighbours' p95 with hostile files, by that without | 3.00 | below 2 |" in text
    assert "| memory of workers at the end, by that at the beginning | 1.50 | about 1 |" in text
