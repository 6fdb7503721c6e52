"""Many items at once: claimed in one statement, kept in one, settled in one commit.

Every item keeps its own attempt, fence, event and outcome. The items of a batch share the random part of
their tokens, which is drawn anew for each claim; with the item's id it is as unique as before.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from jobs.claims import BY_ID
from jobs.database import reading
from jobs.errors import LeaseLost
from jobs.model import (
    JSON,
    Checkpoint,
    Completed,
    Document,
    ItemId,
    Lease,
    Outcome,
    QueueItem,
    Released,
    Status,
)
from jobs.queue_service.attempts import Attempts
from jobs.queue_service.base import EVENT_KINDS, OUTCOME_NAMES, through
from jobs.queue_service.batch_statements import claim_line, id_array, settle_batch
from jobs.queue_service.claiming import LINE, SHARE_OF_THE_LONGEST_WAITING
from jobs.rows import ITEM_COLUMNS, to_claimed_document, to_item
from jobs.states import Trigger
from jobs.tables import Id, attempts, events, queue_items, slots

# The driver prepares a statement at its sixth execution.
_REHEARSALS = 6
_NO_QUEUE = ""
_NO_LEASE = ""
_NONE: Mapping[ItemId, Sequence[Checkpoint]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kept:
    """What a renewal of many leases found.

    Attributes:
        held: the ids of the items that are still held.
        cancelled: those of them that a person asked to cancel.
    """

    held: frozenset[str]
    cancelled: frozenset[str]


class Batches(Attempts):
    """Claim, keep and settle many."""

    def claim_many(self, queue: str, worker: str, most: int) -> list[Lease]:
        """Take the leases of the best items of a queue's line, in one statement.

        With a limit for each owner it is the claim of a single one.

        Args:
            queue: the queue's name.
            worker: the claiming worker's name.
            most: at most this many, 1 or more.

        Returns:
            The leases, best first. Of several none counts as started until :meth:`Attempts.renew` says so:
            what its worker did not come to goes back uncounted, however the worker ends.
        """
        if self._settings.max_running_per_owner:
            lease = self.claim_next(queue, worker)
            return [] if lease is None else [lease]
        longest_waiting = self._rng.random() < SHARE_OF_THE_LONGEST_WAITING
        lease_id = secrets.token_hex(16)
        try:
            claimed = self._claim_line(queue, worker, most, lease_id, longest_waiting=longest_waiting)
        except sa.exc.OperationalError as error:
            claimed = [(item, None) for item in self._claimed_in_doubt(lease_id, error)]
        leases = [Lease(item, item.attempt, lease_id, worker, document) for item, document in claimed]
        if longest_waiting:
            leases.sort(key=lambda lease: (lease.item.due_at, lease.item.id))
        else:
            leases.sort(key=lambda lease: (-lease.item.priority, lease.item.turn, lease.item.id))
        return leases

    def rehearse(self, worker: str) -> None:
        """Claim and settle where there is nothing, so that the first items do not pay for what is made once.

        Statements are compiled, planned, and known to the server by then.

        Args:
            worker: this worker's name.
        """
        for _ in range(_REHEARSALS):
            for most in (1, 2):
                for longest_waiting in (False, True):
                    self._claim_line(_NO_QUEUE, worker, most, _NO_LEASE, longest_waiting=longest_waiting)
            with self._single_statement() as connection:
                self._end_batch(connection, [], _NO_LEASE, Trigger.COMPLETE, None)

    def renew_many(self, leases: Sequence[Lease]) -> Kept:
        """Prolong leases in one statement.

        Args:
            leases: of this process.

        Returns:
            Which of the items are still held, and which of them are to be cancelled.
        """
        statement = (
            sa.update(queue_items)
            .where(*self._tokens(leases))
            .values(
                lease_expires_at=self._clock.steady + self._settings.lease_seconds,
                lease_boot=self._clock.boot,
                suspect_at=None,
                updated_at=self._clock.now,
            )
            .returning(queue_items.c.id, queue_items.c.cancel_requested_at)
            .with_hint(BY_ID, dialect_name="sqlite")
        )
        with self._engine.begin() as connection:
            return _kept(connection.execute(statement).all())

    def look_after(self, leases: Sequence[Lease]) -> Kept:
        """Tell which items are still held and which are to be cancelled, without writing.

        Args:
            leases: of this process.
        """
        statement = sa.select(queue_items.c.id, queue_items.c.cancel_requested_at).where(
            *self._tokens(leases)
        )
        with reading(self._engine) as connection:
            return _kept(connection.execute(statement).all())

    def settle_many(
        self,
        leases: Sequence[Lease],
        *,
        ended: Mapping[ItemId, Sequence[Checkpoint]] = _NONE,
        peak_memory_bytes: int | None = None,
    ) -> set[str]:
        """End attempts that finished every stage, in one commit.

        Calling it again after a lost answer changes nothing.

        Args:
            leases: of this process.
            ended: by item, the stages that are not written down yet; they are in the same commit.
            peak_memory_bytes: the most memory that the process had, where known.

        Returns:
            The ids of the items that are completed; the leases of the others were lost.
        """
        done = self._end_group(leases, Trigger.COMPLETE, peak_memory_bytes, ended)
        return {lease.item.id for lease in leases if self._is_among(lease, done, Completed())}

    def hand_back(self, leases: Sequence[Lease], reason: str) -> list[QueueItem]:
        """Put items back, uncounted, that this process has not begun to work on.

        Args:
            leases: of this process.
            reason: why, for the log of an item that was cancelled meanwhile.

        Returns:
            The items that wait again.
        """
        back = self._end_group(leases, Trigger.RELEASE, None)
        waiting = []
        for lease in leases:
            if lease.item.id in back:
                waiting.append(self.read_item(lease.item.id))
            else:
                # A cancel was asked for, or the lease is lost; the single settlement tells them apart.
                self._is_among(lease, back, Released(reason))
        return waiting

    def read_item(self, item_id: str) -> QueueItem:
        """Return an item as it is now.

        Raises:
            ItemNotFound: there is none.
        """
        with reading(self._engine) as connection:
            return self._read(connection, item_id)

    def _is_among(self, lease: Lease, ended: set[str], outcome: Outcome) -> bool:
        if lease.item.id in ended:
            return True
        try:
            self.settle(lease, outcome)
        except LeaseLost:
            return False
        return True

    def _tokens(self, leases: Sequence[Lease]) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            self._one_of(queue_items.c.id, [lease.item.id for lease in leases]),
            queue_items.c.status == Status.IN_PROGRESS,
            queue_items.c.lease_id.in_({lease.lease_id for lease in leases}),
        )

    def _one_of(self, column: sa.ColumnElement[str], ids: Sequence[str]) -> sa.ColumnElement[bool]:
        """Compare with many ids: on PostgreSQL one array, so that the statement stays the same."""
        if self._clock.dialect == "postgresql":
            return column == sa.any_(sa.literal(list(ids), postgresql.ARRAY(Id)))
        return column.in_(list(ids))

    # Claiming.

    def _claim_line(
        self, queue: str, worker: str, most: int, lease_id: str, *, longest_waiting: bool
    ) -> list[tuple[QueueItem, Document | None]]:
        begun: dict[str, Any] = {
            "lease_id": lease_id, "worker": worker, "host": socket.gethostname(), "pid": os.getpid()
        }  # fmt: skip
        data: dict[str, JSON] = {"status": Status.IN_PROGRESS.value, "worker": worker}
        if self._clock.dialect == "postgresql":
            statement = claim_line(longest_waiting=longest_waiting, single=most == 1)
            known = {
                "queue": queue,
                "lease_seconds": self._settings.lease_seconds,
                "data": data,
            }
            if most > 1:
                known["most"] = most
            with self._at_once() as connection:
                rows = connection.execute(statement, {**begun, **known}).all()
            return [(to_item(row), to_claimed_document(row)) for row in rows]
        order = (queue_items.c.due_at, queue_items.c.id) if longest_waiting else LINE
        best = through(
            sa.select(queue_items.c.id)
            .where(*self._in_line(queue), self._running(queue), queue_items.c.cancel_requested_at.is_(None))
            .order_by(*order)
            .limit(most),
            "ix_queue_items_oldest" if longest_waiting else "ix_queue_items_line",
        )
        now = self._clock.now
        claim = (
            sa.update(queue_items)
            .where(queue_items.c.id.in_(best), queue_items.c.status == Status.PENDING)
            .values(**self._claim_values(worker, lease_id), started_at=now if most == 1 else None)
            .returning(*ITEM_COLUMNS)
        )
        with self._engine.begin() as connection:
            items = [to_item(row) for row in connection.execute(claim).all()]
            if items:
                self._note_claim(connection, lease_id, worker, [item.id for item in items])
                keys = [{"item_id": item.id, "attempt": item.attempt} for item in items]
                connection.execute(sa.insert(attempts).values(**begun, started_at=now), keys)
                self._append_many(connection, items, "started", data, lease_id)
        return [(item, None) for item in items]

    def _claimed_in_doubt(self, lease_id: str, error: sa.exc.OperationalError) -> list[QueueItem]:
        """Return the items of a claim whose commit landed although its answer was lost."""
        with reading(self._engine) as connection:
            rows = connection.execute(self._claimed_by(lease_id)).all()
        if not rows:
            raise error
        return [to_item(row) for row in rows]

    # Settling.

    def _end_group(
        self,
        leases: Sequence[Lease],
        trigger: Trigger,
        peak: int | None,
        stages: Mapping[ItemId, Sequence[Checkpoint]] = _NONE,
    ) -> set[str]:
        """Settle what needs no decision, in one commit; return the ids of the items that it found held."""
        done: set[str] = set()
        for lease_id in {lease.lease_id for lease in leases}:
            group = [lease for lease in leases if lease.lease_id == lease_id]
            kept = [lease for lease in group if stages.get(lease.item.id)]
            if not kept:
                with self._single_statement() as connection:
                    done |= self._end_batch(connection, group, lease_id, trigger, peak)
                continue
            with self._engine.begin() as connection:
                for lease in kept:
                    # Whoever lost it finds out below, and keeps nothing.
                    with contextlib.suppress(LeaseLost):
                        self._keep(connection, lease, stages[lease.item.id])
                done |= self._end_batch(connection, group, lease_id, trigger, peak)
        return done

    def _single_statement(self) -> Any:
        """Lend a connection for :meth:`_end_batch`, which is a single statement on PostgreSQL."""
        return self._at_once() if self._clock.dialect == "postgresql" else self._engine.begin()

    def _end_batch(
        self,
        connection: sa.Connection,
        leases: Sequence[Lease],
        lease_id: str,
        trigger: Trigger,
        peak: int | None,
    ) -> set[str]:
        completed = trigger is Trigger.COMPLETE
        status = Status.COMPLETED if completed else Status.PENDING
        kind, outcome = EVENT_KINDS[trigger], OUTCOME_NAMES[trigger]
        data: dict[str, JSON] = {"status": status.value}
        ids = [lease.item.id for lease in leases]
        if self._clock.dialect == "postgresql":
            known = {"ids": id_array(ids), "lease_id": lease_id, "outcome": outcome, "kind": kind}
            statement = settle_batch(completed=completed)
            return set(connection.execute(statement, {**known, "data": data, "peak": peak}).scalars().all())
        now = self._clock.now
        values: dict[str, Any] = {
            "status": status,
            "finished_at": now if completed else None,
            "progress": 1.0 if completed else queue_items.c.progress,
            "due_at": queue_items.c.due_at if completed else now,
            "announced_at": None,
            "error_code": None,
            "error_message": None,
            "worker": None,
            "lease_id": None,
            "lease_expires_at": None,
            "lease_boot": None,
            "suspect_at": None,
            "started_at": None,
            "updated_at": now,
        }
        if completed:
            values["options"] = self._options_without_password()
        guard = self._tokens(leases)
        if not completed:
            guard = (*guard, queue_items.c.cancel_requested_at.is_(None))
        names = ("id", "document_id", "owner_id", "attempt", "stage", "due_at")
        settle = (
            sa.update(queue_items)
            .where(*guard)
            .values(**values)
            .returning(*(queue_items.c[name] for name in names))
            .with_hint(BY_ID, dialect_name="sqlite")
        )
        rows = connection.execute(settle).all()
        found = [row.id for row in rows]
        if found:
            connection.execute(
                sa.update(attempts)
                .where(attempts.c.item_id.in_(found), attempts.c.lease_id == lease_id)
                .values(
                    ended_at=now,
                    outcome=outcome,
                    peak_memory_bytes=peak,
                    stage=sa.select(queue_items.c.stage)
                    .where(queue_items.c.id == attempts.c.item_id)
                    .scalar_subquery(),
                )
            )
            connection.execute(sa.delete(slots).where(slots.c.item_id.in_(found)))
            self._forget_claim(connection, lease_id)
            if not completed:
                # The same instant for all of them: they wait from now on.
                data["due_at"] = rows[0].due_at.isoformat()
            self._append_many(connection, rows, kind, data, lease_id)
        return set(found)

    # Shared.

    def _append_many(
        self,
        connection: sa.Connection,
        rows: Sequence[Any],
        kind: str,
        data: dict[str, JSON],
        lease_id: str,
    ) -> None:
        """Write an event for each row, in the transaction of their cause."""
        connection.execute(
            sa.insert(events).values(kind=kind, at=self._clock.now, data=data, lease_id=lease_id),
            [
                {
                    "item_id": row.id,
                    "document_id": row.document_id,
                    "owner_id": row.owner_id,
                    "attempt": row.attempt,
                }
                for row in rows
            ],
        )


def _kept(rows: Sequence[Any]) -> Kept:
    return Kept(
        frozenset(row.id for row in rows),
        frozenset(row.id for row in rows if row.cancel_requested_at is not None),
    )
