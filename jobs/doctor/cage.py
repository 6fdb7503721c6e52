"""Whether documents are shut in as well as they can be."""

from __future__ import annotations

from jobs import extraction
from jobs.doctor.report import Finding, Level, Subject
from jobs.extraction import CageLevel


def check_cage(subject: Subject) -> Finding:
    """Look how well a document would be shut in by a worker on this machine."""
    level, best = extraction.cage_level(), max(CageLevel)
    wanted = CageLevel.named(subject.settings.cage_level)
    said = f"A document is read at the level {level.name.lower()!r} on this machine."
    if level < wanted:
        return Finding(
            "cage", Level.FAIL, f"{said} CAGE_LEVEL demands {wanted.name.lower()!r}.",
            "Run the workers on Linux 5.13 or newer with Landlock and seccomp, or lower CAGE_LEVEL.",
        )  # fmt: skip
    if level < best:
        return Finding(
            "cage", Level.WARN, f"{said} The best is {best.name.lower()!r}.",
            "A document that takes over its reader could do more than it should. Run the workers on Linux "
            "5.13 or newer with Landlock and seccomp.",
        )  # fmt: skip
    return Finding("cage", Level.OK, said)
