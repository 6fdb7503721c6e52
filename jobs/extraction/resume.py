"""What a child is told of the pages of its document: those that are read by now, and those to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jobs.model import JSON


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a reading goes on. Pages count from 1.

    Attributes:
        kept: the Markdown of pages that an earlier child has read.
        failed: pages that are given up, and why: a fault's code.
        careful: read page by page and tell each before it is touched, as something broke a child.
        finish: read nothing more, and make a whole of what is there; the rest has failed for this code.
        only: the pages to read, empty for all.
    """

    kept: Mapping[int, str] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    careful: bool = False
    finish: str | None = None
    only: frozenset[int] = frozenset()

    def wants(self, page: int) -> bool:
        """Say whether a page is still to be read."""
        is_asked = not self.only or page in self.only
        return is_asked and page not in self.kept and page not in self.failed

    def to_json(self) -> dict[str, JSON]:
        """Return it as a JSON object for the child process."""
        return {
            "kept": _pairs(self.kept),
            "failed": _pairs(self.failed),
            "careful": self.careful,
            "finish": self.finish,
            "only": list[JSON](sorted(self.only)),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JSON]) -> Resume:
        """Build it from what ``to_json`` returned."""
        only, finish = value["only"], value["finish"]
        assert isinstance(only, list)  # noqa: S101  # own words, read back
        return cls(
            kept=_mapping(value["kept"]),
            failed=_mapping(value["failed"]),
            careful=bool(value["careful"]),
            finish=None if finish is None else str(finish),
            only=frozenset(int(str(page)) for page in only),
        )


def _pairs(found: Mapping[int, str]) -> list[JSON]:
    return [[page, text] for page, text in found.items()]


def _mapping(value: JSON) -> dict[int, str]:
    pairs: Iterable[JSON] = value if isinstance(value, list) else ()
    return {int(str(pair[0])): str(pair[1]) for pair in pairs if isinstance(pair, list)}


FROM_THE_START = Resume()
