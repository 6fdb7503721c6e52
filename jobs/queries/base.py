"""What every read is built on: the engine, the clock, and who may see a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jobs.database import Clock, reading
from jobs.model import UserId
from jobs.tables import Id


class Reads:
    """The database.

    Args:
        engine: made by :func:`jobs.database.make_engine` in this process.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._clock = Clock(engine.dialect.name)

    def now(self) -> datetime:
        """Return the database's time."""
        with reading(self._engine) as connection:
            return self._clock.read(connection)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows a list shows, written so that the index is used that begins with the owner.

    Attributes:
        where: leaves an owner's rows; nothing for everybody's.
        within: what to order by first.
    """

    where: tuple[sa.ColumnElement[bool], ...] = ()
    within: tuple[sa.ColumnElement[Any], ...] = ()


def scope(table: sa.Table, owner: UserId | None, dialect: str) -> Scope:
    """Return the scope of an owner's list of a table; of everybody's when the owner is ``None``.

    PostgreSQL believes that an owner's rows are spread evenly over all, and so walks everybody's index for
    an owner of many, past all that others have added since. Asked for one of a list of owners, in the order
    of owners, only the owner's own index will do.
    """
    if owner is None:
        return Scope()
    column = table.c.owner_id
    if dialect == "postgresql":
        return Scope((column == sa.any_(sa.literal([owner], sa.ARRAY(Id))),), (column,))
    return Scope((column == owner,), (column,))


def owned(table: sa.Table, owner: UserId | None) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that leaves an owner's rows; none when the owner is ``None``."""
    return () if owner is None else (table.c.owner_id == owner,)
