"""What an examination finds."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import sqlalchemy as sa

from jobs.blobs import BlobStore
from jobs.database import Clock
from jobs.delivery import Delivery
from jobs.model import JSON
from jobs.settings import Settings


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


_EXIT_CODES = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one look.

    Attributes:
        name: which look, snake_case; the same in every version.
        level: how bad it is.
        message: what was found, one sentence for people; no names of files or persons' texts.
        remedy: what to do; empty when all is well.
        figures: the numbers behind it.
    """

    name: str
    level: Level
    message: str
    remedy: str = ""
    figures: dict[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Every finding, in the order of the looks."""

    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of all."""
        return max((finding.level for finding in self.findings), key=_EXIT_CODES.__getitem__)

    @property
    def exit_code(self) -> int:
        """For scripts: 0 all is well, 1 something is to be looked at, 2 something is broken."""
        return _EXIT_CODES[self.level]

    def finding(self, name: str) -> Finding:
        """Return the outcome of one look.

        Raises:
            KeyError: this look did not take place.
        """
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def to_json(self) -> dict[str, JSON]:
        """Return the report as a JSON object."""
        shown: list[JSON] = [
            {
                "name": finding.name,
                "level": finding.level.value,
                "message": finding.message,
                "remedy": finding.remedy,
                "figures": finding.figures,
            }
            for finding in self.findings
        ]
        return {"level": self.level.value, "findings": shown}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined.

    Attributes:
        fast: look at the newest thousand where a full look takes long.
    """

    settings: Settings
    engine: sa.Engine
    delivery: Delivery
    blobs: BlobStore
    fast: bool

    @property
    def clock(self) -> Clock:
        """The database's clock."""
        return Clock(self.engine.dialect.name)

    @property
    def sweeps_seconds(self) -> float:
        """How long two sweeps may take: what one forgets the next one does."""
        return 2 * self.settings.sweep_seconds


def times(count: int, thing: str, things: str = "") -> str:
    """Return a count with its noun, e.g. ``"1 job"``, ``"1,204 jobs"``."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
