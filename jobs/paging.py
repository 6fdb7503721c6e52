"""Lists, a page at a time, by keyset.

The cursor names the last row seen, so that a page costs the same however deep it is.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from jobs.ids import parse_id
from jobs.tables import Id, UtcDateTime

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list, and where it goes on.

    Attributes:
        rows: the part.
        next_cursor: where the list goes on; ``None`` at its end.
        searched: how many rows a search looked at before it stopped with less than a full page; it goes
            on from ``next_cursor``. ``None`` when it looked at everything, or nothing was searched for.
    """

    rows: list[Row]
    next_cursor: str | None
    searched: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list: by an instant, and by the id between rows of the same instant.

    Attributes:
        at: the instant.
        id: the id.
        newest: whether the latest goes first.
        within: columns that the index has before, which are the same in all rows of the list.
    """

    at: sa.ColumnElement[datetime]
    id: sa.ColumnElement[str]
    newest: bool
    within: tuple[sa.ColumnElement[Any], ...] = ()

    def by(self) -> tuple[sa.ColumnElement[Any], ...]:
        """Return what to order by."""
        columns = (*self.within, self.at, self.id)
        return tuple(column.desc() if self.newest else column.asc() for column in columns)

    def after(self, cursor: str | None) -> tuple[sa.ColumnElement[bool], ...]:
        """Return the condition that leaves what comes after a cursor; none for the first page.

        An unreadable cursor begins at the top.
        """
        last = _parse_cursor(cursor)
        if last is None:
            return ()
        # A comparison of rows is one range of an index; the same with OR would be a filter over all of it.
        at, last_id = last
        here = sa.tuple_(self.at, self.id)
        there = sa.tuple_(sa.literal(at, UtcDateTime()), sa.literal(last_id, Id))
        return (here < there,) if self.newest else (here > there,)


def newest_first(table: sa.FromClause, within: tuple[sa.ColumnElement[Any], ...] = ()) -> Order:
    """Return the order of most lists."""
    return Order(table.c.created_at, table.c.id, newest=True, within=within)


def soonest_first(table: sa.FromClause, within: tuple[sa.ColumnElement[Any], ...] = ()) -> Order:
    """Return the order of what is due later."""
    return Order(table.c.due_at, table.c.id, newest=False, within=within)


def make_cursor(at: datetime, row_id: str) -> str:
    """Return the cursor that names a row by its instant and id."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode()


def _parse_cursor(raw: str | None) -> tuple[datetime, str] | None:
    if not raw:
        return None
    try:
        at, last_id = base64.urlsafe_b64decode(raw.encode()).decode().split(" ")
        instant = datetime.fromisoformat(at)
    except (ValueError, binascii.Error, UnicodeError):
        return None
    known = parse_id(last_id)
    return None if known is None or instant.tzinfo is None else (instant, known)
