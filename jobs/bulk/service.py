"""The tracked operation: looked at first, started, worked off slice by slice, stopped, listed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from jobs.bulk.candidates import Candidates, Count, Slice, Wanted
from jobs.bulk.request import (
    COUNT_CAP,
    STATUSES_OF,
    BulkFilter,
    BulkKind,
    BulkOperation,
    Preview,
    parse_arguments,
    parse_filter,
    parse_kind,
    parse_reason,
)
from jobs.database import Clock, reading
from jobs.errors import IllegalTransition, InvalidBulk, ItemNotFound, StateError
from jobs.ids import new_id, parse_id
from jobs.model import JSON, Status, UserId
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings
from jobs.tables import bulk_operations, queue_items

SLICE = 200
"""So many items are changed in one transaction; an operation that is no larger ends with the request."""

_MOST_RUNNING = 20
_SLOW_SLICE_SECONDS = 0.5

_STATUS_REASONS = {
    Status.PENDING: "waiting in the queue",
    Status.IN_PROGRESS: "running",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
_BLOCKED_REASONS = {
    BulkKind.RETRY: "their document is in the queue already",
    BulkKind.CANCEL: "cancel was asked for already",
    BulkKind.CHANGE_PRIORITY: "they have this priority already",
    BulkKind.DELETE: "",
}

log = structlog.get_logger()


class BulkOperations:
    """Bulk operations on queue items.

    Args:
        engine: the database.
        settings: for the queue service, where none is given.
        service: writes the queue's state.
    """

    def __init__(
        self, engine: sa.Engine, settings: Settings, service: DocumentQueueService | None = None
    ) -> None:
        self._engine = engine
        self._service = service or DocumentQueueService(engine, settings)
        self._clock = Clock(engine.dialect.name)
        self._candidates = Candidates(engine.dialect.name)

    def preview(
        self,
        kind: object,
        filter: object,  # noqa: A002  # the interface's word
        arguments: object = None,
        owner: UserId | None = None,
    ) -> Preview:
        """Count what an operation would meet, without changing anything.

        Args:
            kind: one of :class:`jobs.bulk.BulkKind`.
            filter: see :func:`jobs.bulk.request.parse_filter`.
            arguments: ``{"priority": n}`` for ``change_priority``, otherwise nothing.
            owner: whose items may be touched; everybody's when ``None``.

        Raises:
            InvalidBulk: one of them cannot be meant.
        """
        known = parse_kind(kind)
        wanted, _ = parse_filter(filter, owner)
        counts = self._count(known, wanted, parse_arguments(known, arguments))
        return _preview(known, wanted, counts)

    def start(
        self,
        kind: object,
        filter: object,  # noqa: A002  # the interface's word
        arguments: object = None,
        reason: object = "",
        by: str = "",
        owner: UserId | None = None,
    ) -> BulkOperation:
        """Note an operation down; :meth:`advance` and :meth:`work` do it.

        Args:
            kind: one of :class:`jobs.bulk.BulkKind`.
            filter: see :func:`jobs.bulk.request.parse_filter`.
            arguments: ``{"priority": n}`` for ``change_priority``, otherwise nothing.
            reason: for the events, at most 500 characters.
            by: who asks, for the events.
            owner: whose items may be touched; everybody's when ``None``.

        Raises:
            InvalidBulk: one of them cannot be meant, or too many of theirs are running already.
        """
        known = parse_kind(kind)
        wanted, spelt = parse_filter(filter, owner)
        given = parse_arguments(known, arguments)
        said = parse_reason(reason)
        matching = self._matching(known, wanted, given)
        running = sa.select(sa.func.count()).where(
            bulk_operations.c.state == "running", bulk_operations.c.owner_id.is_not_distinct_from(owner)
        )
        with self._engine.begin() as connection:
            if connection.execute(running).scalar_one() >= _MOST_RUNNING:
                raise InvalidBulk(f"{_MOST_RUNNING} bulk operations are running; let one end, or stop one.")
            row = connection.execute(
                sa.insert(bulk_operations)
                .values(
                    id=new_id(),
                    kind=known.value,
                    filter=spelt,
                    arguments=given,
                    reason=said,
                    requested_by=by,
                    owner_id=owner,
                    state="running",
                    matching=matching,
                    done=0,
                    skipped=0,
                    created_at=self._clock.now,
                    updated_at=self._clock.now,
                )
                .returning(*bulk_operations.c)
            ).one()
        log.info("bulk_started", operation_id=row.id, kind=row.kind, matching=matching)
        return _to_operation(row)

    def work(self, seconds: float = 1.0, slice_size: int = SLICE) -> int:
        """Work slices of the running operations off, one of each in turn.

        Any number of processes may call it at once: each slice locks its operation's row, and what another
        one holds is left to it.

        Args:
            seconds: no slice is begun later than this; the first always is.
            slice_size: how many items one transaction changes at most; fewer where that turns out to be slow.

        Returns:
            How many items were dealt with.
        """
        until = time.monotonic() + seconds
        handled = 0
        while True:
            moved = False
            for operation_id in self._running():
                began = time.monotonic()
                step = self._try_slice(operation_id, slice_size)
                if time.monotonic() - began > _SLOW_SLICE_SECONDS:
                    # Whoever wants the same rows, and on SQLite every writer, waits for the slice.
                    slice_size = max(1, slice_size // 2)
                if step is not None:
                    moved = True
                    handled += step
                    if time.monotonic() >= until:
                        return handled
            if not moved:
                return handled

    def advance(self, operation_id: str, slice_size: int = SLICE) -> BulkOperation:
        """Work one slice of one operation off, so that a small one ends at once.

        Args:
            operation_id: the operation.
            slice_size: how many items to change.

        Returns:
            The operation as it is now.

        Raises:
            ItemNotFound: there is no such operation.
        """
        self._try_slice(operation_id, slice_size)
        return self.get(operation_id)

    def cancel(self, operation_id: str, by: str, owner: UserId | None = None) -> BulkOperation:
        """Stop an operation; what it has changed stays changed.

        Args:
            operation_id: the operation.
            by: who asks; for the log of the caller.
            owner: whose operations the asker may see; everybody's when ``None``.

        Raises:
            ItemNotFound: there is no such operation for this owner.
            IllegalTransition: it has ended.
        """
        del by
        known = self.get(operation_id, owner)
        statement = (
            sa.update(bulk_operations)
            .where(bulk_operations.c.id == known.id, bulk_operations.c.state == "running")
            .values(state="cancelled", finished_at=self._clock.now, updated_at=self._clock.now)
        )
        with self._engine.begin() as connection:
            landed = connection.execute(statement).rowcount == 1
        if not landed:
            raise IllegalTransition("This bulk operation has ended; there is nothing to stop.")
        log.info("bulk_stopped", operation_id=known.id)
        return self.get(known.id)

    def get(self, operation_id: str, owner: UserId | None = None) -> BulkOperation:
        """Return an operation.

        Raises:
            ItemNotFound: there is none with this id for this owner.
        """
        known = parse_id(operation_id)
        if known is not None:
            statement = sa.select(bulk_operations).where(bulk_operations.c.id == known, *_owned(owner))
            with reading(self._engine) as connection:
                row = connection.execute(statement).one_or_none()
            if row is not None:
                return _to_operation(row)
        raise ItemNotFound("There is no such bulk operation.")

    def list(self, limit: int = 20, owner: UserId | None = None) -> list[BulkOperation]:
        """Return the newest operations.

        Args:
            limit: at most this many.
            owner: whose; everybody's when ``None``.
        """
        newest = (bulk_operations.c.created_at.desc(), bulk_operations.c.id.desc())
        statement = sa.select(bulk_operations).where(*_owned(owner)).order_by(*newest).limit(limit)
        with reading(self._engine) as connection:
            return [_to_operation(row) for row in connection.execute(statement)]

    # One slice.

    def _try_slice(self, operation_id: str, slice_size: int) -> int | None:
        try:
            return self._slice(operation_id, slice_size)
        except sa.exc.OperationalError:
            # A deadlock, or a lock not given in time: nothing was written, and the next pass repeats it.
            log.warning("bulk_slice_postponed", operation_id=operation_id)
            return None

    def _slice(self, operation_id: str, slice_size: int) -> int | None:
        """Work a slice off in one transaction: the items, their events, the counts and the cursor.

        Returns:
            How many items were dealt with; ``None`` when another process holds the operation or it has ended.
        """
        with self._engine.begin() as connection:
            row = connection.execute(self._held(operation_id)).one_or_none()
            if row is None:
                return None
            operation = _to_operation(row)
            wanted = Wanted(
                operation.kind,
                parse_filter(operation.filter, operation.owner_id)[0],
                operation.arguments,
                operation.created_at,
            )
            part = self._candidates.take(connection, wanted, row.cursor, slice_size)
            changed = self._change(connection, operation, part.item_ids)
            done = operation.done + changed
            skipped = operation.skipped + part.skipped + len(part.item_ids) - changed
            self._note(connection, operation, part, done, skipped)
        if operation.kind is BulkKind.RETRY and changed:
            # Nobody rings for each of them; the sweep rings for the heads of the lines.
            self._service.mark_unannounced(part.item_ids)
        if part.is_last:
            log.info(
                "bulk_finished", operation_id=operation.id, kind=operation.kind, done=done, skipped=skipped
            )
        return done + skipped - operation.done - operation.skipped

    def _held(self, operation_id: str) -> sa.Select[Any]:
        statement = sa.select(bulk_operations).where(
            bulk_operations.c.id == operation_id, bulk_operations.c.state == "running"
        )
        return statement if self._clock.dialect == "sqlite" else statement.with_for_update(skip_locked=True)

    def _change(self, connection: sa.Connection, operation: BulkOperation, item_ids: Sequence[str]) -> int:
        """Change those of the items that can be changed, and return how many those were."""
        if not item_ids:
            return 0
        if self._clock.dialect == "postgresql":
            # In one order for everybody, so that two operations over the same items never wait in a circle.
            connection.execute(
                sa.select(queue_items.c.id)
                .where(queue_items.c.id.in_(item_ids))
                .order_by(queue_items.c.id)
                .with_for_update()
            ).all()
        if operation.kind is BulkKind.DELETE:
            return self._service.purge_in(connection, item_ids)
        changed = 0
        for item_id in item_ids:
            try:
                self._change_one(connection, operation, item_id)
            except StateError:
                # It changed since the slice was read, or its document was queued again.
                continue
            changed += 1
        return changed

    def _change_one(self, connection: sa.Connection, operation: BulkOperation, item_id: str) -> None:
        by, reason = operation.requested_by, operation.reason
        match operation.kind:
            case BulkKind.RETRY:
                self._service.retry_in(connection, item_id, by, reason)
            case BulkKind.CANCEL:
                self._service.cancel_in(connection, item_id, by, reason)
            case BulkKind.CHANGE_PRIORITY:
                priority = int(str(operation.arguments["priority"]))
                self._service.change_priority_in(connection, item_id, priority, by, reason)
            case BulkKind.DELETE:
                raise AssertionError("deleted many at a time")

    def _note(
        self, connection: sa.Connection, operation: BulkOperation, part: Slice, done: int, skipped: int
    ) -> None:
        """Write down how far it is; in the transaction of the slice, so that no crash can part the two."""
        now = self._clock.now
        connection.execute(
            sa.update(bulk_operations)
            .where(bulk_operations.c.id == operation.id)
            .values(
                cursor=part.cursor,
                done=done,
                skipped=skipped,
                matching=max(operation.matching, done + skipped),
                state="completed" if part.is_last else "running",
                finished_at=now if part.is_last else None,
                updated_at=now,
            )
        )

    def _running(self) -> Sequence[str]:
        statement = (
            sa.select(bulk_operations.c.id)
            .where(bulk_operations.c.state == "running")
            .order_by(bulk_operations.c.created_at)
            .limit(100)
        )
        with reading(self._engine) as connection:
            return connection.execute(statement).scalars().all()

    # Counting.

    def _count(self, kind: BulkKind, wanted: BulkFilter, arguments: dict[str, JSON]) -> dict[Status, Count]:
        with reading(self._engine) as connection:
            before = self._clock.read(connection)
            return self._candidates.count(connection, Wanted(kind, wanted, arguments, before))

    def _matching(self, kind: BulkKind, wanted: BulkFilter, arguments: dict[str, JSON]) -> int:
        """Return how many items are going to be dealt with, as far as that is known."""
        meant = [status for status in wanted.statuses if status in STATUSES_OF[kind]]
        counts = self._count(kind, wanted, arguments)
        if wanted.ids:
            return sum(count.matching for count in counts.values())
        found = [counts[status] for status in meant]
        if any(count.capped for count in found) and wanted.is_of_states_only:
            figures = self._service.get_queue_stats()
            return sum(int(figures[status.value] or 0) for status in meant)
        return min(COUNT_CAP, sum(count.matching for count in found))


def _preview(kind: BulkKind, wanted: BulkFilter, counts: dict[Status, Count]) -> Preview:
    can = STATUSES_OF[kind]
    eligible = blocked = 0
    excluded: dict[str, int] = {}
    for status, count in counts.items():
        if status in can:
            eligible += count.matching - count.blocked
            blocked += count.blocked
        elif count.matching:
            excluded[_STATUS_REASONS[status]] = count.matching
    if blocked:
        excluded[_BLOCKED_REASONS[kind]] = min(blocked, COUNT_CAP)
    matching = sum(count.matching for count in counts.values())
    if len(wanted.ids) > matching:
        excluded["not there (any more)"] = len(wanted.ids) - matching
    return Preview(
        matching=min(matching, COUNT_CAP),
        eligible=min(eligible, COUNT_CAP),
        excluded=tuple(excluded.items()),
        capped=matching > COUNT_CAP or any(count.capped for count in counts.values()),
        eligible_capped=eligible > COUNT_CAP or any(counts[one].capped for one in can if one in counts),
    )


def _owned(owner: UserId | None) -> tuple[sa.ColumnElement[bool], ...]:
    return () if owner is None else (bulk_operations.c.owner_id == owner,)


def _to_operation(row: sa.Row[Any]) -> BulkOperation:
    return BulkOperation(
        id=row.id,
        kind=BulkKind(row.kind),
        filter=row.filter,
        arguments=row.arguments,
        reason=row.reason,
        requested_by=row.requested_by,
        owner_id=None if row.owner_id is None else UserId(row.owner_id),
        state=row.state,
        matching=row.matching,
        done=row.done,
        skipped=row.skipped,
        created_at=row.created_at,
        updated_at=row.updated_at,
        finished_at=row.finished_at,
    )
