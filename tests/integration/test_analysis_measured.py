"""Measured quality on public samples, with gates below what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jobs.analysis import AnalysisInput, BuiltinAnalyzer
from jobs.analysis.kinds import classify
from jobs.analysis.receipts import read_purchase
from jobs.analysis.text import clean

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus" / "analysis"

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not beside the project")

SUFFIXES = (
    ("ational", "ate"), ("ization", "ize"), ("fulness", "ful"), ("iveness", "ive"), ("ations", "ate"),
    ("ation", "ate"), ("ators", "ate"), ("ator", "ate"), ("ness", ""), ("ment", ""), ("ities", ""),
    ("ity", ""), ("ical", "ic"), ("ance", ""), ("ence", ""), ("able", ""), ("ible", ""), ("ive", ""),
    ("ing", ""), ("ied", "y"), ("ies", "y"), ("sses", "ss"), ("ed", ""), ("es", "e"), ("al", ""), ("s", ""),
)  # fmt: skip


def stem(word: str) -> str:
    """Cut endings until none fits; crude, but the same for truth and answer."""
    for _ in range(2):
        for ending, instead in SUFFIXES:
            rest = word.removesuffix(ending)
            if rest != word and len(rest) >= 3 and not word.endswith("ss"):
                word = rest + instead
                break
    return word.rstrip("e")


def stems(phrase: str) -> str:
    return " ".join(stem(word) for word in re.split(r"[\s-]+", phrase.lower()) if word)


def f1(found: list[str], truth: list[str]) -> float:
    answered, wanted = {stems(phrase) for phrase in found}, {stems(phrase) for phrase in truth}
    hits = len(answered & wanted)
    return 2 * hits / (len(answered) + len(wanted)) if hits else 0.0


def test_keyphrases_of_abstracts() -> None:
    lines = (CORPUS / "inspec-300.jsonl").read_text(encoding="utf-8").splitlines()[:150]
    analyzer = BuiltinAnalyzer()
    scores = []
    for line in lines:
        entry = json.loads(line)
        found = analyzer.analyze(AnalysisInput(text=entry["text"], language="en")).keyphrases
        scores.append(f1(found[:10], entry["keyphrases"]))
    assert 100 * sum(scores) / len(scores) >= 26.0


def test_receipts_are_recognised_and_read() -> None:
    entries = json.loads((CORPUS / "sroie-200.json").read_text(encoding="utf-8"))
    kinds = [classify(clean(entry["text"]))[0] for entry in entries]
    assert sum(kind in ("receipt", "invoice") for kind in kinds) >= 0.95 * len(kinds)
    right = 0
    for entry in entries:
        truth = re.sub(r"[^\d.]", "", entry["key"].get("total", ""))
        right += read_purchase(clean(entry["text"])).total == truth
    assert right >= 0.8 * len(entries)
