"""Which items a bulk operation means: read along an index, a bounded number of rows at a time.

No statement here looks at more rows than it is told, however few of them match and however long the table is:
a part of an index is cut off first, and only then is each row of it asked whether it is meant.

=====================  ===========================================================================
what the filter names  the index that is walked
=====================  ===========================================================================
``ids``                the primary key
an owner               ``ix_documents_owner_id_created_at_id``, then ``ix_queue_items_document_id_created_at``
anything else          ``ix_queue_items_newest``, once for each part of each state, merged
=====================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from jobs.bulk.request import COUNT_CAP, STATUSES_OF, BulkFilter, BulkKind
from jobs.claims import is_running, looked_up
from jobs.database import Clock
from jobs.ids import parse_id
from jobs.model import JSON, OPEN_STATUSES, Label, Status
from jobs.tables import SEGMENTS_OF, Id, UtcDateTime, documents, queue_items

# Where few rows match, so many of them are looked at for each that may.
_LOOKED_AT = 10
_LOOKED_AT_FOR_A_COUNT = 50_000

_SEEN = (
    "id", "document_id", "owner_id", "operation", "status", "priority", "due_at", "created_at", "failures",
    "crashes", "cancel_requested_at", "error_code", "queue",
)  # fmt: skip

# No item has it: without an index to go by SQLite would plan to look through them all for nothing.
_NOBODYS_ID = "00000000-0000-0000-0000-000000000000"

Columns = sa.ColumnCollection[str, sa.ColumnElement[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for.

    Attributes:
        created_before: the operation's own beginning; what came later is not meant.
    """

    kind: BulkKind
    filter: BulkFilter
    arguments: dict[str, JSON]
    created_before: datetime


@dataclass(frozen=True, slots=True)
class Slice:
    """The next items of an operation.

    Attributes:
        item_ids: what to change, in order.
        skipped: how many beside them match but cannot be changed.
        cursor: where the next slice begins.
        is_last: nothing is left behind it.
    """

    item_ids: list[str]
    skipped: int
    cursor: str | None
    is_last: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many items of one state match.

    Attributes:
        matching: how many, at most ``COUNT_CAP``.
        blocked: how many of them something else keeps from being changed.
        capped: there may be more.
    """

    matching: int
    blocked: int
    capped: bool


class Candidates:
    """Reads which items are meant.

    Args:
        dialect: ``"sqlite"`` or ``"postgresql"``.
    """

    def __init__(self, dialect: str) -> None:
        self._clock = Clock(dialect)

    def take(self, connection: sa.Connection, wanted: Wanted, cursor: str | None, most: int) -> Slice:
        """Return the next slice.

        Args:
            connection: in a transaction.
            wanted: what to look for.
            cursor: where the slice before ended; ``None`` at the beginning.
            most: about how many items to return; the items of one document stay together.
        """
        if wanted.filter.ids:
            return self._take_ids(connection, wanted, cursor, most)
        looked_at = most * _LOOKED_AT if self._is_selective(wanted) else most
        rows = connection.execute(self.statement(wanted, _parse(cursor), looked_at)).all()
        groups = [(key, list(group)) for key, group in groupby(rows, lambda row: (row.at, row.key))]
        item_ids: list[str] = []
        skipped = 0
        is_last = len(groups) < looked_at
        for (at, key), group in groups:
            if len(item_ids) + skipped >= most:
                is_last = False
                break
            cursor = f"{at.isoformat()} {key}"
            item_ids += [row.id for row in group if row.matches and not row.blocked]
            skipped += sum(bool(row.matches and row.blocked) for row in group)
        return Slice(item_ids, skipped, cursor, is_last)

    def _take_ids(self, connection: sa.Connection, wanted: Wanted, cursor: str | None, most: int) -> Slice:
        left = [one for one in wanted.filter.ids if cursor is None or one > cursor]
        rows = connection.execute(self._asked(self._by_ids(left[:most]), wanted)).all()
        can = STATUSES_OF[wanted.kind]
        matching = [row for row in rows if row.matches]
        item_ids = [row.id for row in matching if not row.blocked and row.status in can]
        return Slice(
            item_ids,
            len(matching) - len(item_ids),
            left[:most][-1] if left else cursor,
            is_last=len(left) <= most,
        )

    def statement(self, wanted: Wanted, after: tuple[datetime, str] | None, looked_at: int) -> sa.Select[Any]:
        """Return the statement that looks at the next rows of the walk; not for ids.

        Args:
            wanted: what to look for.
            after: the last key dealt with.
            looked_at: how many items, or documents of an owner, to look at.
        """
        can = STATUSES_OF[wanted.kind]
        statuses = [status for status in wanted.filter.statuses if status in can]
        if wanted.filter.owner_id is not None:
            walked = self._by_owner(wanted, statuses, after, looked_at)
        else:
            walked = self._by_status(wanted, dict.fromkeys(statuses, looked_at), after, looked_at)
        return self._asked(walked, wanted)

    def count(self, connection: sa.Connection, wanted: Wanted) -> dict[Status, Count]:
        """Count the items that match, by state, as far as ``COUNT_CAP``."""
        can = STATUSES_OF[wanted.kind]
        selective = self._is_selective(wanted)
        limits = {
            status: _LOOKED_AT_FOR_A_COUNT if selective and status in can else COUNT_CAP
            for status in wanted.filter.statuses
        }
        cut_off = False
        if wanted.filter.ids:
            walked = self._by_ids(wanted.filter.ids)
        elif wanted.filter.owner_id is not None:
            walked = self._by_owner(wanted, list(limits), None, COUNT_CAP)
            whole = sa.select(sa.func.count()).select_from(
                self._documents_of(wanted, None, COUNT_CAP).subquery()
            )
            cut_off = connection.execute(whole).scalar_one() == COUNT_CAP
        else:
            walked = self._by_status(wanted, limits, None, None)
        asked = self._asked(walked, wanted).order_by(None).subquery()
        counted = sa.select(
            asked.c.status,
            sa.func.count().label("looked_at"),
            sa.func.count().filter(asked.c.matches).label("matching"),
            sa.func.count().filter(sa.and_(asked.c.matches, asked.c.blocked)).label("blocked"),
        ).group_by(asked.c.status)
        found = {row.status: row for row in connection.execute(counted)}
        counts = {}
        for status, limit in limits.items():
            row = found.get(status)
            matching, blocked, looked_at = (row.matching, row.blocked, row.looked_at) if row else (0, 0, 0)
            counts[status] = Count(
                min(matching, COUNT_CAP),
                min(blocked, COUNT_CAP),
                capped=not wanted.filter.ids and (cut_off or looked_at >= limit or matching > COUNT_CAP),
            )
        return counts

    # Walks: a bounded part of an index.

    def _by_ids(self, ids: Sequence[str]) -> sa.Subquery:
        return (
            sa.select(
                sa.literal(None, UtcDateTime()).label("at"),
                queue_items.c.id.label("key"),
                *_seen(queue_items),
            )
            .where(queue_items.c.id.in_(ids))
            .subquery("walked")
        )

    def _by_status(
        self,
        wanted: Wanted,
        limits: dict[Status, int],
        after: tuple[datetime, str] | None,
        looked_at: int | None,
    ) -> sa.Subquery:
        order = (queue_items.c.created_at, queue_items.c.id)
        within: list[sa.ColumnElement[bool]] = [queue_items.c.created_at < _end(wanted)]
        if wanted.filter.created_after is not None:
            within.append(queue_items.c.created_at >= wanted.filter.created_after)
        if after is not None:
            within.append(sa.tuple_(*order) > _literals(after))
        parts = [
            sa.select(self._of_status(status, within, limit).subquery(f"of_{status}"))
            for status, limit in limits.items()
        ]
        if not parts:
            # The kind cannot change anything of the state asked for.
            parts = [sa.select(*_seen(queue_items)).where(queue_items.c.id == _NOBODYS_ID)]
        merged = (sa.union_all(*parts) if len(parts) > 1 else parts[0]).subquery("merged")
        walked = sa.select(merged.c.created_at.label("at"), merged.c.id.label("key"), *merged.c)
        if looked_at is not None:
            walked = walked.order_by(merged.c.created_at, merged.c.id).limit(looked_at)
        return walked.subquery("walked")

    def _of_status(
        self, status: Status, within: Sequence[sa.ColumnElement[bool]], limit: int
    ) -> sa.Select[Any]:
        """Select the oldest items of a state: each part of it is in order in an index; few run."""
        order = (queue_items.c.created_at, queue_items.c.id)
        chosen = sa.select(*_seen(queue_items)).where(*within)
        if status is Status.IN_PROGRESS:
            running = chosen.where(is_running(self._clock.dialect)).order_by(*order).limit(limit)
            return looked_up(running)
        of_status = (queue_items.c.status == status,) if status is Status.PENDING else ()
        parts = [
            sa.select(
                chosen.where(
                    queue_items.c.segment == sa.literal_column(f"'{segment}'"), superseded, *of_status
                )
                .order_by(*order)
                .limit(limit)
                .subquery(f"{segment}_{number}")
            )
            for segment in SEGMENTS_OF[status]
            for number, superseded in enumerate((~queue_items.c.superseded, queue_items.c.superseded))
        ]
        merged = sa.union_all(*parts).subquery(f"parts_of_{status}")
        return sa.select(merged).order_by(merged.c.created_at, merged.c.id).limit(limit)

    def _documents_of(
        self, wanted: Wanted, after: tuple[datetime, str] | None, looked_at: int
    ) -> sa.Select[Any]:
        order = (documents.c.created_at, documents.c.id)
        statement = sa.select(documents.c.created_at.label("at"), documents.c.id.label("key")).where(
            documents.c.owner_id == wanted.filter.owner_id, documents.c.created_at < _end(wanted)
        )
        if after is not None:
            statement = statement.where(sa.tuple_(*order) > _literals(after))
        return statement.order_by(*order).limit(looked_at)

    def _by_owner(
        self,
        wanted: Wanted,
        statuses: Sequence[Status],
        after: tuple[datetime, str] | None,
        looked_at: int,
    ) -> sa.Subquery:
        owned = self._documents_of(wanted, after, looked_at).subquery("owned")
        within = [
            queue_items.c.document_id == owned.c.key,
            queue_items.c.status.in_(statuses),
            queue_items.c.created_at < _end(wanted),
        ]
        if wanted.filter.created_after is not None:
            within.append(queue_items.c.created_at >= wanted.filter.created_after)
        if self._clock.dialect == "sqlite":
            beside: sa.FromClause = queue_items
            joined = owned.outerjoin(queue_items, sa.and_(*within))
        else:
            # The offset keeps PostgreSQL looking items up by document, where it might read all there are.
            beside = sa.select(*_seen(queue_items)).where(*within).offset(0).lateral("items")
            joined = owned.outerjoin(beside, sa.true())
        return sa.select(owned, *_seen(beside)).select_from(joined).subquery("walked")

    # Questions to each row of it.

    def _asked(self, walked: sa.Subquery, wanted: Wanted) -> sa.Select[Any]:
        return sa.select(
            walked.c.at,
            walked.c.key,
            walked.c.id,
            walked.c.status,
            sa.and_(walked.c.id.is_not(None), *self._matches(walked.c, wanted.filter)).label("matches"),
            self._blocked(walked.c, wanted).label("blocked"),
        ).order_by(walked.c.at, walked.c.key, walked.c.created_at, walked.c.id)

    def _matches(self, seen: Columns, wanted: BulkFilter) -> list[sa.ColumnElement[bool]]:
        """Return what the walk itself has not decided."""
        equal = ("status", "operation", "queue", "owner_id", "error_code")
        conditions = [
            seen[name] == getattr(wanted, name) for name in equal if getattr(wanted, name) is not None
        ]
        if wanted.label is not None:
            conditions += self._shown_as(seen, wanted.label)
        if wanted.text is not None:
            conditions.append(_named(seen, wanted.text))
        return conditions

    def _shown_as(self, seen: Columns, label: Label) -> list[sa.ColumnElement[bool]]:
        """The SQL twin of :func:`jobs.states.label`, for items whose state fits already."""
        tried = seen["failures"] + seen["crashes"] > 0
        due = seen["due_at"] <= self._clock.now
        quarantined = sa.func.coalesce(seen["error_code"], "") == "quarantined"
        return {
            Label.WAITING: [due],
            Label.SCHEDULED: [~due, ~tried],
            Label.RETRYING: [~due, tried],
            Label.FAILED: [~quarantined],
            Label.QUARANTINED: [quarantined],
        }.get(label, [])

    def _blocked(self, seen: Columns, wanted: Wanted) -> sa.ColumnElement[bool]:
        """Tell of an item in the right state whether it still cannot, or need not, be changed."""
        match wanted.kind:
            case BulkKind.RETRY:
                other = queue_items.alias("other")
                # Asked for each row by itself: an EXISTS may be answered by reading the whole table once.
                return (
                    sa.select(other.c.id)
                    .where(
                        other.c.document_id == seen["document_id"],
                        other.c.operation == seen["operation"],
                        other.c.status.in_(OPEN_STATUSES),
                    )
                    .limit(1)
                    .scalar_subquery()
                    .is_not(None)
                )
            case BulkKind.CANCEL:
                return seen["cancel_requested_at"].is_not(None)
            case BulkKind.CHANGE_PRIORITY:
                return seen["priority"] == wanted.arguments["priority"]
            case BulkKind.DELETE:
                return sa.false()

    def _is_selective(self, wanted: Wanted) -> bool:
        """Tell whether a walk may meet many rows that do not match."""
        named = wanted.filter
        rare = (named.owner_id, named.label, named.operation, named.queue, named.error_code, named.text)
        return any(one is not None for one in rare)


def _named(seen: Columns, text: str) -> sa.ColumnElement[bool]:
    known = parse_id(text)
    if known is not None:
        return seen["document_id"] == known
    lowered = text.lower()
    fits = sa.or_(
        sa.func.lower(documents.c.filename).contains(lowered, autoescape=True),
        documents.c.sha256.startswith(lowered, autoescape=True),
    )
    return sa.select(fits).where(documents.c.id == seen["document_id"]).scalar_subquery()


def _seen(source: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    return [source.c[name] for name in _SEEN]


def _end(wanted: Wanted) -> datetime:
    named = wanted.filter.created_before
    return wanted.created_before if named is None else min(named, wanted.created_before)


def _literals(after: tuple[datetime, str]) -> sa.ColumnElement[Any]:
    return sa.tuple_(sa.literal(after[0], UtcDateTime()), sa.literal(after[1], Id))


def _parse(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    at, _, key = cursor.partition(" ")
    return datetime.fromisoformat(at), key
