"""All events in one order that misses none: the feed for programs that keep up with the whole queue.

An event's number is given out when it is written, yet it is seen when its transaction commits: on
PostgreSQL number 7 may appear after number 8 was read, and a reader who only asks for higher numbers
misses it for ever. So the feed goes by the transaction's number first, and stops below the oldest
transaction that is still open: what lies below can neither grow nor change places. One long transaction,
in any database of the server, holds up the feed; it never makes it wrong.

On SQLite there is one writer at a time, and numbers rise in the order of the commits.

Source: https://www.postgresql.org/docs/current/functions-info.html, "Snapshot Components".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa

from jobs.database import reading
from jobs.model import Event, UserId
from jobs.rows import to_event
from jobs.tables import events

LATEST = "latest"
"""In place of a cursor: begin with what happens from now on."""


@dataclass(frozen=True, slots=True)
class _Place:
    """After which event a reader stands: its transaction's number, then its own."""

    tx: int
    seq: int

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """Read a cursor; none is the beginning.

        Raises:
            ValueError: it is not one of ours.
        """
        if not cursor:
            return cls(0, 0)
        try:
            tx, seq = base64.urlsafe_b64decode(cursor.encode("ascii")).decode("ascii").split(".")
            place = cls(int(tx), int(seq))
        except (ValueError, binascii.Error) as error:
            raise ValueError("This is not a cursor of the event feed.") from error
        if not (0 <= place.tx < 2**63 and 0 <= place.seq < 2**63):
            raise ValueError("This is not a cursor of the event feed.")
        return place

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.tx}.{self.seq}".encode()).decode()


class EventFeed:
    """Reads events in the order of their commits, exactly once each.

    Args:
        engine: the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._by_transaction = engine.dialect.name == "postgresql"

    def read(self, cursor: str | None, *, owner: UserId | None, limit: int = 500) -> tuple[list[Event], str]:
        """Return the events after a cursor, and the cursor to ask with next.

        Events of items that were purged or deleted in the meantime are gone; a reader who asks more often
        than ``RETAIN_*_DAYS`` sees everything.

        Args:
            cursor: what was returned last time; ``None`` for the oldest event there is, :data:`LATEST` for
                none of those that there are.
            owner: whose; everybody's when ``None``.
            limit: at most this many, 1 or more.

        Returns:
            The events, in an order that is the same for every reader, and a cursor that is never
            ``None``: asking again with it goes on where this answer ended.

        Raises:
            ValueError: the cursor cannot be read, or belongs to another database (one that this was
                restored from).
        """
        with reading(self._engine) as connection:
            # Read before the rows: what is over by now, a later statement sees whole.
            end = self._end(connection)
            if cursor == LATEST:
                return [], str(end)
            start = _Place.parse(cursor)
            if (start.tx, start.seq) > (end.tx, max(end.seq, start.seq)):
                raise ValueError("This cursor is ahead of the database; begin again without one.")
            statement = self._between(start, end).limit(limit)
            if owner is not None:
                statement = statement.where(events.c.owner_id == owner)
            rows = connection.execute(statement).all()
        found = [to_event(row) for row in rows]
        if len(rows) == limit:
            return found, str(_Place(rows[-1].tx, rows[-1].seq))
        # Everything up to the end was looked at, whoever's it was: the next reading begins there.
        if not self._by_transaction:
            end = _Place(0, max(end.seq, start.seq, rows[-1].seq if rows else 0))
        return found, str(end)

    def _between(self, start: _Place, end: _Place) -> sa.Select[Any]:
        if not self._by_transaction:
            # Every transaction's number is 0.
            return sa.select(events).where(events.c.seq > start.seq).order_by(events.c.seq)
        place = sa.tuple_(events.c.tx, events.c.seq)
        begin = sa.tuple_(sa.literal(start.tx, sa.BigInteger()), sa.literal(start.seq, sa.BigInteger()))
        return (
            sa.select(events).where(place > begin, events.c.tx < end.tx).order_by(events.c.tx, events.c.seq)
        )

    def _end(self, connection: sa.Connection) -> _Place:
        """Return the place after which everything can still change."""
        if self._by_transaction:
            oldest_open = sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            return _Place(connection.execute(oldest_open).scalar_one(), 0)
        return _Place(0, connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0)
