"""The lists, a page at a time: each walks an index until its page is full.

A page is read in two steps: the keys of its rows from the index that has the list's order, then the rows.
So the cost of a page is that of its rows, however many there are beside them, whoever asks, and however
rare the label. Only a search by name reads rows that it does not show, and it stops after
:data:`SEARCHED_AT_ONCE` of them, says so, and can be continued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jobs.claims import is_running, looked_up
from jobs.database import reading
from jobs.ids import parse_id
from jobs.model import Document, Label, QueueItem, Status, UserId
from jobs.paging import Order, Page, make_cursor, newest_first
from jobs.queries import labels
from jobs.queries.base import Reads, Scope, scope
from jobs.rows import ITEM_COLUMNS, to_document, to_item
from jobs.tables import SEGMENTS, SEGMENTS_OF, artifacts, child_documents, documents, queue_items, results

SEARCHED_AT_ONCE = 10_000
_HASH_DIGITS = 64

_Conditions = tuple[sa.ColumnElement[bool], ...]
_Statement = sa.Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document as lists show it, with its newest item."""

    document: Document
    item: QueueItem | None
    title: str | None
    page_count: int | None


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A queue item as lists show it."""

    item: QueueItem
    filename: str


@dataclass(frozen=True, slots=True)
class _Source:
    """What a list walks along.

    Attributes:
        table: ``documents`` or ``queue_items``.
        order: the list's order, which the indexes have as well.
        branches: conditions, each served by one range of an index; the list is what they all leave, merged.
        by_id: the conditions name the rows' ids instead, of which there are few.
    """

    table: sa.Table
    order: Order
    branches: tuple[_Conditions, ...]
    by_id: bool = False

    @property
    def document_id(self) -> sa.ColumnElement[str]:
        """The document that a row is about."""
        return self.table.c.id if self.table is documents else self.table.c.document_id

    def walk(self, before: str | None, most: int) -> _Statement:
        """Select the next rows: ``at`` and ``id`` for the cursor, ``document_id``; a document's names."""
        columns = (
            self.order.at.label("at"),
            self.order.id.label("id"),
            self.document_id.label("document_id"),
            *((documents.c.filename, documents.c.sha256) if self.table is documents else ()),
        )
        parts = [
            sa.select(*columns)
            .where(*branch, *self.order.after(before))
            .order_by(*self.order.by())
            .limit(most)
            for branch in self.branches
        ]
        if self.by_id:
            parts = [looked_up(part) for part in parts]
        if len(parts) == 1:
            return parts[0]
        merged = sa.union_all(*(sa.select(part.subquery()) for part in parts)).subquery()
        order = Order(merged.c.at, merged.c.id, newest=self.order.newest)
        return sa.select(merged).order_by(*order.by()).limit(most)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The rows of a page, by what the next step needs, and what :class:`jobs.paging.Page` tells besides."""

    ids: list[str]
    document_ids: list[str]
    next_cursor: str | None
    searched: int | None = None


class Lists(Reads):
    """Documents, items, counts."""

    def documents(
        self,
        *,
        owner: UserId | None,
        label: str | None = None,
        text: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Page[DocumentRow]:
        """Return documents, each with its newest item.

        Args:
            owner: whose; everybody's when ``None``.
            label: only those whose newest item has this :class:`jobs.model.Label`.
            text: only those whose name contains this, or whose hash begins with it, or whose id it is.
            before: the cursor of the page before.
            limit: at most this many rows.

        Returns:
            A page: by the document's age, newest first; with a label by its item's age; what is scheduled
            or will be retried, soonest first.
        """
        if label is None:
            mine = self._scope(documents, owner)
            source = _Source(documents, newest_first(documents, mine.within), (mine.where,))
        else:
            mine, wanted = self._scope(queue_items, owner), Label(label)
            order = labels.list_order(wanted, mine)
            shown = labels.shown_as(wanted, mine, self._clock.dialect)
            source = _Source(queue_items, order, (shown,), by_id=wanted is Label.RUNNING)
        with reading(self._engine) as connection:
            keys = _find_keys(connection, source, text, before, limit)
            return Page(_document_rows(connection, keys.document_ids), keys.next_cursor, keys.searched)

    def children(self, document_id: str, *, after: str | None = None, limit: int = 50) -> Page[DocumentRow]:
        """Return the documents that were taken out of one, in their order in it.

        Args:
            document_id: the mail or archive.
            after: the cursor of the page before.
            limit: at most this many rows.
        """
        position = child_documents.c.position
        last = int(after) if after is not None and after.isdecimal() and len(after) < 10 else -1
        statement = (
            sa.select(child_documents.c.document_id, position)
            .where(child_documents.c.parent_id == document_id, position > last)
            .order_by(position)
            .limit(limit + 1)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(statement).all()
            cursor = str(rows[limit - 1].position) if len(rows) > limit else None
            return Page(_document_rows(connection, [row.document_id for row in rows[:limit]]), cursor, None)

    def items(
        self,
        *,
        owner: UserId | None = None,
        status: str | None = None,
        text: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Page[ItemRow]:
        """Return queue items, newest first.

        Args:
            owner: whose; everybody's when ``None``.
            status: only those in this stored state.
            text: only documents whose name contains this, or whose hash begins with it, or whose id it is.
            before: the cursor of the page before.
            limit: at most this many rows.
        """
        mine = self._scope(queue_items, owner)
        branches: tuple[_Conditions, ...]
        if status == Status.IN_PROGRESS:
            branches = ((*mine.where, is_running(self._clock.dialect)),)
        else:
            # Items are in order within each part of a segment: one index serves all these lists.
            names = SEGMENTS_OF[Status(status)] if status else SEGMENTS
            of_status = (queue_items.c.status == labels.PENDING,) if status == Status.PENDING else ()
            branches = tuple(
                (*mine.where, *labels.in_segment(name), superseded, *of_status)
                for name in names
                for superseded in (queue_items.c.superseded, ~queue_items.c.superseded)
            )
        order = newest_first(queue_items, mine.within)
        source = _Source(queue_items, order, branches, by_id=status == Status.IN_PROGRESS)
        with reading(self._engine) as connection:
            keys = _find_keys(connection, source, text, before, limit)
            return Page(_item_rows(connection, keys.ids), keys.next_cursor, keys.searched)

    def counts(self, owner: UserId | None = None) -> dict[str, int]:
        """Count documents by the label of their newest item, as the list's segments show them.

        Args:
            owner: whose; everybody's when ``None``.

        Returns:
            A number for each :class:`jobs.model.Label`, and for ``all`` documents. One above
            :data:`jobs.queries.COUNTED_TO` stands for that many or more.
        """
        scopes = self._scope(documents, owner), self._scope(queue_items, owner)
        statement = labels.counts(*scopes, self._clock.dialect)
        with reading(self._engine) as connection:
            return dict(connection.execute(statement).mappings().one())

    def _scope(self, table: sa.Table, owner: UserId | None) -> Scope:
        return scope(table, owner, self._clock.dialect)


def _find_keys(
    connection: sa.Connection, source: _Source, text: str | None, before: str | None, limit: int
) -> _Keys:
    if not text:
        return _keys(connection.execute(source.walk(before, limit + 1)).all(), limit)
    exact = _exact(text)
    if exact is not None:
        known = sa.select(documents.c.id).where(exact).order_by(documents.c.created_at.desc())
        ids = list(connection.execute(known.limit(SEARCHED_AT_ONCE)).scalars())
        branches = tuple((*branch, source.document_id.in_(ids)) for branch in source.branches)
        source = _Source(source.table, source.order, branches, source.by_id)
        return _keys(connection.execute(source.walk(before, limit + 1)).all(), limit)
    looked_at = source.walk(before, SEARCHED_AT_ONCE)
    inner = looked_at.subquery("looked_at")
    order = Order(inner.c.at, inner.c.id, newest=source.order.newest)
    matching = sa.select(inner).order_by(*order.by()).limit(limit + 1)
    if source.table is documents:
        matching = matching.where(_matches(text, inner))
    else:
        # Looked up row by row; of a join PostgreSQL would make a scan of all documents.
        named = sa.select(_matches(text, documents)).where(documents.c.id == inner.c.document_id)
        matching = matching.where(named.scalar_subquery())
    keys = _keys(connection.execute(matching).all(), limit)
    if keys.next_cursor is not None:
        return keys
    last = connection.execute(
        sa.select(inner.c.at, inner.c.id).order_by(*order.by()).offset(SEARCHED_AT_ONCE - 1)
    ).one_or_none()
    if last is None:
        return keys
    return _Keys(keys.ids, keys.document_ids, make_cursor(last.at, last.id), SEARCHED_AT_ONCE)


def _keys(rows: Sequence[sa.Row[Any]], limit: int) -> _Keys:
    """Make a page's keys of its rows and one more, if there is one more."""
    shown = rows[:limit]
    cursor = make_cursor(shown[-1].at, shown[-1].id) if len(rows) > limit else None
    return _Keys([row.id for row in shown], [row.document_id for row in shown], cursor)


def _exact(text: str) -> sa.ColumnElement[bool] | None:
    """Return the condition of a document's id or whole hash, which an index answers."""
    known = parse_id(text)
    if known is not None:
        return documents.c.id == known
    digits = text.lower()
    if len(digits) == _HASH_DIGITS and not digits.strip("0123456789abcdef"):
        return documents.c.sha256 == digits
    return None


def _matches(text: str, names: sa.FromClause) -> sa.ColumnElement[bool]:
    wanted = text.lower()
    return sa.or_(
        sa.func.lower(names.c.filename).contains(wanted, autoescape=True),
        names.c.sha256.startswith(wanted, autoescape=True),
    )


def _document_rows(connection: sa.Connection, ids: list[str]) -> list[DocumentRow]:
    """Read documents with their newest items and what lists show of their results, in the ids' order."""
    found = {
        row.id: to_document(row)
        for row in connection.execute(sa.select(documents).where(documents.c.id.in_(ids)))
    }
    newest = sa.select(*ITEM_COLUMNS).where(queue_items.c.document_id.in_(ids), ~queue_items.c.superseded)
    items = {item.document_id: item for item in map(to_item, connection.execute(newest))}
    metas: dict[str, dict[str, Any]] = {}
    for row in connection.execute(
        sa.select(results.c.document_id, artifacts.c.meta)
        .join(artifacts, artifacts.c.id == results.c.artifact_id)
        .where(results.c.document_id.in_(ids))
        .order_by(results.c.created_at)
    ):
        merged = metas.setdefault(row.document_id, {})
        merged.update({key: value for key, value in row.meta.items() if value is not None})
    return [
        DocumentRow(
            document=found[document_id],
            item=items.get(found[document_id].id),
            title=metas.get(document_id, {}).get("title"),
            page_count=metas.get(document_id, {}).get("page_count"),
        )
        for document_id in ids
        if document_id in found
    ]


def _item_rows(connection: sa.Connection, ids: list[str]) -> list[ItemRow]:
    statement = (
        sa.select(*ITEM_COLUMNS, documents.c.filename)
        .join(documents, documents.c.id == queue_items.c.document_id)
        .where(queue_items.c.id.in_(ids))
    )
    found: dict[str, ItemRow] = {
        row.id: ItemRow(to_item(row), row.filename) for row in connection.execute(statement)
    }
    return [found[item_id] for item_id in ids if item_id in found]
