"""Two steps at once on one queue: the first is held in its open transaction while the second begins.

The first step's engine stops before its COMMIT, with every lock that it took. What the second does
meanwhile is looked up in the database, not guessed: it waits for the lock, or it has gone by.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from jobs import accounts, database
from jobs.claims import BY_ID
from jobs.model import Failed, Lease, QueueItem
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings
from jobs.tables import attempts, events, queue_items, slots
from tests.support.items import add_document, expire_lease, make_due, raw_item
from tests.support.servers import wait_until


class Abandoned(Exception):
    """The first step's transaction was rolled back."""


@dataclass
class Answer:
    """What a step came to."""

    value: object = None
    error: Exception | None = None


Step = Callable[["Scene", DocumentQueueService], object]


@dataclass
class Scene:
    """A queue in which two steps meet.

    Attributes:
        engine: for looking.
        service: a third one, for what happens before.
        item: the item that both steps are about.
        other: another item of the same owner, where there is one.
        lease: the running attempt's, where there is one.
    """

    engine: sa.Engine
    settings: Settings
    service: DocumentQueueService
    owner: str = ""
    item: QueueItem = None
    other: QueueItem | None = None
    lease: Lease | None = None
    leases: list[Lease] = field(default_factory=list)
    began_at: int = 0

    def row(self) -> dict[str, object] | None:
        """Return the item's row, or ``None`` when it was deleted."""
        try:
            return raw_item(self.engine, self.item.id)
        except sa.exc.NoResultFound:
            return None

    def new_events(self) -> list[str]:
        """Return the kinds of what was written since the scene began, in order."""
        with self.engine.connect() as connection:
            return list(
                connection.execute(
                    sa.select(events.c.kind).where(events.c.seq > self.began_at).order_by(events.c.seq)
                ).scalars()
            )

    def mark_beginning(self) -> None:
        with self.engine.connect() as connection:
            self.began_at = connection.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0

    def assert_consistent(self) -> None:
        """The ledger balances: attempts, slots and kept counts tell the same as the items."""
        with self.engine.connect() as connection:
            opened = connection.execute(
                sa.select(attempts.c.item_id, attempts.c.lease_id).where(attempts.c.ended_at.is_(None))
            ).all()
            running = connection.execute(
                sa.select(queue_items.c.id, queue_items.c.lease_id).where(
                    queue_items.c.status == "in_progress"
                )
            ).all()
            assert sorted(map(tuple, opened)) == sorted(map(tuple, running))
            held = set(connection.execute(sa.select(slots.c.item_id)).scalars())
            assert held <= {row.id for row in running}
            rows = connection.execute(
                sa.select(queue_items.c.status, sa.func.count()).group_by(queue_items.c.status)
            )
            counted = {row[0]: row[1] for row in rows}
        stats = self.service.get_queue_stats()
        for status in ("pending", "in_progress", "completed", "failed", "cancelled"):
            assert stats[status] == counted.get(status, 0), status
        assert stats["accepted"] == stats["total"] + stats["purged"]


# How a scene begins.


def pending(scene: Scene) -> None:
    scene.owner = accounts.ensure_admin(scene.engine).id
    scene.item = scene.service.enqueue(add_document(scene.engine, scene.settings, owner_id=scene.owner))


def running(scene: Scene) -> None:
    pending(scene)
    scene.lease = scene.service.claim(scene.item.id, "holder")


def expired(scene: Scene) -> None:
    running(scene)
    expire_lease(scene.engine, scene.item.id)


def silent(scene: Scene) -> None:
    """The lease ran out, was marked, and a heartbeat has gone by since."""
    expired(scene)
    scene.service.mark_suspects()
    expire_lease(scene.engine, scene.item.id)


def failed(scene: Scene) -> None:
    running(scene)
    scene.service.settle(scene.lease, Failed("bad", "Bad.", permanent=True))


def deferred(scene: Scene) -> None:
    """It waits for its due time, which has come since the last sweep."""
    running(scene)
    scene.service.settle(scene.lease, Failed("bad", "Bad.", permanent=False, retry_after=60.0))
    make_due(scene.engine, scene.item.id)


def two_pending(scene: Scene) -> None:
    pending(scene)
    content = b"Another one of the same owner."
    scene.other = scene.service.enqueue(
        add_document(scene.engine, scene.settings, content, owner_id=scene.owner)
    )


def two_running(scene: Scene) -> None:
    two_pending(scene)
    scene.leases = [scene.service.claim(item.id, "holder") for item in (scene.item, scene.other)]


def one_each(scene: Scene) -> None:
    """Two pending items, of an owner of whom only one may run at once."""
    scene.settings = replace(scene.settings, max_running_per_owner=1)
    scene.service = DocumentQueueService(scene.engine, scene.settings)
    two_pending(scene)


# The meeting.


def run_race(
    scene: Scene,
    first: Step,
    second: Step,
    *,
    commit: bool,
    waits: bool | None,
    make_service: Callable[..., DocumentQueueService] = DocumentQueueService,
    tamper: Callable[[sa.Engine], None] = lambda engine: None,
) -> tuple[Answer, Answer]:
    """Let the second step begin while the first one's transaction is open, then end that.

    Args:
        scene: where.
        first: the step that comes first; it is stopped before the COMMIT of its first write.
        second: the step that begins meanwhile.
        commit: whether the first step's transaction is committed or rolled back.
        waits: whether the second step has to wait for the first on PostgreSQL; ``None`` when it may or may
            not. On SQLite every write does.
        make_service: what the second step works with.
        tamper: changes the second step's engine.

    Returns:
        What each of them came to.
    """
    scene.mark_beginning()
    gate = _Gate(commit)
    with _engine(scene.settings) as holding, _engine(scene.settings) as coming:
        gate.guard(holding)
        lock = _SecondsLock(coming)
        tamper(coming)
        services = (
            DocumentQueueService(holding, scene.settings),
            make_service(coming, scene.settings),
        )
        answers = [Answer(), Answer()]
        threads = [
            threading.Thread(target=_take, args=(step, scene, service, answer), daemon=True)
            for step, service, answer in zip((first, second), services, answers, strict=True)
        ]
        threads[0].start()
        assert gate.reached.wait(10), f"the first step never came to its commit: {answers[0]}"
        threads[1].start()
        try:
            if scene.settings.uses_sqlite:
                assert lock.wanted.wait(10), f"the second step wrote nothing: {answers[1]}"
                # Nobody but the waiting thread can tell that it waits; it would be through within this.
                threads[1].join(0.05)
                assert threads[1].is_alive()
                assert not lock.taken.is_set()
            else:
                wait_until(lambda: _waiting(scene.engine) or not threads[1].is_alive(), 10, "the lock")
                assert waits in {None, threads[1].is_alive()}, f"waits or went by: {answers[1]}"
        finally:
            gate.opened.set()
            for thread in threads:
                thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
    assert isinstance(answers[0].error, Abandoned) is not commit, answers[0]
    return answers[0], answers[1]


def take_guards_away(engine: sa.Engine) -> None:
    """Leave of every WHERE clause on the items only its first condition, which names the row."""

    @sa.event.listens_for(engine, "before_execute", retval=True)
    def _weaken(_connection, clause, multiparams, params, _options):
        is_update = isinstance(clause, sa.Update)
        is_locking = isinstance(clause, sa.Select) and (
            clause._for_update_arg is not None or engine.dialect.name == "sqlite"
        )
        # What is read through an index of its own is a look at the line, no guard.
        is_locking = is_locking and not set(clause._hints.values()) - {BY_ID}
        if (is_update or is_locking) and len(clause._where_criteria) > 1:
            clause = clause._generate()
            clause._where_criteria = clause._where_criteria[:1]
        return clause, multiparams, params


class _Gate:
    """Stops the first writing transaction of an engine before its COMMIT."""

    def __init__(self, commit: bool) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._commit = commit

    def guard(self, engine: sa.Engine) -> None:
        sa.event.listen(engine, "commit", self._stop)

    def _stop(self, connection: sa.Connection) -> None:
        if connection.get_execution_options().get("docqueue_read_only") or self.reached.is_set():
            return
        self.reached.set()
        assert self.opened.wait(30)
        if not self._commit:
            raise Abandoned


class _SecondsLock:
    """Tells when an engine asks for SQLite's write lock, and when it has it."""

    def __init__(self, engine: sa.Engine) -> None:
        self.wanted = threading.Event()
        self.taken = threading.Event()
        sa.event.listen(engine, "before_cursor_execute", lambda *args: self._note(args[2], self.wanted))
        sa.event.listen(engine, "after_cursor_execute", lambda *args: self._note(args[2], self.taken))

    def _note(self, statement: str, event: threading.Event) -> None:
        if statement == "BEGIN IMMEDIATE":
            event.set()


@contextlib.contextmanager
def _engine(settings: Settings) -> Iterator[sa.Engine]:
    engine = database.make_engine(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def _take(step: Step, scene: Scene, service: DocumentQueueService, answer: Answer) -> None:
    try:
        answer.value = step(scene, service)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
        answer.error = error


def _waiting(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(
            connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).scalar_one()
        )
