"""The built-in analyzer on texts made to be slow, and on large ones."""

from __future__ import annotations

import time

import pytest

from jobs.analysis import Analysis, AnalysisInput, BuiltinAnalyzer
from jobs.analysis.text import MAX_CHARACTERS

PARAGRAPH = (
    "A tidal mill fills its pond at high water. The wheel number {0} turns on day {1} while the pond of "
    "Dr. Hale empties, and {2} sacks of grain cost 12.50 EUR. See https://example.org/{0} for more.\n\n"
)


def timed(text: str) -> tuple[Analysis, float]:
    start = time.process_time()
    analysis = BuiltinAnalyzer().analyze(AnalysisInput(text=text))
    return analysis, time.process_time() - start


def test_a_megabyte_of_prose_keeps_the_budget() -> None:
    text = "".join(PARAGRAPH.format(number, number % 31, number * 7) for number in range(5_500))
    assert len(text) > 1_000_000
    analysis, seconds = timed(text)
    assert seconds < 6.0
    assert "pond" in analysis.summary


def test_five_megabytes_of_one_word_are_cut_with_a_warning() -> None:
    analysis, seconds = timed("a" * 5_000_000)
    assert seconds < 6.0
    assert any(f"{MAX_CHARACTERS:,}" in warning for warning in analysis.warnings)


@pytest.mark.parametrize(
    "unit",
    [
        "a@",
        "<a",
        "[",
        "[a](",
        "[a](b(",
        "1,222",
        "12 ",
        "Inc. ",
        "Aa ",
        "| a ",
        "http://",
        "(a. ",
        "total 1.00\n",
        "x-\n",
        "1-",
        "#",
        ". ",
    ],
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    _, seconds = timed(unit * (250_000 // len(unit)))
    # A quarter of a megabyte takes about 0.4 s; a quadratic search takes minutes.
    assert seconds < 3.0


def test_a_text_of_distinct_chinese_runs_keeps_time_and_memory_bounded() -> None:
    text = "".join(chr(0x4E00 + (number * 7919 + number // 97) % 20_000) for number in range(300_000))
    _, seconds = timed("。".join(text[start : start + 40] for start in range(0, len(text), 40)))
    assert seconds < 6.0
