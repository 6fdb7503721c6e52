"""What every part of the queue service is built on: the token, the guarded UPDATE, the event."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jobs.claims import is_free
from jobs.database import Clock, reading
from jobs.errors import (
    ItemNotFound,
    LeaseLost,
)
from jobs.ids import parse_id
from jobs.model import (
    ENDED_STATUSES,
    JSON,
    OPEN_STATUSES,
    OPERATION_NAMES,
    DocumentId,
    Lease,
    QueueItem,
    Status,
    UserId,
)
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.settings import Settings
from jobs.states import RetryPolicy, Settlement, Trigger
from jobs.tables import (
    ENDED_SEGMENTS,
    attempts,
    claims,
    events,
    queue_items,
    slots,
)

OUTCOME_NAMES = {
    Trigger.COMPLETE: "completed",
    Trigger.FAIL_RETRY: "failed",
    Trigger.FAIL_FINAL: "failed",
    Trigger.SNOOZE: "snoozed",
    Trigger.RELEASE: "released",
    Trigger.RESCUE_RETRY: "crashed",
    Trigger.RESCUE_QUARANTINE: "crashed",
    Trigger.CANCEL_ACKNOWLEDGE: "cancelled",
}

EVENT_KINDS = {
    Trigger.COMPLETE: "completed",
    Trigger.FAIL_RETRY: "retrying",
    Trigger.FAIL_FINAL: "failed",
    Trigger.SNOOZE: "snoozed",
    Trigger.RELEASE: "released",
    Trigger.RESCUE_RETRY: "returned",
    Trigger.RESCUE_QUARANTINE: "quarantined",
    Trigger.CANCEL_ACKNOWLEDGE: "cancelled",
}


# Constants in the statement: SQLite sees only then that an index over a part of the rows will do.
PENDING: sa.ColumnElement[str] = sa.literal_column("'pending'")
IN_LINE = queue_items.c.segment == sa.literal_column("'open'")
"""What waits in a line, and what runs; whoever means only one of them asks for the state besides."""
OPEN = queue_items.c.segment.in_(
    [sa.literal_column(f"'{name}'") for name in ("open", "scheduled", "retrying")]
)


def through(statement: sa.Select[Any], index: str) -> sa.Select[Any]:
    """Make SQLite read the items through an index; PostgreSQL knows from its statistics which is best.

    Without statistics SQLite takes any index with an equality before the one that has the order.
    """
    return statement.with_hint(queue_items, f"INDEXED BY {index}", "sqlite")


def _line(now: sa.ColumnElement[Any], mine: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select the turns of the line's first item and of an owner's last one, and what time it is."""
    pending = (
        queue_items.c.queue == sa.bindparam("queue"),
        queue_items.c.status == PENDING,
        queue_items.c.priority == sa.bindparam("priority"),
    )
    head = through(
        sa.select(queue_items.c.turn).where(*pending, IN_LINE)
        .order_by(queue_items.c.turn, queue_items.c.id).limit(1),
        "ix_queue_items_line",
    ).scalar_subquery()  # fmt: skip
    last = through(
        sa.select(queue_items.c.turn).where(*pending, OPEN, mine)
        .order_by(queue_items.c.turn.desc(), queue_items.c.id.desc()).limit(1),
        "ix_queue_items_turns",
    ).scalar_subquery()  # fmt: skip
    return sa.select(head.label("head"), last.label("last"), now.label("now"))


# By database, and whether there is an owner. Made once: to build a statement anew costs more than to run it.
_LINES = {
    (dialect, has_owner): _line(
        # SQLite's time is this program's.
        Clock(dialect).now if dialect == "postgresql" else sa.null(),
        queue_items.c.owner_id == sa.bindparam("owner") if has_owner else queue_items.c.owner_id.is_(None),
    )
    for dialect in ("sqlite", "postgresql")
    for has_owner in (False, True)
}


class QueueBase:
    """The engine, the limits, and the statements that several duties share.

    Args:
        engine: made by :func:`jobs.database.make_engine` in this process.
        settings: lease, heartbeat and retry limits.
        rng: where jitter is drawn from; a seeded one makes tests repeatable.
    """

    def __init__(self, engine: sa.Engine, settings: Settings, rng: random.Random | None = None) -> None:
        self._engine = engine
        self._settings = settings
        self._policies: dict[str, RetryPolicy] = {name: settings.policy(name) for name in OPERATION_NAMES}
        self._clock = Clock(engine.dialect.name)
        self._rng = rng or random.SystemRandom()

    def policy(self, operation: str) -> RetryPolicy:
        """Return the limits of an operation."""
        return self._policies[operation]

    def now(self) -> datetime:
        """Return the database's time."""
        with reading(self._engine) as connection:
            return self._clock.read(connection)

    def _token(self, lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            queue_items.c.id == lease.item.id,
            queue_items.c.status == Status.IN_PROGRESS,
            queue_items.c.attempt == lease.attempt,
            queue_items.c.lease_id == lease.lease_id,
        )

    def _expired(self) -> sa.ColumnElement[bool]:
        steady = self._clock.steady
        # A lease that ends further ahead than one can be granted was measured on a clock that went back.
        too_far = steady + 2 * self._settings.lease_seconds
        return sa.or_(
            queue_items.c.lease_expires_at < steady,
            queue_items.c.lease_expires_at > too_far,
            queue_items.c.lease_boot != self._clock.boot,
        )

    def _ended_before(self, days: float) -> tuple[sa.ColumnElement[bool], ...]:
        # A known instant, because no index is searched by PostgreSQL's moving clock.
        return (
            queue_items.c.segment.in_(ENDED_SEGMENTS),
            queue_items.c.finished_at <= sa.select(self._clock.after(-days * 86_400)).scalar_subquery(),
        )

    def _locked(self, statement: sa.Select[tuple[object, ...]]) -> sa.Select[tuple[object, ...]]:
        """Lock the selected row; SQLite's write transaction already excludes everybody else."""
        return statement.with_for_update() if self._clock.dialect == "postgresql" else statement

    def _insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self._clock.dialect == "postgresql" else sqlite.insert(table)

    def _guarded_update(
        self, connection: sa.Connection, lease: Lease, values: dict[str, object]
    ) -> QueueItem:
        row = connection.execute(
            sa.update(queue_items)
            .where(*self._token(lease))
            .values(**values, updated_at=self._clock.now)
            .returning(*ITEM_COLUMNS)
        ).one_or_none()
        if row is None:
            raise LeaseLost("Another attempt holds this item now.")
        return to_item(row)

    def _apply(
        self,
        connection: sa.Connection,
        lease: Lease,
        settlement: Settlement,
        traceback: str,
        guard: tuple[sa.ColumnElement[bool], ...],
        peak_memory_bytes: int | None,
    ) -> QueueItem:
        """Write a settlement: the item first and guarded, then its attempt, slots and event."""
        now = self._clock.now
        ended = settlement.status in ENDED_STATUSES
        row = connection.execute(
            sa.update(queue_items)
            .where(*guard)
            .values(
                status=settlement.status,
                failures=queue_items.c.failures + settlement.failures,
                crashes=queue_items.c.crashes + settlement.crashes,
                due_at=queue_items.c.due_at if ended else self._clock.after(settlement.delay_seconds),
                deferred=not ended and settlement.delay_seconds > 0,
                finished_at=now if ended else None,
                announced_at=None,
                progress=1.0 if settlement.trigger is Trigger.COMPLETE else queue_items.c.progress,
                error_code=settlement.error_code,
                error_message=settlement.error_message,
                worker=None,
                lease_id=None,
                lease_expires_at=None,
                lease_boot=None,
                suspect_at=None,
                started_at=None,
                updated_at=now,
                options=self._options_without_password()
                if settlement.trigger is Trigger.COMPLETE
                else queue_items.c.options,
            )
            .returning(*ITEM_COLUMNS)
        ).one_or_none()
        if row is None:
            raise LeaseLost("Another attempt holds this item now.")
        item = to_item(row)
        connection.execute(
            sa.update(attempts)
            .where(
                attempts.c.item_id == item.id,
                attempts.c.attempt == lease.attempt,
                attempts.c.lease_id == lease.lease_id,
            )
            .values(
                ended_at=now,
                outcome=OUTCOME_NAMES[settlement.trigger],
                stage=item.stage,
                error_code=settlement.error_code,
                error_message=settlement.error_message,
                traceback=traceback or None,
                peak_memory_bytes=peak_memory_bytes,
            )
        )
        connection.execute(sa.delete(slots).where(slots.c.item_id == item.id))
        self._forget_claim(connection, lease.lease_id)
        data: dict[str, JSON] = {}
        if settlement.error_message is not None:
            data["error"] = {"code": settlement.error_code, "message": settlement.error_message}
        if not ended:
            data["due_at"] = item.due_at.isoformat()
        self._append(connection, item, EVENT_KINDS[settlement.trigger], data, lease_id=lease.lease_id)
        return item

    def _options_without_password(self) -> sa.ColumnElement[str | None]:
        """Spell an item's options without their password, which is needed until it is completed."""
        packed = queue_items.c.options
        left: sa.ColumnElement[Any]
        if self._clock.dialect == "postgresql":
            left = sa.cast(sa.cast(packed, postgresql.JSONB).op("-")("sealed"), sa.Text)
        else:
            left = sa.func.json_remove(packed, "$.sealed")
        return sa.case((packed.like('%"sealed"%'), left), else_=packed)

    def _forget_claim(self, connection: sa.Connection, lease_id: str) -> None:
        """Delete a claim's row when nothing is held by it any more."""
        connection.execute(
            sa.delete(claims).where(claims.c.lease_id == lease_id, is_free(self._clock.dialect))
        )

    def _append(
        self,
        connection: sa.Connection,
        item: QueueItem,
        kind: str,
        data: dict[str, JSON],
        *,
        lease_id: str | None = None,
    ) -> None:
        """Write an event in the transaction of its cause; an attempt's carries its fence."""
        connection.execute(
            sa.insert(events).values(
                item_id=item.id,
                document_id=item.document_id,
                owner_id=item.owner_id,
                kind=kind,
                attempt=item.attempt,
                at=self._clock.now,
                data={"status": item.status.value, **data},
                lease_id=lease_id,
            )
        )

    def _at_once(self) -> Any:
        """Lend a connection on which one statement is one transaction: one way to the server and back."""
        return self._engine.execution_options(isolation_level="AUTOCOMMIT").connect()

    def _known(self, item_id: str) -> str:
        known = parse_id(item_id)
        if known is None:
            raise ItemNotFound("There is no such job.")
        return known

    def _read(self, connection: sa.Connection, item_id: str) -> QueueItem:
        row = connection.execute(sa.select(*ITEM_COLUMNS).where(queue_items.c.id == item_id)).one_or_none()
        if row is None:
            raise ItemNotFound("There is no such job.")
        return to_item(row)

    def _open_item(self, document_id: str, operation: str) -> sa.Select[Any]:
        return sa.select(queue_items.c.id).where(
            queue_items.c.document_id == DocumentId(document_id),
            queue_items.c.operation == operation,
            queue_items.c.status.in_(OPEN_STATUSES),
        )

    def _next_turn(self, connection: sa.Connection, queue: str, owner: UserId | None, priority: int) -> int:
        """Return the turn of an owner's next item.

        It follows the owner's last one that waits, and is never before the head of the line: an owner with
        one item waits for one round, however many items another has. Two look-ups in an index, no lock; a
        race gives two items the same turn, and the older goes first.

        Source: start-time fair queueing (Goyal, Vin, Cheng 1996), every item of the same size.
        """
        return self._look_at_line(connection, queue, owner, priority)[0]

    def _look_at_line(
        self, connection: sa.Connection, queue: str, owner: UserId | None, priority: int
    ) -> tuple[int, datetime]:
        """Return the turn of an owner's next item, and the database's time."""
        known = {"queue": queue, "priority": priority} | ({} if owner is None else {"owner": owner})
        row = connection.execute(_LINES[self._clock.dialect, owner is not None], known).one()
        turn = max(row.head or 0, 0 if row.last is None else row.last + 1)
        return turn, row.now or datetime.now(UTC)

    def _lease_of(self, item: QueueItem) -> Lease:
        return Lease(item=item, attempt=item.attempt, lease_id=item.lease_id or "", worker=item.worker or "")
