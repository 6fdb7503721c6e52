"""What the sender asks of a reading: which pages, which languages, OCR or not, tables or not."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.model import JSON


class Ocr(enum.StrEnum):
    """When pages are read as pictures: those without text, all of them, or none."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How one document shall be read. What a format cannot follow, it ignores.

    Attributes:
        languages: ISO 639-1 codes of the languages that OCR looks for, the main one first; empty for
            the default.
        ocr: when pages are read as pictures.
        pages: the pages to read as pairs of first and last, from 1, in order and apart; empty for all.
        tables: whether tables are looked for.
        password: opens a protected document.
        preset: the name of the preset that they come from, which changes nothing of the reading.
    """

    languages: tuple[str, ...] = ()
    ocr: Ocr = Ocr.AUTO
    pages: tuple[tuple[int, int], ...] = ()
    tables: bool = True
    password: str | None = field(default=None, repr=False)
    preset: str | None = field(default=None, compare=False)

    def wants_page(self, number: int) -> bool:
        """Say whether a page is to be read; pages count from 1."""
        return not self.pages or any(first <= number <= last for first, last in self.pages)

    def to_json(self) -> dict[str, JSON]:
        """Return the options as a JSON object for the child process."""
        return {
            "languages": list(self.languages),
            "ocr": self.ocr.value,
            "pages": [[first, last] for first, last in self.pages],
            "tables": self.tables,
            "password": self.password,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, JSON]) -> ReadOptions:
        """Build options from what ``to_json`` returned."""
        languages, pages, password = value["languages"], value["pages"], value["password"]
        assert isinstance(languages, list) and isinstance(pages, list)  # noqa: S101, PT018  # own words, read back
        return cls(
            languages=tuple(map(str, languages)),
            ocr=Ocr(str(value["ocr"])),
            pages=tuple((int(str(pair[0])), int(str(pair[1]))) for pair in pages if isinstance(pair, list)),
            tables=bool(value["tables"]),
            password=None if password is None else str(password),
        )


def describe_pages(pages: tuple[tuple[int, int], ...]) -> str:
    """Spell page ranges as people write them."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in pages)


USUAL = ReadOptions()
"""All as usual."""
