"""Reads what the reasons rest on, at the same cost at every depth.

The line is counted to :data:`jobs.waiting.COUNTED_TO`, the throughput is that of the items completed last,
and a whole page is explained by as many statements as one item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from jobs.claims import is_running, looked_up
from jobs.database import Clock, reading
from jobs.errors import ItemNotFound
from jobs.ids import parse_id
from jobs.model import ItemId, QueueItem, QueueState, Status, Throttle, UserId
from jobs.queue_service.base import IN_LINE, through
from jobs.queue_service.claiming import owner_key
from jobs.rows import ITEM_COLUMNS, to_item
from jobs.settings import Settings
from jobs.states import label as label_of
from jobs.tables import attempts, queue_items, queues, slots, throttles, workers
from jobs.waiting.reasons import (
    COUNTED_TO,
    Crew,
    Facts,
    Limits,
    Reason,
    RunningAttempt,
    Waiting,
    expected_start,
    is_minimum,
    reasons_of_pending,
    reasons_of_running,
)

_ALIVE_SECONDS = 60
_THROUGHPUT_SECONDS = 300
_ITEMS_LOOKED_AT = 200


class Explainer:
    """Explains items.

    Args:
        engine: the database.
        settings: queues, limits and intervals.
        uses: what each operation uses outside, as keys of throttles.
    """

    def __init__(
        self, engine: sa.Engine, settings: Settings, uses: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._limits = Limits(
            several_queues=len(settings.queue_names) > 1,
            max_running_per_owner=settings.max_running_per_owner,
            sweep_seconds=settings.sweep_seconds,
            announce_again_seconds=settings.announce_again_seconds,
            uses=uses or {},
        )
        self._clock = Clock(engine.dialect.name)

    def explain(self, item: QueueItem | str) -> Waiting:
        """Return everything that there is to say about why an item waits.

        Args:
            item: as it was just read, or its id.

        Raises:
            ItemNotFound: there is no item of this id.
        """
        with reading(self._engine) as connection:
            known = item if isinstance(item, QueueItem) else _read_item(connection, item)
            if known.status is Status.PENDING:
                return self._explain_pending(connection, known)
            now = self._clock.read(connection)
            held = self._attempt(connection, known) if known.status is Status.IN_PROGRESS else None
        label = label_of(known, now)
        reasons = reasons_of_running(known, held)
        return Waiting(known.id, known.status, label, known.queue, reasons=reasons, attempt=held)

    def briefly(self, items: Iterable[QueueItem]) -> dict[ItemId, Reason]:
        """Return the most decisive reason of each item that waits, for lists: nobody's place is counted.

        Args:
            items: a page of them; each may be in any state.
        """
        shown = list(items)
        found = {item.id: reason for item in shown for reason in reasons_of_running(item, None)}
        pending = [item for item in shown if item.status is Status.PENDING]
        if pending:
            with reading(self._engine) as connection:
                facts = self._facts(connection, pending)
            found |= {item.id: reasons_of_pending(item, facts, self._limits)[0] for item in pending}
        return found

    def _explain_pending(self, connection: sa.Connection, item: QueueItem) -> Waiting:
        facts = self._facts(connection, [item])
        crew = facts.crews.get(item.queue, Crew())
        position = _position(connection, item) if item.due_at <= facts.now else None
        completed, seconds = self._throughput(connection, item.queue, facts.now)
        reasons = reasons_of_pending(item, facts, self._limits, position)
        start, unknown = expected_start(
            reasons, facts.now, position, crew.alive - crew.busy, completed, seconds
        )
        return Waiting(
            item.id,
            item.status,
            label_of(item, facts.now),
            item.queue,
            reasons=reasons,
            workers_alive=crew.alive,
            workers_busy=crew.busy,
            running=len(_running(connection, item.queue)),
            position=position,
            position_is_minimum=position is not None and is_minimum(position),
            throughput_per_minute=round(completed * 60 / seconds, 2) if completed else None,
            expected_start=start,
            expected_start_unknown=unknown,
        )

    def _facts(self, connection: sa.Connection, items: Sequence[QueueItem]) -> Facts:
        paused = sa.select(queues).where(queues.c.paused_at.is_not(None))
        asked = sa.select(throttles).where(throttles.c.until > self._clock.now)
        return Facts(
            self._clock.read(connection),
            {row["name"]: QueueState(**row) for row in connection.execute(paused).mappings()},
            self._crews(connection),
            self._owners_running(connection, {item.owner_id for item in items}),
            [Throttle(**row) for row in connection.execute(asked).mappings()],
        )

    def _crews(self, connection: sa.Connection) -> dict[str, Crew]:
        holding = looked_up(sa.select(queue_items.c.worker).where(is_running(self._clock.dialect)))
        alive = sa.select(workers.c.queue, workers.c.name.in_(holding).label("busy")).where(
            workers.c.state != "gone", workers.c.seen_at > self._clock.after(-_ALIVE_SECONDS)
        )
        found: dict[str, Crew] = {}
        for row in connection.execute(alive):
            crew = found.get(row.queue, Crew())
            found[row.queue] = Crew(crew.alive + 1, crew.busy + bool(row.busy))
        return found

    def _owners_running(self, connection: sa.Connection, owners: set[UserId | None]) -> dict[str | None, int]:
        if not self._settings.max_running_per_owner:
            return {}
        keys = {owner_key(owner): owner for owner in owners}
        statement = (
            sa.select(slots.c.key, sa.func.count().label("running"))
            .where(slots.c.key.in_(list(keys)))
            .group_by(slots.c.key)
        )
        return {keys[row.key]: row.running for row in connection.execute(statement)}

    def _throughput(self, connection: sa.Connection, queue: str, now: datetime) -> tuple[int, float]:
        """Return how many of the newest completed items are of a queue, and in how many seconds."""
        newest = through(
            sa.select(queue_items.c.queue, queue_items.c.finished_at)
            .where(
                queue_items.c.segment == sa.literal_column("'completed'"),
                # A known instant, because no index is searched by PostgreSQL's volatile clock.
                queue_items.c.finished_at > now - timedelta(seconds=_THROUGHPUT_SECONDS),
            )
            .order_by(queue_items.c.finished_at.desc(), queue_items.c.id.desc())
            .limit(_ITEMS_LOOKED_AT),
            "ix_queue_items_ended",
        ).subquery()
        statement = sa.select(
            sa.func.count().label("ended"),
            sa.func.count().filter(newest.c.queue == queue).label("completed"),
            sa.func.min(newest.c.finished_at).label("first"),
        )
        row = connection.execute(statement).one()
        if row.ended < _ITEMS_LOOKED_AT:
            return row.completed, float(_THROUGHPUT_SECONDS)
        return row.completed, max(1.0, (now - row.first).total_seconds())

    def _attempt(self, connection: sa.Connection, item: QueueItem) -> RunningAttempt | None:
        statement = (
            sa.select(
                queue_items.c.worker,
                queue_items.c.attempt,
                queue_items.c.lease_boot,
                queue_items.c.suspect_at,
                queue_items.c.cancel_requested_at,
                (queue_items.c.lease_expires_at - self._clock.steady).label("left"),
                attempts.c.started_at,
            )
            .join(attempts, attempts.c.item_id == queue_items.c.id)
            .where(
                queue_items.c.id == item.id,
                queue_items.c.status == Status.IN_PROGRESS,
                attempts.c.attempt == queue_items.c.attempt,
            )
        )
        row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        return RunningAttempt(
            worker=row.worker,
            attempt=row.attempt,
            since=row.started_at,
            renewed_seconds_ago=max(0.0, round(self._settings.lease_seconds - row.left, 3)),
            suspected=row.suspect_at is not None or row.left < 0 or row.lease_boot != self._clock.boot,
            cancel_requested_at=row.cancel_requested_at,
        )


def _read_item(connection: sa.Connection, item_id: str) -> QueueItem:
    known = parse_id(item_id)
    if known is not None:
        row = connection.execute(sa.select(*ITEM_COLUMNS).where(queue_items.c.id == known)).one_or_none()
        if row is not None:
            return to_item(row)
    raise ItemNotFound("There is no such job.")


def _running(connection: sa.Connection, queue: str) -> list[tuple[int, int, str]]:
    """Return the places in line that a queue's running items had."""
    place = (-queue_items.c.priority, queue_items.c.turn, queue_items.c.id)
    statement = sa.select(*place).where(is_running(connection.dialect.name), queue_items.c.queue == queue)
    return [(row[0], row[1], row[2]) for row in connection.execute(looked_up(statement))]


def _position(connection: sa.Connection, item: QueueItem) -> int:
    """Count the line up to an item, in the order that a claim has: priority, turn, id.

    What stands in line was due when it came there, so that the index alone tells. One claim in ten goes to
    the longest waiting, and owners' limits may let others pass: a place is a promise of neither.

    Returns:
        1 for the next; at most :data:`COUNTED_TO` + 2, which stands for all that follow.
    """
    line = (queue_items.c.queue == item.queue, IN_LINE)
    place = sa.tuple_(sa.literal(item.turn, sa.BigInteger()), sa.literal(item.id, queue_items.c.id.type))
    higher = queue_items.c.priority > item.priority
    same = (
        queue_items.c.priority == item.priority,
        sa.tuple_(queue_items.c.turn, queue_items.c.id) < place,
    )
    # What runs has kept its place in the index.
    begun = sum(one < (-item.priority, item.turn, item.id) for one in _running(connection, item.queue))
    ahead = 0
    for part in ((higher,), same):
        # Each part is a range of the line's index, and that index has all there is to know.
        if ahead <= COUNTED_TO + begun:
            most = COUNTED_TO + 1 + begun - ahead
            rows = through(sa.select(queue_items.c.id).where(*line, *part).limit(most), "ix_queue_items_line")
            counted = sa.select(sa.func.count()).select_from(rows.subquery())
            ahead += connection.execute(counted).scalar_one()
    return 1 + max(0, ahead - begun)
