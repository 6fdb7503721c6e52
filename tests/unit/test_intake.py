"""File names from outside, and ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ids import new_id, parse_id
from jobs.uploads import clean_filename


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\Contract.docx", "Contract.docx"),
        ("履歴書.pdf", "履歴書.pdf"),
        ("a\nb\r\tc.txt", "abc.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("", "document"),
        ("...", "document"),
        ("e\u0301.txt", "\u00e9.txt"),
    ],
)
def test_a_name_is_made_safe_to_show(raw, shown):
    assert clean_filename(raw) == shown


@given(st.text(max_size=600))
def test_any_name_becomes_short_printable_and_free_of_folders(raw):
    name = clean_filename(raw)
    assert 1 <= len(name.encode()) <= 240
    assert "/" not in name
    assert "\\" not in name
    assert all(ord(char) >= 32 for char in name)


def test_a_long_name_keeps_its_extension():
    assert clean_filename("x" * 500 + ".pdf").endswith("x.pdf")


def test_ids_sort_by_time_and_are_version_7():
    made = [new_id() for _ in range(50)]
    assert len(set(made)) == 50
    assert all(one[14] == "7" and one[19] in "89ab" for one in made)
    assert [one[:13] for one in made] == sorted(one[:13] for one in made)


@pytest.mark.parametrize("raw", ["", "nonsense", "123", "a" * 36, "'; DROP TABLE x"])
def test_what_is_no_id_is_recognised(raw):
    assert parse_id(raw) is None
