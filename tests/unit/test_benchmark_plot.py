"""The plot is well-formed, to scale, and told in words."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from benchmarks.queues.plot import Bar, draw_bars

SVG = "{http://www.w3.org/2000/svg}"


def draw(*bars):
    return ET.fromstring(draw_bars(bars, title="Fast & <slow>", unit="jobs", description="in words"))


def widths(root):
    return [float(rect.get("width")) for rect in root.iter(f"{SVG}rect") if rect.get("class") != "page"]


def test_ten_times_as_much_is_always_as_much_longer():
    ones = widths(
        draw(Bar("a", 1_000, "ours"), Bar("b", 100, "peer"), Bar("c", 10, "limit"), Bar("d", 1, "peer"))
    )
    steps = [longer - shorter for longer, shorter in zip(ones[:-1], [*ones[1:-1], 0.0], strict=True)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)


def test_names_and_descriptions_are_escaped_and_there():
    root = draw(Bar("x < y & z", 12, "peer"))
    assert root.find(f"{SVG}title").text == "Fast & <slow>"
    assert root.find(f"{SVG}desc").text == "in words"
    assert root.get("role") == "img"
    assert set(root.get("aria-labelledby").split()) == {
        element.get("id") for element in root if element.get("id")
    }
    assert "x < y & z" in [text.text for text in root.iter(f"{SVG}text")]


def test_it_has_colours_for_light_and_for_dark_pages():
    style = draw(Bar("a", 1, "ours")).find(f"{SVG}style").text
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for kind in ("page", "ours", "peer", "limit"):
        assert re.search(rf"\.{kind} {{", light), kind
        assert re.search(rf"\.{kind} {{", dark), kind


def test_everything_lies_within_the_picture():
    root = draw(Bar("a", 98_765, "ours"), Bar("b", 7, "peer"))
    _, _, width, height = map(float, root.get("viewBox").split())
    for line in root.iter(f"{SVG}line"):
        assert 0 <= float(line.get("x1")) <= width
        assert float(line.get("y2")) <= height
    assert max(widths(root)) < width


@pytest.mark.parametrize("bars", [(), (Bar("a", 0, "ours"),)])
def test_a_logarithm_needs_values_above_zero(bars):
    with pytest.raises(ValueError, match="above 0"):
        draw(*bars)
