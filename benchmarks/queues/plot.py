"""A bar chart as SVG, on a logarithmic scale, readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH = 860
_LABEL_WIDTH = 285
_RIGHT = 80
_ROW_HEIGHT = 26
_BAR_HEIGHT = 16
_BASELINE = 12
_TOP = 78
_BOTTOM = 44
_STYLE = """
  .page { fill: #ffffff; }
  text { fill: #24292f; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
  .title { font-size: 16px; font-weight: 600; }
  .quiet { fill: #57606a; font-size: 12px; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .ours { fill: #0969da; }
  .peer { fill: #8c959f; }
  .limit { fill: none; stroke: #8c959f; stroke-width: 1.5; stroke-dasharray: 4 3; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; }
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .grid { stroke: #30363d; }
    .ours { fill: #4493f8; }
    .peer { fill: #6e7681; }
    .limit { stroke: #9198a1; }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        label: at its left.
        value: its length, above 0.
        kind: ``"ours"``, ``"peer"`` or ``"limit"``.
    """

    label: str
    value: float
    kind: str


def draw_bars(bars: Sequence[Bar], *, title: str, unit: str, description: str) -> str:
    """Draw horizontal bars, in the order given, on a scale of powers of ten.

    Args:
        bars: one or more.
        title: stands above.
        unit: of the values, below the title.
        description: the same in words, for those who do not see it.

    Returns:
        A whole SVG document.

    Raises:
        ValueError: there is no bar, or one is not above 0.
    """
    if not bars or min(bar.value for bar in bars) <= 0:
        raise ValueError("A logarithmic scale needs values above 0.")
    first = math.floor(math.log10(min(bar.value for bar in bars)))
    last = max(first + 1, math.ceil(math.log10(max(bar.value for bar in bars))))
    bottom = _TOP + len(bars) * _ROW_HEIGHT
    height = bottom + _BOTTOM
    span = _WIDTH - _LABEL_WIDTH - _RIGHT

    def place(value: float) -> float:
        return _LABEL_WIDTH + span * (math.log10(value) - first) / (last - first)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
        ' role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(description)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="20" y="30">{escape(title)}</text>',
        f'<text class="quiet" x="20" y="52">{escape(unit)}</text>',
    ]
    for power in range(first, last + 1):
        x = place(10**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>')
        parts.append(
            f'<text class="quiet" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{10**power:,g}</text>'
        )
    for number, bar in enumerate(bars):
        top = _TOP + number * _ROW_HEIGHT + (_ROW_HEIGHT - _BAR_HEIGHT) / 2
        end = place(bar.value)
        parts += [
            f'<g transform="translate(0 {top:g})">',
            f'<text x="{_LABEL_WIDTH - 10}" y="{_BASELINE}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{_LABEL_WIDTH}" height="{_BAR_HEIGHT}"',
            f' width="{max(1.0, end - _LABEL_WIDTH):.1f}"/>',
            f'<text class="quiet" x="{end + 8:.1f}" y="{_BASELINE}">{bar.value:,.0f}</text>',
            "</g>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
