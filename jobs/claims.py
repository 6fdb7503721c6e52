"""What runs: found by the claims, because no index of the items names what a claim writes.

A claim's row is written with the claim, and deleted when none of its items is held by it any more. It may
outlive them for a while, never the reverse: whoever asks here looks at each item's own state besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from jobs.model import Status
from jobs.tables import Id, claims, queue_items

BY_ID = "INDEXED BY sqlite_autoindex_queue_items_1"
"""Without statistics SQLite would rather look through every item of a state than for more than a few ids."""


def is_running(dialect: str, *of: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Tell in SQL that an item runs, so that the items are looked up by their ids; see :func:`looked_up`.

    Args:
        dialect: ``"sqlite"`` or ``"postgresql"``.
        of: which claims to look at; all without.
    """
    return sa.and_(_among_claimed(dialect, *of), queue_items.c.status == Status.IN_PROGRESS)


def looked_up(statement: sa.Select[Any]) -> sa.Select[Any]:
    """Make SQLite look items up by their ids; PostgreSQL does by itself."""
    return statement.with_hint(queue_items, BY_ID, "sqlite")


def is_free(dialect: str, but: Sequence[str] = ()) -> sa.ColumnElement[bool]:
    """Tell in SQL of a claim's row that it holds no item any more.

    Args:
        dialect: ``"sqlite"`` or ``"postgresql"``.
        but: items to leave out, because the same statement ends them.
    """
    # By alias: within a statement about items these are others.
    held = queue_items.alias("held")
    each = _each_id(dialect)
    running = sa.exists().where(
        held.c.id == each.c.value, held.c.lease_id == claims.c.lease_id, held.c.status == Status.IN_PROGRESS
    )
    if but:
        running = running.where(
            held.c.id != sa.all_(sa.literal(list(but), sa.ARRAY(Id)))
            if dialect == "postgresql"
            else held.c.id.not_in(but)
        )
    return ~running.correlate(claims)


def _among_claimed(dialect: str, *of: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    each = _each_id(dialect)
    ids = sa.select(each.c.value).select_from(claims.join(each, sa.true())).where(*of)
    if dialect == "postgresql":
        # As an array it is looked up by the key, however many PostgreSQL believes to come.
        return queue_items.c.id == sa.any_(sa.func.array(ids.scalar_subquery()))
    return queue_items.c.id.in_(ids)


def _each_id(dialect: str) -> Any:
    """Unfold the ids of a claim's row, as a table with one column ``value``."""
    column = sa.column("value", queue_items.c.id.type)
    if dialect == "postgresql":
        return sa.func.unnest(claims.c.item_ids).table_valued(column, name="each_id").render_derived()
    return sa.func.json_each(claims.c.item_ids).table_valued(column, name="each_id")
