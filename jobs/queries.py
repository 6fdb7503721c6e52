"""Reads for pages, the API and the runner; nothing here changes a row.

``owner=None`` sees everything; otherwise a foreign row looks like a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jobs.database import Clock, reading
from jobs.errors import DocumentNotFound, ItemNotFound
from jobs.ids import parse_id
from jobs.model import Artifact, Attempt, Document, Event, Label, QueueItem, Status, UserId
from jobs.paging import Page, cursor_of, keyset, newest_first
from jobs.rows import ITEM_COLUMNS, to_artifact, to_attempt, to_document, to_event, to_item
from jobs.tables import artifacts, attempts, documents, events, queue_items, results, workers


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
class WorkerRow:
    """A worker, and what it does."""

    name: str
    host: str
    pid: int
    state: str
    started_at: datetime
    seen_at: datetime
    alive: bool
    item: QueueItem | None
    filename: str | None


class Queries:
    """The reads.

    Args:
        engine: the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._clock = Clock(engine.dialect.name)

    def now(self) -> datetime:
        """Return the database's time."""
        with reading(self._engine) as connection:
            return self._clock.read(connection)

    # Documents.

    def document(self, document_id: str, *, owner: UserId | None) -> Document:
        """Return a document.

        Raises:
            DocumentNotFound: there is none with this id for this owner.
        """
        known = parse_id(document_id)
        if known is not None:
            statement = sa.select(documents).where(documents.c.id == known, *_owned(documents, owner))
            with reading(self._engine) as connection:
                row = connection.execute(statement).one_or_none()
            if row is not None:
                return to_document(row)
        raise DocumentNotFound("There is no such document.")

    def documents(
        self,
        *,
        owner: UserId | None,
        label: str | None = None,
        text: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Page[DocumentRow]:
        """Return documents, newest first, each with its newest item.

        Args:
            owner: whose; everybody's when ``None``.
            label: only those whose newest item has this :class:`jobs.model.Label`.
            text: only those whose name contains this, or whose hash begins with it, or whose id is it.
            before: the cursor of the page before.
            limit: at most this many rows.
        """
        newest = self._newest_item_id()
        statement = (
            sa.select(documents.c.id)
            .select_from(documents.outerjoin(queue_items, queue_items.c.id == newest))
            .where(*_owned(documents, owner), *_matches(text), *self._labelled(label))
        )
        statement = keyset(statement, documents, before, limit)
        with reading(self._engine) as connection:
            ids = [row.id for row in connection.execute(statement)]
            rows = self._document_rows(connection, ids[:limit])
        return Page(rows, cursor_of(rows[-1].document) if len(ids) > limit else None)

    def _document_rows(self, connection: sa.Connection, ids: list[str]) -> list[DocumentRow]:
        newest = self._newest_item_id()
        found = connection.execute(
            sa.select(documents).where(documents.c.id.in_(ids)).order_by(*newest_first(documents))
        )
        items = {
            item.document_id: item
            for item in map(
                to_item,
                connection.execute(
                    sa.select(*ITEM_COLUMNS)
                    .select_from(documents.join(queue_items, queue_items.c.id == newest))
                    .where(documents.c.id.in_(ids))
                ),
            )
        }
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
                document=document,
                item=items.get(document.id),
                title=metas.get(document.id, {}).get("title"),
                page_count=metas.get(document.id, {}).get("page_count"),
            )
            for document in map(to_document, found)
        ]

    # Items.

    def item(self, item_id: str, *, owner: UserId | None) -> QueueItem:
        """Return a queue item.

        Raises:
            ItemNotFound: there is none with this id for this owner.
        """
        known = parse_id(item_id)
        if known is not None:
            statement = sa.select(*ITEM_COLUMNS).where(queue_items.c.id == known, *_owned(queue_items, owner))
            with reading(self._engine) as connection:
                row = connection.execute(statement).one_or_none()
            if row is not None:
                return to_item(row)
        raise ItemNotFound("There is no such job.")

    def items_of(self, document_id: str) -> list[QueueItem]:
        """Return a document's items, newest first."""
        statement = (
            sa.select(*ITEM_COLUMNS)
            .where(queue_items.c.document_id == document_id)
            .order_by(*newest_first(queue_items))
        )
        with reading(self._engine) as connection:
            return [to_item(row) for row in connection.execute(statement)]

    def newest_item(self, document_id: str) -> QueueItem | None:
        """Return a document's newest item, or ``None`` when it has none (any more)."""
        statement = (
            sa.select(*ITEM_COLUMNS)
            .where(queue_items.c.document_id == document_id)
            .order_by(*newest_first(queue_items))
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_item(row)

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
            text: only documents whose name contains this, or whose hash begins with it, or whose id is it.
            before: the cursor of the page before.
            limit: at most this many rows.
        """
        statement = (
            sa.select(*ITEM_COLUMNS, documents.c.filename)
            .join(documents, documents.c.id == queue_items.c.document_id)
            .where(*_owned(queue_items, owner), *_matches(text))
        )
        if status is not None:
            statement = statement.where(queue_items.c.status == status)
        statement = keyset(statement, queue_items, before, limit)
        with reading(self._engine) as connection:
            rows = [ItemRow(to_item(row), row.filename) for row in connection.execute(statement)]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(rows, cursor_of(rows[-1].item) if more else None)

    def position(self, item: QueueItem) -> int | None:
        """Return an item's place in the line of due items, 1 being the next; ``None`` when not in it."""
        now = self._clock.now
        ahead = sa.or_(
            queue_items.c.priority > item.priority,
            sa.and_(queue_items.c.priority == item.priority, queue_items.c.due_at < item.due_at),
            sa.and_(
                queue_items.c.priority == item.priority,
                queue_items.c.due_at == item.due_at,
                queue_items.c.id < item.id,
            ),
        )
        waiting = (queue_items.c.status == Status.PENDING, queue_items.c.due_at <= now)
        with reading(self._engine) as connection:
            in_line = connection.execute(
                sa.select(sa.literal(1)).where(queue_items.c.id == item.id, *waiting)
            ).scalar()
            if in_line is None:
                return None
            return (
                1
                + connection.execute(
                    sa.select(sa.func.count()).select_from(queue_items).where(*waiting, ahead)
                ).scalar_one()
            )

    def counts(self, owner: UserId | None = None) -> dict[str, int]:
        """Count documents' newest items by label, as the list's segments show them."""
        label = self._label_expression()
        statement = (
            sa.select(label.label("label"), sa.func.count().label("count"))
            .select_from(documents.join(queue_items, queue_items.c.id == self._newest_item_id()))
            .where(*_owned(documents, owner))
            .group_by(sa.text("1"))
        )
        with reading(self._engine) as connection:
            found = {row["label"]: row["count"] for row in connection.execute(statement).mappings()}
        return {name.value: found.get(name.value, 0) for name in Label}

    def attempts(self, item_id: str) -> list[Attempt]:
        """Return an item's attempts, newest first."""
        statement = (
            sa.select(attempts).where(attempts.c.item_id == item_id).order_by(attempts.c.attempt.desc())
        )
        with reading(self._engine) as connection:
            return [to_attempt(row) for row in connection.execute(statement)]

    # Events.

    def events(self, item_id: str, *, after: int = 0, limit: int = 500) -> list[Event]:
        """Return an item's events in order.

        They are exact: each is written under the item's row lock, so their numbers rise in the order of
        their commits.

        Args:
            item_id: the item.
            after: only events with a higher number.
            limit: at most this many.
        """
        statement = (
            sa.select(events)
            .where(events.c.item_id == item_id, events.c.seq > after)
            .order_by(events.c.seq)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [to_event(row) for row in connection.execute(statement)]

    def last_event_seq(self) -> int:
        """Return the highest event number, 0 when there is none."""
        with reading(self._engine) as connection:
            return connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0

    def recent_event_items(self, *, owner: UserId | None, after: int, limit: int = 200) -> list[Event]:
        """Return events of every item, in order of their numbers: hints for lists.

        Numbers of different items may become visible out of order on PostgreSQL, so a reader of this
        feed asks again from a little before the last number seen.

        Args:
            owner: whose; everybody's when ``None``.
            after: only events with a higher number.
            limit: at most this many.
        """
        statement = (
            sa.select(events)
            .where(events.c.seq > after, *_owned(events, owner))
            .order_by(events.c.seq)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [to_event(row) for row in connection.execute(statement)]

    # Results.

    def results(self, document_id: str) -> dict[str, Artifact]:
        """Return a document's newest artifact of each stage, those of unfinished items included."""
        found = {}
        for stage in ("extract", "analyze"):
            artifact = self.artifact(document_id, stage)
            if artifact is not None:
                found[stage] = artifact
        return found

    def artifact(self, document_id: str, stage: str) -> Artifact | None:
        """Return a document's newest artifact of a stage."""
        return self._artifact(results.c.document_id == document_id, results.c.stage == stage)

    def result_of(self, item_id: str, stage: str) -> Artifact | None:
        """Return what an item's stage produced, in whichever of its attempts."""
        return self._artifact(results.c.item_id == item_id, results.c.stage == stage)

    def kept_artifact(self, cache_key: str) -> Artifact | None:
        """Return the newest artifact kept under a key."""
        statement = (
            sa.select(artifacts)
            .where(artifacts.c.cache_key == cache_key)
            .order_by(artifacts.c.created_at.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_artifact(row)

    def _artifact(self, *where: sa.ColumnElement[bool]) -> Artifact | None:
        statement = (
            sa.select(artifacts)
            .join(results, results.c.artifact_id == artifacts.c.id)
            .where(*where)
            .order_by(results.c.created_at.desc(), results.c.item_id.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_artifact(row)

    # Workers.

    def workers(self, *, alive_within_seconds: float = 60.0) -> list[WorkerRow]:
        """Return the workers seen within a day, those alive first, each with the item it holds.

        Args:
            alive_within_seconds: a worker not seen for longer counts as lost.
        """
        statement = (
            sa.select(workers)
            .where(workers.c.seen_at > self._clock.after(-86_400), workers.c.state != "gone")
            .order_by(workers.c.seen_at.desc())
            .limit(200)
        )
        held = (
            sa.select(*ITEM_COLUMNS, documents.c.filename)
            .join(documents, documents.c.id == queue_items.c.document_id)
            .where(queue_items.c.status == Status.IN_PROGRESS)
        )
        with reading(self._engine) as connection:
            now = self._clock.read(connection)
            items = {row.worker: (to_item(row), row.filename) for row in connection.execute(held)}
            found = connection.execute(statement).all()
        return [
            WorkerRow(
                name=row.name,
                host=row.host,
                pid=row.pid,
                state=row.state,
                started_at=row.started_at,
                seen_at=row.seen_at,
                alive=(now - row.seen_at).total_seconds() <= alive_within_seconds,
                item=items.get(row.name, (None, None))[0],
                filename=items.get(row.name, (None, None))[1],
            )
            for row in found
        ]

    # Parts.

    def _newest_item_id(self) -> sa.ScalarSelect[Any]:
        candidate = queue_items.alias("candidate")
        return (
            sa.select(candidate.c.id)
            .where(candidate.c.document_id == documents.c.id)
            .order_by(candidate.c.created_at.desc(), candidate.c.id.desc())
            .limit(1)
            .correlate(documents)
            .scalar_subquery()
        )

    def _label_expression(self) -> sa.ColumnElement[str]:
        """The SQL twin of :func:`jobs.states.label`."""
        tried = queue_items.c.failures + queue_items.c.crashes > 0
        quarantined = sa.and_(
            queue_items.c.status == Status.FAILED, queue_items.c.error_code == "quarantined"
        )
        pending = queue_items.c.status == Status.PENDING
        return sa.case(
            (queue_items.c.status == Status.IN_PROGRESS, Label.RUNNING.value),
            (quarantined, Label.QUARANTINED.value),
            (sa.and_(pending, queue_items.c.due_at <= self._clock.now), Label.WAITING.value),
            (sa.and_(pending, tried), Label.RETRYING.value),
            (pending, Label.SCHEDULED.value),
            else_=queue_items.c.status,
        )

    def _labelled(self, label: str | None) -> tuple[sa.ColumnElement[bool], ...]:
        return () if label is None else (self._label_expression() == label,)


def _owned(table: sa.Table, owner: UserId | None) -> tuple[sa.ColumnElement[bool], ...]:
    return () if owner is None else (table.c.owner_id == owner,)


def _matches(text: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    if not text:
        return ()
    known = parse_id(text)
    if known is not None:
        return (documents.c.id == known,)
    wanted = text.lower()
    return (
        sa.or_(
            sa.func.lower(documents.c.filename).contains(wanted, autoescape=True),
            documents.c.sha256.startswith(wanted, autoescape=True),
        ),
    )
