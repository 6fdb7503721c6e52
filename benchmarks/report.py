"""Where measurements are written down: marked sections of a page, each replaced as a whole."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def write_section(page: Path, name: str, text: str) -> None:
    """Replace a section of a page.

    Args:
        page: a Markdown file that has the section's two marks, ``<!-- NAME -->`` and ``<!-- /NAME -->``.
        name: of the section.
        text: what stands between the marks afterwards.

    Raises:
        ValueError: the page has no such marks.
    """
    before = page.read_text("utf-8")
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    after, count = pattern.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", before)
    if count != 1:
        raise ValueError(f"{page} has no section {name!r}")
    page.write_text(after, "utf-8")


def machine() -> str:
    """Say what it was measured on, without a name."""
    return f"Python {platform.python_version()} on {os.cpu_count()} processors, {platform.system()}"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Make a Markdown table; its first column is text, the others are figures."""
    rule = "|---|" + "---:|" * (len(heads) - 1)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)])
