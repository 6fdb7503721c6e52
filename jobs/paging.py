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
from jobs.model import Document, QueueItem

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list, and where it goes on (``None`` at the end)."""

    rows: list[Row]
    next_cursor: str | None


def newest_first(table: sa.Table) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """Return the order of every list; the id decides between rows of the same instant."""
    return table.c.created_at.desc(), table.c.id.desc()


def keyset(statement: Any, table: sa.Table, before: str | None, limit: int) -> Any:
    """Turn a statement into one page of it.

    Args:
        statement: selects from ``table``.
        table: has ``created_at`` and ``id``.
        before: the cursor of the page before; the first page when ``None``.
        limit: rows of a page; one more is asked for, to know whether there is another page.
    """
    last = _parse_cursor(before)
    if last is not None:
        at, last_id = last
        statement = statement.where(
            sa.or_(table.c.created_at < at, sa.and_(table.c.created_at == at, table.c.id < last_id))
        )
    return statement.order_by(*newest_first(table)).limit(limit + 1)


def cursor_of(row: Document | QueueItem) -> str:
    """Return the cursor that names a row."""
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()} {row.id}".encode()).decode()


def _parse_cursor(raw: str | None) -> tuple[datetime, str] | None:
    """Read a cursor; an unreadable one begins at the top."""
    if not raw:
        return None
    try:
        at, last_id = base64.urlsafe_b64decode(raw.encode()).decode().split(" ")
        instant = datetime.fromisoformat(at)
    except (ValueError, binascii.Error, UnicodeError):
        return None
    known = parse_id(last_id)
    return None if known is None or instant.tzinfo is None else (instant, known)
