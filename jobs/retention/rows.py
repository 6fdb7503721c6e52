"""Rows: items that ended long ago, documents, answers kept for an Idempotency-Key."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from jobs.model import OPEN_STATUSES, Status
from jobs.retention.base import DAY_SECONDS, MOST_AT_ONCE, PruneStatistics, slices
from jobs.retention.store import ByteDuties
from jobs.tables import child_documents, documents, idempotency_keys, queue_items, results


class RowDuties(ByteDuties):
    """Deletes items, documents and kept answers."""

    def prune_items(self, done: PruneStatistics, deadline: float) -> None:
        """Delete the items that ended too long ago; a document keeps its newest results."""
        kept_days = {
            Status.COMPLETED: self._settings.retain_completed_days,
            Status.FAILED: self._settings.retain_failed_days,
            Status.CANCELLED: self._settings.retain_cancelled_days,
        }
        for status, days in kept_days.items():
            old = (
                sa.select(queue_items.c.id)
                .where(
                    queue_items.c.status == status,
                    queue_items.c.finished_at <= self._clock.after(-days * DAY_SECONDS),
                )
                .order_by(queue_items.c.finished_at, queue_items.c.id)
                .limit(self._batch)
            )
            # Where nothing of a batch can go, somebody is at it; the next pass looks again.
            gone = self._batch if days > 0 else 0
            while gone:
                ids = self._column(old)
                with self._engine.begin() as connection:
                    gone = self._service.purge_in(connection, ids) if ids else 0
                done.items += gone
                if len(ids) < self._batch or time.monotonic() >= deadline:
                    break

    def prune_documents(self, done: PruneStatistics, deadline: float) -> None:
        """Delete the documents that were uploaded too long ago and wait for nothing."""
        days = self._settings.retain_documents_days
        old = (
            sa.select(documents.c.id)
            .where(documents.c.created_at <= self._clock.after(-days * DAY_SECONDS), ~_has_open_item())
            .order_by(documents.c.created_at, documents.c.id)
            .limit(self._batch)
        )
        gone = self._batch if days > 0 else 0
        while gone:
            ids = self._column(old)
            with self._engine.begin() as connection:
                gone = self.delete_documents(connection, ids, wait=False) if ids else 0
            done.documents += gone
            if len(ids) < self._batch or time.monotonic() >= deadline:
                break

    def delete_documents(self, connection: sa.Connection, ids: Sequence[str], *, wait: bool = True) -> int:
        """Delete those of the documents that have no open item, and note that their bytes lost a name.

        Bytes are locked first, then documents, then items, as everybody does who takes several of them: no
        two wait for each other. With a document's row locked no item appears, with an item's row none opens.

        Args:
            connection: in a writing transaction.
            ids: at most a few hundred.
            wait: whether to wait for those that somebody is at; otherwise they stay.

        Returns:
            How many were deleted.
        """
        wanted = sa.select(documents.c.id, documents.c.sha256).where(documents.c.id.in_(list(ids)))
        hashes = {row.id: row.sha256 for row in connection.execute(wanted)}
        held = self._hold(connection, set(hashes.values()), wait=wait)
        lock = sa.select(documents.c.id).where(documents.c.id.in_(list(ids)), documents.c.sha256.in_(held))
        locked = connection.execute(self._locked(lock.order_by(documents.c.id), wait=wait)).scalars().all()
        of_these = queue_items.c.document_id.in_(locked)
        lock = sa.select(queue_items.c.id, queue_items.c.document_id, queue_items.c.status).where(of_these)
        items = connection.execute(self._locked(lock.order_by(queue_items.c.id), wait=wait)).all()
        counted = sa.select(queue_items.c.document_id, sa.func.count().label("items")).where(of_these)
        all_items = {
            row.document_id: row.items
            for row in connection.execute(counted.group_by(queue_items.c.document_id))
        }
        in_hand = Counter(row.document_id for row in items)
        busy = {row.document_id for row in items if row.status in OPEN_STATUSES}
        going = [one for one in locked if one not in busy and in_hand[one] == all_items.get(one, 0)]
        for some in slices((row.id for row in items if row.document_id in set(going)), MOST_AT_ONCE):
            self._service.purge_in(connection, some)
        connection.execute(sa.delete(results).where(results.c.document_id.in_(going)))
        self._note_unnamed(connection, {hashes[one] for one in going})
        # What came out of them and stays is nobody's child then.
        for column in (child_documents.c.document_id, child_documents.c.parent_id):
            connection.execute(sa.delete(child_documents).where(column.in_(going)))
        connection.execute(sa.delete(documents).where(documents.c.id.in_(going)))
        return len(going)

    def descendants_of(self, connection: sa.Connection, document_id: str) -> list[str]:
        """Return the ids of all that came out of a document, however deep."""
        found: list[str] = []
        above = [document_id]
        while above:
            below = sa.select(child_documents.c.document_id).where(child_documents.c.parent_id.in_(above))
            above = list(connection.execute(below).scalars())
            found += above
        return found

    def prune_keys(self, done: PruneStatistics, deadline: float) -> None:
        """Delete the answers that were kept for an Idempotency-Key for long enough."""
        old = sa.and_(
            idempotency_keys.c.created_at <= self._clock.after(-self._settings.idempotency_hours * 3600),
            # Somebody may still be about to answer.
            sa.or_(
                idempotency_keys.c.status.is_not(None), idempotency_keys.c.locked_until <= self._clock.now
            ),
        )
        names = sa.tuple_(idempotency_keys.c.owner_id, idempotency_keys.c.key)
        some = (
            sa.select(idempotency_keys.c.owner_id, idempotency_keys.c.key)
            .where(old)
            .order_by(idempotency_keys.c.created_at)
            .limit(self._batch)
        )
        while True:
            with self._engine.begin() as connection:
                gone = connection.execute(sa.delete(idempotency_keys).where(names.in_(some))).rowcount
            done.keys += gone
            if gone < self._batch or time.monotonic() >= deadline:
                return


def _has_open_item() -> sa.Exists:
    return sa.exists().where(
        queue_items.c.document_id == documents.c.id, queue_items.c.status.in_(OPEN_STATUSES)
    )
