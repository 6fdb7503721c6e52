"""Each queue at a glance: paused or not, how much waits and runs, who works on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa

from jobs.claims import is_running, looked_up
from jobs.database import Clock, reading
from jobs.model import JSON, QueueState
from jobs.queue_service.base import IN_LINE
from jobs.settings import Settings
from jobs.tables import queue_items, queues, workers

COUNT_CAP = 10_000
_ALIVE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class QueueOverview:
    """One queue.

    Attributes:
        state: what people said about it.
        waiting: how many items are in its line; ``COUNT_CAP`` with ``waiting_capped`` says "or more".
        running: how many are being worked on.
        workers_alive: how many workers listen to it.
        workers_busy: how many of them hold an item.
    """

    state: QueueState
    waiting: int
    waiting_capped: bool
    running: int
    workers_alive: int
    workers_busy: int

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON."""
        state = self.state
        return {
            "name": state.name,
            "paused": None
            if state.paused_at is None
            else {"at": state.paused_at.isoformat(), "by": state.paused_by, "reason": state.pause_reason},
            "waiting": self.waiting,
            "waiting_capped": self.waiting_capped,
            "running": self.running,
            "workers": {"alive": self.workers_alive, "busy": self.workers_busy},
        }


def overview(engine: sa.Engine, settings: Settings) -> list[QueueOverview]:
    """Return every queue that is set up, in the order of the settings.

    What it costs does not depend on how much waits or has ended: lines are counted along their index and
    no further than ``COUNT_CAP``, and what runs is never more than there are workers.
    """
    clock = Clock(engine.dialect.name)
    said = sa.select(queues).where(queues.c.name.in_(settings.queue_names))
    held = looked_up(sa.select(queue_items.c.queue, queue_items.c.worker).where(is_running(clock.dialect)))
    alive = sa.select(workers.c.queue, workers.c.name).where(
        workers.c.state != "gone", workers.c.seen_at > clock.after(-_ALIVE_SECONDS)
    )
    with reading(engine) as connection:
        states = {row.name: QueueState(**row._mapping) for row in connection.execute(said)}  # noqa: SLF001  # its public name
        running = connection.execute(held).all()
        living = connection.execute(alive).all()
        runs = Counter(row.queue for row in running)
        waiting = {
            name: max(0, connection.execute(_count_line(name, runs[name])).scalar_one() - runs[name])
            for name in settings.queue_names
        }
    busy = {row.worker for row in running}
    return [
        QueueOverview(
            state=states.get(name, QueueState(name)),
            waiting=min(waiting[name], COUNT_CAP),
            waiting_capped=waiting[name] > COUNT_CAP,
            running=runs[name],
            workers_alive=sum(row.queue == name for row in living),
            workers_busy=sum(row.queue == name and row.name in busy for row in living),
        )
        for name in settings.queue_names
    ]


def _count_line(name: str, running: int) -> sa.Select[int]:
    """Count what waits and what runs, which the index alone tells, as far as is needed."""
    line = (
        sa.select(queue_items.c.id)
        .where(queue_items.c.queue == name, IN_LINE)
        .order_by(queue_items.c.priority.desc(), queue_items.c.turn, queue_items.c.id)
        .limit(COUNT_CAP + 1 + running)
    )
    return sa.select(sa.func.count()).select_from(line.subquery())
