"""Reads of one document or item, and of what lives now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from jobs.claims import is_running, looked_up
from jobs.database import reading
from jobs.errors import DocumentNotFound, ItemNotFound
from jobs.ids import parse_id
from jobs.model import (
    IMAGES_OPERATION,
    Artifact,
    Attempt,
    Document,
    Event,
    PageImage,
    PartialResult,
    QueueItem,
    Status,
    UserId,
)
from jobs.paging import newest_first
from jobs.queries.base import Reads, owned
from jobs.rows import (
    ITEM_COLUMNS,
    to_artifact,
    to_attempt,
    to_document,
    to_event,
    to_item,
    to_page_image,
    to_partial_result,
)
from jobs.tables import (
    artifacts,
    attempts,
    child_documents,
    documents,
    drawing_orders,
    events,
    page_images,
    partial_results,
    queue_items,
    results,
    workers,
)


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


class Details(Reads):
    """A document, an item, its attempts and events; results; workers."""

    # Documents.

    def document(self, document_id: str, *, owner: UserId | None) -> Document:
        """Return a document.

        Raises:
            DocumentNotFound: there is none with this id for this owner.
        """
        known = parse_id(document_id)
        if known is not None:
            statement = sa.select(documents).where(documents.c.id == known, *owned(documents, owner))
            with reading(self._engine) as connection:
                row = connection.execute(statement).one_or_none()
            if row is not None:
                return to_document(row)
        raise DocumentNotFound("There is no such document.")

    def parent_of(self, document_id: str) -> Document | None:
        """Return the document that this one was taken out of, ``None`` for what was uploaded."""
        statement = (
            sa.select(documents)
            .join(child_documents, child_documents.c.parent_id == documents.c.id)
            .where(child_documents.c.document_id == document_id)
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_document(row)

    def count_children(self, document_id: str) -> int:
        """Return how many documents were taken out of this one itself."""
        statement = sa.select(sa.func.count()).where(child_documents.c.parent_id == document_id)
        with reading(self._engine) as connection:
            return connection.execute(statement).scalar_one()

    # Items.

    def item(self, item_id: str, *, owner: UserId | None) -> QueueItem:
        """Return a queue item.

        Raises:
            ItemNotFound: there is none with this id for this owner.
        """
        known = parse_id(item_id)
        if known is not None:
            statement = sa.select(*ITEM_COLUMNS).where(queue_items.c.id == known, *owned(queue_items, owner))
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
            .order_by(*newest_first(queue_items).by())
        )
        with reading(self._engine) as connection:
            return [to_item(row) for row in connection.execute(statement)]

    def newest_item(self, document_id: str) -> QueueItem | None:
        """Return the item that stands for a document, or ``None`` when it has none (any more).

        It is the newest, except that one that only draws pages comes after all others.
        """
        statement = (
            sa.select(*ITEM_COLUMNS)
            .where(queue_items.c.document_id == document_id)
            .order_by(
                queue_items.c.operation == IMAGES_OPERATION,
                *newest_first(queue_items).by(),
            )
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_item(row)

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
            .where(events.c.seq > after, *owned(events, owner))
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

    def unfinished_pages(self, item_id: str, document_id: str) -> Artifact | None:
        """Return what an item that reads failed pages again has to mend.

        Returns:
            The newest extraction of its document that it has not made itself; ``None`` without one.
        """
        return self._artifact(
            results.c.document_id == document_id,
            results.c.stage == "extract",
            results.c.item_id != item_id,
        )

    def reader_of(self, document_id: str) -> QueueItem | None:
        """Return the item that made a document's newest extraction; ``None`` without one, or when cleared."""
        newest = (
            sa.select(results.c.item_id)
            .where(results.c.document_id == document_id, results.c.stage == "extract")
            .order_by(results.c.created_at.desc(), results.c.item_id.desc())
            .limit(1)
            .scalar_subquery()
        )
        with reading(self._engine) as connection:
            statement = sa.select(*ITEM_COLUMNS).where(queue_items.c.id == newest)
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_item(row)

    def partial_result(self, item_id: str) -> PartialResult | None:
        """Return what a running item has read of its document so far, if it has told."""
        statement = (
            sa.select(partial_results)
            .join(queue_items, queue_items.c.id == partial_results.c.item_id)
            .where(
                partial_results.c.item_id == item_id,
                queue_items.c.status == Status.IN_PROGRESS,
                queue_items.c.lease_id == partial_results.c.lease_id,
            )
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_partial_result(row)

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

    # Pictures of pages.

    def page_image(self, document_id: str, page: int, size: str) -> PageImage | None:
        """Return a picture of a document's page, the newest where there are several.

        Args:
            document_id: the document.
            page: from 1.
            size: one of :data:`jobs.model.IMAGE_SIZES`.
        """
        statement = (
            sa.select(page_images)
            .join(results, results.c.artifact_id == page_images.c.artifact_id)
            .where(
                results.c.document_id == document_id,
                results.c.stage == IMAGES_OPERATION,
                page_images.c.page == page,
                page_images.c.size == size,
            )
            .order_by(results.c.created_at.desc(), results.c.item_id.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_page_image(row)

    def images_of(self, artifact_id: str) -> tuple[PageImage, ...]:
        """Return all pictures of an artifact."""
        statement = sa.select(page_images).where(page_images.c.artifact_id == artifact_id)
        with reading(self._engine) as connection:
            return tuple(to_page_image(row) for row in connection.execute(statement))

    def drawn_pages(self, document_id: str) -> dict[int, tuple[int, int]]:
        """Return the pages of a document that can be looked at, with width and height for reading."""
        statement = (
            sa.select(page_images.c.page, page_images.c.width, page_images.c.height)
            .join(results, results.c.artifact_id == page_images.c.artifact_id)
            .where(
                results.c.document_id == document_id,
                results.c.stage == IMAGES_OPERATION,
                page_images.c.size == "reading",
            )
            .order_by(page_images.c.page)
        )
        with reading(self._engine) as connection:
            return {row.page: (row.width, row.height) for row in connection.execute(statement)}

    def last_item(self, document_id: str, operation: str) -> QueueItem | None:
        """Return the newest item of a document for an operation, ``None`` when there is none."""
        statement = (
            sa.select(*ITEM_COLUMNS)
            .where(queue_items.c.document_id == document_id, queue_items.c.operation == operation)
            .order_by(*newest_first(queue_items).by())
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else to_item(row)

    def first_drawn_page(self, item_id: str) -> int:
        """Return the page with which an item of the operation ``images`` begins, from 1."""
        statement = sa.select(drawing_orders.c.first_page).where(drawing_orders.c.item_id == item_id)
        with reading(self._engine) as connection:
            return connection.execute(statement).scalar() or 1

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
            .where(is_running(self._clock.dialect))
        )
        with reading(self._engine) as connection:
            now = self._clock.read(connection)
            items: dict[str | None, tuple[QueueItem, str]] = {}
            for row in connection.execute(looked_up(held)):
                # Of a batch it is the item that has begun.
                if row.started_at is not None or row.worker not in items:
                    items[row.worker] = (to_item(row), row.filename)
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
