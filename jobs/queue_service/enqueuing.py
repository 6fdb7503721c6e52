"""Putting new documents into the queue, any number of them with the same few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from jobs.errors import UnsupportedOperation
from jobs.ids import new_id
from jobs.model import OPERATION_NAMES, DocumentId, QueueItem, Status, UserId
from jobs.queue_service.control import Control
from jobs.queue_service.enqueue_statement import DOCUMENT_TYPES, enqueue_new, values_of
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.tables import documents, events, queue_items, unreferenced_bytes

# Made once: to build a statement anew costs more than to run it. What is returned makes SQLAlchemy send all
# rows in one statement.
_INSERT_DOCUMENTS = sa.insert(documents)
_FORGET = sa.delete(unreferenced_bytes).where(unreferenced_bytes.c.sha256 == sa.bindparam("hash"))
_INSERT_ITEMS = sa.insert(queue_items).returning(*ITEM_COLUMNS)
_INSERT_EVENTS = sa.insert(events).returning(events.c.seq)


@dataclass(frozen=True, slots=True)
class NewItem:
    """What is to be done with a document that has no item yet.

    Attributes:
        document_id: inserted in the same transaction.
        owner_id: of the document.
        operation: one of :data:`jobs.model.OPERATION_NAMES`.
        priority: higher goes first; -100 to 100.
        queue: one of the settings' queues; the first when ``None``.
        delay_seconds: not before this many seconds.
        due_at: not before this instant; in the past it is now.
        options: of the reading, as :mod:`jobs.read_options` packs them.
    """

    document_id: DocumentId
    owner_id: UserId | None
    operation: str
    priority: int
    queue: str | None = None
    delay_seconds: float = 0.0
    due_at: datetime | None = None
    options: str | None = None


class Enqueuing(Control):
    """Puts items into lines."""

    def check_order(self, operation: str, queue: str | None) -> None:
        """Refuse what cannot be enqueued, before anything is written.

        Raises:
            UnsupportedOperation: the operation's name is unknown.
            UnknownQueue: no queue of this name is set up.
        """
        if operation not in OPERATION_NAMES:
            raise UnsupportedOperation(
                f"There is no operation {operation!r}; choose one of {', '.join(OPERATION_NAMES)}."
            )
        self._check_queue(queue or self._settings.queue_name)

    def enqueue_many_in(
        self,
        connection: sa.Connection,
        new: Sequence[NewItem],
        new_documents: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[QueueItem]:
        """Insert the first items of new documents inside the caller's transaction.

        Nobody else knows these documents yet: there is no older item to be superseded, and no row to lock.
        However many there are, it is one statement on PostgreSQL; on SQLite one for the documents, one for
        the items and one for their events, and one for each owner to see where in the line they come.

        Args:
            connection: in a writing transaction.
            new: at least one, checked by :meth:`check_order`.
            new_documents: what the documents' rows hold besides their time, in the same order, whose
                bytes are forgotten to have been without a name; ``None`` when they have been inserted.

        Returns:
            The items, in order; their documents were created when they were.
        """
        if self._clock.dialect == "postgresql":
            return self._enqueue_at_once(connection, new, new_documents)
        turns, now = self._turns(connection, new)
        if new_documents is not None:
            connection.execute(_FORGET, [{"hash": row["sha256"]} for row in new_documents])
            connection.execute(_INSERT_DOCUMENTS, [{**row, "created_at": now} for row in new_documents])
        rows = [self._row(one, turn, now) for one, turn in zip(new, turns, strict=True)]
        found = {row.id: to_item(row) for row in connection.execute(_INSERT_ITEMS, rows)}
        items = [found[row["id"]] for row in rows]
        accepted = [
            {
                "item_id": item.id,
                "document_id": item.document_id,
                "owner_id": item.owner_id,
                "kind": "accepted",
                "attempt": 0,
                "at": now,
                "data": {"status": item.status.value, "operation": item.operation},
            }
            for item in items
        ]
        connection.execute(_INSERT_EVENTS, accepted)
        return items

    def _enqueue_at_once(
        self,
        connection: sa.Connection,
        new: Sequence[NewItem],
        new_documents: Sequence[Mapping[str, Any]] | None,
    ) -> list[QueueItem]:
        rows: list[dict[str, Any]] = [
            {
                "item_id": new_id(),
                "document_id": one.document_id,
                "owner_id": one.owner_id,
                "operation": one.operation,
                "priority": one.priority,
                "queue": one.queue or self._settings.queue_name,
                "due_at": one.due_at,
                "delay_seconds": one.delay_seconds,
                "max_failures": self._policies[one.operation].max_failures,
                "options": one.options,
            }
            for one in new
        ]
        if new_documents is not None:
            for row, document in zip(rows, new_documents, strict=True):
                row |= {name: document[name] for name in DOCUMENT_TYPES}
        statement = enqueue_new(with_documents=new_documents is not None, single=len(rows) == 1)
        made = {row.id: row for row in connection.execute(statement, values_of(rows)).all()}
        return [_new_item(row, made[row["item_id"]]) for row in rows]

    def _turns(self, connection: sa.Connection, new: Sequence[NewItem]) -> tuple[list[int], datetime]:
        """Return the turns of new items, those of one owner follow each other; and the database's time."""
        places: dict[tuple[str, UserId | None, int], list[int]] = defaultdict(list)
        for place, one in enumerate(new):
            places[one.queue or self._settings.queue_name, one.owner_id, one.priority].append(place)
        turns, now = [0] * len(new), datetime.min.replace(tzinfo=UTC)
        for (queue, owner, priority), mine in places.items():
            first, now = self._look_at_line(connection, queue, owner, priority)
            for turn, place in enumerate(mine, first):
                turns[place] = turn
        return turns, now

    def _row(self, one: NewItem, turn: int, now: datetime) -> dict[str, object]:
        due_at = max(now, one.due_at or now) + timedelta(seconds=one.delay_seconds)
        return {
            "id": new_id(),
            "document_id": one.document_id,
            "owner_id": one.owner_id,
            "operation": one.operation,
            "status": Status.PENDING,
            "priority": one.priority,
            "fresh": False,
            "due_at": due_at,
            "deferred": due_at > now,
            "queue": one.queue or self._settings.queue_name,
            "turn": turn,
            "created_at": now,
            "updated_at": now,
            # The caller rings right after the commit; the sweep rings again if it could not.
            "announced_at": now,
            "attempt": 0,
            "failures": 0,
            "crashes": 0,
            "max_failures": self._policies[one.operation].max_failures,
            "progress": 0.0,
            "options": one.options,
        }


def _new_item(row: Mapping[str, Any], made: sa.Row[Any]) -> QueueItem:
    """Make the item of what was sent, and of what the database has made of it."""
    return QueueItem(
        id=row["item_id"],
        document_id=row["document_id"],
        owner_id=row["owner_id"],
        operation=row["operation"],
        status=Status.PENDING,
        priority=row["priority"],
        fresh=False,
        due_at=made.due_at,
        created_at=made.created_at,
        updated_at=made.created_at,
        finished_at=None,
        announced_at=made.created_at,
        attempt=0,
        failures=0,
        crashes=0,
        max_failures=row["max_failures"],
        stage=None,
        progress=0.0,
        cancel_requested_at=None,
        error_code=None,
        error_message=None,
        worker=None,
        lease_id=None,
        queue=row["queue"],
        turn=made.turn,
        deferred=made.deferred,
        options=row["options"],
    )
