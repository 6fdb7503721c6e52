"""Writes a measured section into a page of the documentation, and says what it was measured on."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

_SYNCS = 200
_BLOCK_BYTES = 8_192


def replace_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of a section; without marks it goes to the end of the page.

    Args:
        page: a Markdown file.
        name: the section's name, as in ``<!-- queues: begin -->``.
        text: the new text, without the marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = page.read_text() if page.exists() else ""
    section = f"{begin}\n\n{text.strip()}\n\n{end}"
    before, found, rest = old.partition(begin)
    if not found:
        page.write_text(f"{old.rstrip()}\n\n{section}\n".lstrip())
        return
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page.name} has {begin} without {end}.")
    page.write_text(f"{before}{section}{after}")


def markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    """Make a Markdown table; its first column is text, the others are figures."""
    rule = "|---|" + "---:|" * (len(heads) - 1)
    return "\n".join([f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)])


def describe_machine() -> str:
    """Tell what kind of machine this is, in one sentence that names neither it nor anything on it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{os.cpu_count()} processors ({platform.machine()}), {memory:.0f} GB of memory, "
        f"{platform.system()}, Python {platform.python_version()}; "
        f"a write of 8 kB and its sync take {sync_seconds() * 1e6:,.0f} µs (median)."
    )


def sync_seconds() -> float:
    """Measure how long the disk under the temporary files takes to keep a block for good."""
    waits = []
    with tempfile.TemporaryFile(prefix="dq-b-") as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(bytes(_BLOCK_BYTES))
            file.flush()
            os.fsync(file.fileno())
            waits.append(time.perf_counter() - began)
    return statistics.median(waits)
