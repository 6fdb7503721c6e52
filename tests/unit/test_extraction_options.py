"""The values that pass between the sender, the cage and its child."""

from __future__ import annotations

import pytest

from jobs.extraction import Ocr, ReadOptions, Table
from jobs.extraction.result import Extraction


def test_options_come_back_from_json_as_they_were():
    asked = ReadOptions(("de", "en"), Ocr.ALWAYS, ((1, 3), (7, 7)), tables=False, password="geheim")
    assert ReadOptions.from_json(asked.to_json()) == asked
    assert ReadOptions.from_json(ReadOptions().to_json()) == ReadOptions()


def test_a_password_does_not_show_in_a_traceback():
    assert "geheim" not in repr(ReadOptions(password="geheim"))


def test_pages_are_wanted_by_range_and_all_by_default():
    asked = ReadOptions(pages=((2, 3), (5, 5)))
    assert [number for number in range(1, 8) if asked.wants_page(number)] == [2, 3, 5]
    assert ReadOptions().wants_page(1_000)


EXTRACTION = Extraction(
    "t", "m", None, 1, None, {}, "text/plain", "e", "1", tables=[Table([["a", "b"]], 3, "T")]
)


def test_tables_come_back_from_json_and_kept_results_without_them_are_read():
    assert Extraction.from_json(EXTRACTION.to_json()) == EXTRACTION
    old = EXTRACTION.to_json()
    del old["tables"]
    assert Extraction.from_json(old).tables == []


@pytest.mark.parametrize("tables", [{}, [1], [{"rows": 1}], [{"rows": [[1]]}], [{"rows": [], "page": -1}]])
def test_tables_of_a_wrong_shape_are_refused(tables):
    with pytest.raises(ValueError, match=r"table|rows|row|page"):
        Extraction.from_json({**EXTRACTION.to_json(), "tables": tables})
