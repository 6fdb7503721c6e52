"""A measured section replaces the one before, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.page import describe_machine, replace_section


def test_a_section_goes_to_the_end_and_is_replaced_in_its_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nBefore.\n")
    replace_section(page, "one", "first")
    page.write_text(page.read_text() + "\nAfter.\n")
    replace_section(page, "one", "second")
    assert page.read_text() == (
        "# Title\n\nBefore.\n\n<!-- one: begin -->\n\nsecond\n\n<!-- one: end -->\n\nAfter.\n"
    )


def test_sections_do_not_touch_each_other(tmp_path):
    page = tmp_path / "page.md"
    for name in ("one", "two", "one"):
        replace_section(page, name, f"of {name}")
    assert page.read_text().count("of one") == page.read_text().count("of two") == 1


def test_a_section_without_an_end_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- one: begin -->\nprecious")
    with pytest.raises(ValueError, match="without"):
        replace_section(page, "one", "new")
    assert "precious" in page.read_text()


def test_the_machine_is_described_without_its_name():
    import platform

    told = describe_machine()
    assert "processors" in told
    assert platform.node() not in told
