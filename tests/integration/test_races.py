"""Every guarded statement against every step that may meet it: exactly one of the two stands.

Each race is run twice on both databases, with the first step's transaction committed and rolled
back; and once more with the guard taken out of the second step, which must not go unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from jobs.errors import (
    AlreadyQueued,
    DocQueueError,
    IllegalTransition,
    ItemNotFound,
    LeaseLost,
    Throttled,
)
from jobs.ids import new_id
from jobs.model import Artifact, CancelAcknowledged, Completed, Failed, Lease, QueueItem, Released, Snoozed
from jobs.queue_service import DocumentQueueService
from jobs.tables import artifacts, queue_items, slots
from tests.support.races import (
    Scene,
    Step,
    deferred,
    expired,
    failed,
    one_each,
    pending,
    run_race,
    running,
    silent,
    take_guards_away,
    two_pending,
    two_running,
)

# Steps.

FAILURE = Failed("bad", "Bad.", permanent=False)


def claim(scene, service):
    return service.claim(scene.item.id, "second" if scene.lease else "claimer")


def claim_other(scene, service):
    return service.claim(scene.other.id, "claimer")


def claim_next(_scene, service):
    return service.claim_next("documents", "claimer")


def settle(outcome):
    def step(scene, service):
        return service.settle(scene.lease, outcome)

    return step


complete = settle(Completed())
fail = settle(FAILURE)
snooze = settle(Snoozed(60.0, "Busy."))
release = settle(Released("stopping"))
acknowledge = settle(CancelAcknowledged())


def renew(scene, service):
    return service.renew(scene.lease)


def checkpoint(scene, service):
    artifact = Artifact(new_id(), "extract", "k" * 64, "e", "1", {"text": "x"}, {}, scene.item.created_at)
    service.checkpoint(scene.lease, "extract", artifact, reused=False)
    return "stored"


def mark_suspects(_scene, service):
    return service.mark_suspects()


def rescue(_scene, service):
    return service.rescue()


def report_horse_death(_scene, service):
    return next(iter(service.report_horse_death("holder", "killed by signal 9")), None)


def release_held(_scene, service):
    return next(iter(service.release_held("holder", "stopping")), None)


def cancel(scene, service):
    return service.cancel(scene.item.id, "ann")


def retry(scene, service):
    return service.retry(scene.item.id, "ann")


def change_priority(scene, service):
    return service.change_priority(scene.item.id, 7, "ann")


def change_priority_back(scene, service):
    return service.change_priority(scene.item.id, -7, "bob")


def purge(scene, service):
    with service._engine.begin() as connection:
        return service.purge_in(connection, [scene.item.id])


def enqueue(scene, service):
    return service.enqueue(scene.item.document_id)


def enqueue_extract(scene, service):
    return service.enqueue(scene.item.document_id, "extract")


def enqueue_analyze(scene, service):
    return service.enqueue(scene.item.document_id, "analyze")


def pause(_scene, service):
    return service.pause_queue("documents", "ann", "maintenance")


def stage_due(_scene, service):
    return service.stage_due()


def begin_sweep(_scene, service):
    return service.begin_sweep("duty", 60.0)


def enter_model(scene, service):
    service.enter_stage(scene.lease, "model", 1)
    return "entered"


def enter_model_first(scene, service):
    service.enter_stage(scene.leases[0], "model", 1)
    return "entered"


def enter_model_second(scene, service):
    service.enter_stage(scene.leases[1], "model", 1)
    return "entered"


# Expectations.


@dataclass(frozen=True)
class Then:
    """How a race must end.

    Attributes:
        answer: what the second step came to: a type of value or error, or the very value.
        events: what was written by both, in order.
        row: columns of the item; ``None`` when it must be gone.
    """

    answer: object
    events: tuple[str, ...]
    row: dict[str, object] | None


def then(answer, *kinds, gone=False, **row):
    return Then(answer, kinds, None if gone else row)


@dataclass(frozen=True)
class Race:
    """Two steps that meet.

    Attributes:
        waits: whether the second has to wait for the first on PostgreSQL, where not every step locks.
        bites: how to take the guard out of the second step; ``None`` where both steps may stand.
        rolled_back_on_sqlite: where a step on PostgreSQL passes over what another one holds.
    """

    first: Step
    second: Step
    scene: object
    committed: Then
    rolled_back: Then
    waits: bool = True
    bites: str | None = "where"
    rolled_back_on_sqlite: Then | None = None


CLAIMED = {"status": "in_progress", "attempt": 1, "worker": "claimer"}
WAITING = {"status": "pending", "attempt": 0, "worker": None}
HELD = {"status": "in_progress", "attempt": 1, "worker": "holder", "crashes": 0}
COMPLETED = {"status": "completed", "attempt": 1, "failures": 0, "crashes": 0}
RETRYING = {"status": "pending", "attempt": 1, "failures": 1, "crashes": 0}
RELEASED = {"status": "pending", "attempt": 1, "failures": 0, "crashes": 0}
CRASHED = {"status": "pending", "attempt": 1, "failures": 0, "crashes": 1}

RACES = {
    # The claim.
    "claim meets claim": Race(
        claim, claim, pending, then(None, "started", **CLAIMED), then(Lease, "started", **CLAIMED)
    ),
    # A line's head that somebody is taking is passed over, not waited for.
    "claim meets claim_next": Race(
        claim, claim_next, pending, then(None, "started", **CLAIMED), then(None, **WAITING),
        waits=False, bites=None, rolled_back_on_sqlite=then(Lease, "started", **CLAIMED),
    ),
    "claim_next meets claim_next of the next in line": Race(
        claim_next, claim_next, two_pending,
        then(Lease, "started", "started", **CLAIMED), then(Lease, "started"), waits=False, bites=None,
    ),
    "cancel meets claim": Race(
        cancel, claim, pending,
        then(None, "cancelled", status="cancelled", attempt=0), then(Lease, "started", **CLAIMED),
    ),
    "claim meets cancel": Race(
        claim, cancel, pending,
        then(QueueItem, "started", "cancel_requested", **CLAIMED),
        then(QueueItem, "cancelled", status="cancelled", attempt=0),
    ),
    "claim meets change_priority": Race(
        claim, change_priority, pending,
        then(IllegalTransition, "started", **CLAIMED, priority=0),
        then(QueueItem, "priority_changed", **WAITING, priority=7),
    ),
    "change_priority meets claim": Race(
        change_priority, claim, pending,
        then(Lease, "priority_changed", "started", **CLAIMED, priority=7),
        then(Lease, "started", **CLAIMED, priority=0), bites=None,
    ),
    "change_priority meets change_priority": Race(
        change_priority, change_priority_back, pending,
        then(QueueItem, "priority_changed", "priority_changed", **WAITING, priority=-7),
        then(QueueItem, "priority_changed", **WAITING, priority=-7), bites=None,
    ),
    "cancel meets change_priority": Race(
        cancel, change_priority, pending,
        then(IllegalTransition, "cancelled", status="cancelled", priority=0),
        then(QueueItem, "priority_changed", **WAITING, priority=7),
    ),
    "stage_due meets claim": Race(
        stage_due, claim, deferred,
        then(Lease, "started", status="in_progress", attempt=2, deferred=False),
        then(Lease, "started", status="in_progress", attempt=2, deferred=False), bites=None,
    ),
    "claim meets stage_due": Race(
        claim, stage_due, deferred,
        then(0, "started", status="in_progress", attempt=2, deferred=False),
        then(1, status="pending", attempt=1, deferred=False),
    ),
    # The owner's limit and the slots.
    "claim meets claim of the same owner's other item": Race(
        claim, claim_other, one_each, then(None, "started", **CLAIMED), then(Lease, "started", **WAITING),
        bites="slots",
    ),
    "claim meets claim_next of the same owner's other item": Race(
        claim, claim_next, one_each, then(None, "started", **CLAIMED), then(Lease, "started", **WAITING),
        bites="slots", rolled_back_on_sqlite=then(Lease, "started", **CLAIMED),
    ),
    "enter_stage meets enter_stage": Race(
        enter_model_first, enter_model_second, two_running,
        then(Throttled, status="in_progress"), then("entered", status="in_progress"), bites="slots",
    ),
    "rescue meets enter_stage": Race(
        rescue, enter_model, silent, then(LeaseLost, "returned", **CRASHED), then("entered", **HELD)
    ),
    # The running attempt against who takes it back.
    "renew meets mark_suspects": Race(
        renew, mark_suspects, expired, then(0, **HELD, suspect_at=None), then(1, **HELD), bites="where",
    ),
    "mark_suspects meets renew": Race(
        mark_suspects, renew, expired,
        then(False, **HELD, suspect_at=None), then(False, **HELD, suspect_at=None), bites=None,
    ),
    "renew meets rescue": Race(
        renew, rescue, silent, then([], **HELD, suspect_at=None), then(list, "returned", **CRASHED)
    ),
    "rescue meets renew": Race(
        rescue, renew, silent, then(LeaseLost, "returned", **CRASHED), then(False, **HELD)
    ),
    "rescue meets rescue": Race(
        rescue, rescue, silent, then([], "returned", **CRASHED), then(list, "returned", **CRASHED)
    ),
    "checkpoint meets rescue": Race(
        checkpoint, rescue, silent,
        then([], "stage_completed", **HELD), then(list, "returned", **CRASHED),
    ),
    "rescue meets checkpoint": Race(
        rescue, checkpoint, silent,
        then(LeaseLost, "returned", **CRASHED), then("stored", "stage_completed", **HELD),
    ),
    "complete meets rescue": Race(
        complete, rescue, silent, then([], "completed", **COMPLETED), then(list, "returned", **CRASHED)
    ),
    "rescue meets complete": Race(
        rescue, complete, silent, then(LeaseLost, "returned", **CRASHED),
        then(QueueItem, "completed", **COMPLETED),
    ),
    "rescue meets fail": Race(
        rescue, fail, silent, then(LeaseLost, "returned", **CRASHED),
        then(QueueItem, "retrying", **RETRYING),
    ),
    "rescue meets snooze": Race(
        rescue, snooze, silent, then(LeaseLost, "returned", **CRASHED),
        then(QueueItem, "snoozed", **RELEASED),
    ),
    "rescue meets release": Race(
        rescue, release, silent, then(LeaseLost, "returned", **CRASHED),
        then(QueueItem, "released", **RELEASED),
    ),
    "rescue meets an acknowledged cancel": Race(
        rescue, acknowledge, silent, then(LeaseLost, "returned", **CRASHED),
        then(QueueItem, "cancelled", status="cancelled", attempt=1),
    ),
    "mark_suspects meets complete": Race(
        mark_suspects, complete, expired,
        then(QueueItem, "completed", **COMPLETED), then(QueueItem, "completed", **COMPLETED), bites=None,
    ),
    "complete meets mark_suspects": Race(
        complete, mark_suspects, expired, then(0, "completed", **COMPLETED), then(1, **HELD), bites=None,
    ),
    # The supervisors.
    "complete meets report_horse_death": Race(
        complete, report_horse_death, running,
        then(None, "completed", **COMPLETED), then(QueueItem, "returned", **CRASHED),
    ),
    "report_horse_death meets complete": Race(
        report_horse_death, complete, running,
        then(LeaseLost, "returned", **CRASHED), then(QueueItem, "completed", **COMPLETED),
    ),
    "report_horse_death meets rescue": Race(
        report_horse_death, rescue, silent,
        then([], "returned", **CRASHED), then(list, "returned", **CRASHED),
    ),
    "rescue meets report_horse_death": Race(
        rescue, report_horse_death, silent,
        then(None, "returned", **CRASHED), then(QueueItem, "returned", **CRASHED),
    ),
    "release_held meets complete": Race(
        release_held, complete, running,
        then(LeaseLost, "released", **RELEASED), then(QueueItem, "completed", **COMPLETED),
    ),
    "complete meets release_held": Race(
        complete, release_held, running,
        then(None, "completed", **COMPLETED), then(QueueItem, "released", **RELEASED),
    ),
    "release_held meets report_horse_death": Race(
        release_held, report_horse_death, running,
        then(None, "released", **RELEASED), then(QueueItem, "returned", **CRASHED),
    ),
    "report_horse_death meets release_held": Race(
        report_horse_death, release_held, running,
        then(None, "returned", **CRASHED), then(QueueItem, "released", **RELEASED),
    ),
    # One attempt settles once; the same settle again after a lost answer is no other.
    "complete meets the same complete": Race(
        complete, complete, running,
        then(QueueItem, "completed", **COMPLETED), then(QueueItem, "completed", **COMPLETED),
    ),
    "complete meets fail": Race(
        complete, fail, running,
        then(LeaseLost, "completed", **COMPLETED), then(QueueItem, "retrying", **RETRYING),
    ),
    "fail meets complete": Race(
        fail, complete, running,
        then(LeaseLost, "retrying", **RETRYING), then(QueueItem, "completed", **COMPLETED),
    ),
    "complete meets renew": Race(
        complete, renew, running, then(LeaseLost, "completed", **COMPLETED), then(False, **HELD)
    ),
    "release meets checkpoint": Race(
        release, checkpoint, running,
        then(LeaseLost, "released", **RELEASED), then("stored", "stage_completed", **HELD),
    ),
    # A cancel that is asked for while the attempt ends: every end but completed honours it.
    "cancel meets complete": Race(
        cancel, complete, running,
        then(QueueItem, "cancel_requested", "completed", **COMPLETED),
        then(QueueItem, "completed", **COMPLETED), bites=None,
    ),
    "cancel meets fail": Race(
        cancel, fail, running,
        then(QueueItem, "cancel_requested", "cancelled", status="cancelled", failures=0),
        then(QueueItem, "retrying", **RETRYING), bites=None,
    ),
    "cancel meets release": Race(
        cancel, release, running,
        then(QueueItem, "cancel_requested", "cancelled", status="cancelled"),
        then(QueueItem, "released", **RELEASED), bites=None,
    ),
    "cancel meets rescue": Race(
        cancel, rescue, silent,
        then(list, "cancel_requested", "cancelled", status="cancelled", crashes=0),
        then(list, "returned", **CRASHED), bites=None,
    ),
    "cancel meets report_horse_death": Race(
        cancel, report_horse_death, running,
        then(QueueItem, "cancel_requested", "cancelled", status="cancelled", crashes=0),
        then(QueueItem, "returned", **CRASHED), bites=None,
    ),
    "complete meets cancel": Race(
        complete, cancel, running,
        then(IllegalTransition, "completed", **COMPLETED, cancel_requested_at=None),
        then(QueueItem, "cancel_requested", **HELD),
    ),
    "release meets cancel": Race(
        release, cancel, running,
        then(QueueItem, "released", "cancelled", status="cancelled"),
        then(QueueItem, "cancel_requested", **HELD), bites=None,
    ),
    "cancel meets cancel": Race(
        cancel, cancel, pending,
        then(IllegalTransition, "cancelled", status="cancelled"),
        then(QueueItem, "cancelled", status="cancelled"),
    ),
    # Retry, enqueue, purge.
    "retry meets retry": Race(
        retry, retry, failed,
        then(IllegalTransition, "retried", **RELEASED), then(QueueItem, "retried", **RELEASED),
    ),
    "retry meets enqueue of the same": Race(
        retry, enqueue, failed,
        then(AlreadyQueued, "retried", **RELEASED), then(QueueItem, "accepted", status="failed"),
        bites="index",
    ),
    "enqueue of the same meets retry": Race(
        enqueue, retry, failed,
        then(AlreadyQueued, "accepted", status="failed"), then(QueueItem, "retried", **RELEASED),
        bites="index",
    ),
    "enqueue meets enqueue of the same": Race(
        enqueue, enqueue, failed,
        then(AlreadyQueued, "accepted", status="failed"), then(QueueItem, "accepted", status="failed"),
        bites="index",
    ),
    "enqueue meets enqueue of another operation": Race(
        enqueue_extract, enqueue_analyze, pending,
        then(QueueItem, "accepted", "accepted", **WAITING, superseded=True),
        then(QueueItem, "accepted", **WAITING, superseded=True), bites=None,
    ),
    "purge meets retry": Race(
        purge, retry, failed, then(ItemNotFound, gone=True), then(QueueItem, "retried", **RELEASED),
        bites=None,
    ),
    "retry meets purge": Race(
        retry, purge, failed, then(0, "retried", **RELEASED), then(1, gone=True)
    ),
    "purge meets purge": Race(
        purge, purge, failed, then(0, gone=True), then(1, gone=True), bites=None
    ),
    # The queue as a whole. A claim beside a pause that is not committed yet counts as made before it.
    "pause meets claim": Race(
        pause, claim, pending, then((Lease, None), ...), then(Lease, "started", **CLAIMED),
        waits=False, bites=None,
    ),
    "claim meets pause": Race(
        claim, pause, pending, then(object, "started", **CLAIMED), then(object, **WAITING),
        waits=False, bites=None,
    ),
    "begin_sweep meets begin_sweep": Race(
        begin_sweep, begin_sweep, pending, then(False, **WAITING), then(True, **WAITING)
    ),
}  # fmt: skip
EXCLUSIVE = [name for name, race in RACES.items() if race.bites]


@pytest.fixture
def scene(engine, settings, service):
    return Scene(engine, settings, service)


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "rolled back"])
@pytest.mark.parametrize("name", RACES)
def test_exactly_one_of_two_steps_stands(scene, name, commit):
    race = RACES[name]
    race.scene(scene)
    _, second = run_race(scene, race.first, race.second, commit=commit, waits=race.waits)
    expected = race.committed if commit else race.rolled_back
    if not commit and scene.settings.uses_sqlite and race.rolled_back_on_sqlite is not None:
        expected = race.rolled_back_on_sqlite
    check(scene, second, expected)


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_a_race_is_lost_by_whoever_has_no_guard(scene, name):
    """The same race with the guard taken out of the second step ends otherwise: the test above bites."""
    race = RACES[name]
    race.scene(scene)
    weakened = {"tamper": take_guards_away} if race.bites == "where" else {}
    if race.bites == "slots":
        weakened["make_service"] = Unlimited
    if race.bites == "index":
        with scene.engine.begin() as connection:
            connection.exec_driver_sql("DROP INDEX uq_queue_items_open")
    _, second = run_race(scene, race.first, race.second, commit=True, waits=None, **weakened)
    with pytest.raises(AssertionError):
        check(scene, second, race.committed)


class Unlimited(DocumentQueueService):
    """A queue whose slots are counted by nobody."""

    def _take_slot(self, connection, key, item_id, most):
        del most
        connection.execute(sa.insert(slots).values(key=key, item_id=item_id))
        return True


def check(scene, second, expected):
    answer = second.value if second.error is None else second.error
    assert matches(answer, expected.answer), answer
    if expected.events == (...,):
        return
    assert tuple(scene.new_events()) == expected.events
    row = scene.row()
    if expected.row is None:
        assert row is None
    else:
        assert {key: row[key] for key in expected.row} == expected.row
    scene.assert_consistent()


def matches(answer, expected):
    if isinstance(expected, tuple):
        return any(matches(answer, one) for one in expected)
    if isinstance(expected, type):
        # A list stands for one that is not empty, an object for anything but an error.
        return isinstance(answer, expected) and answer != [] and not (
            isinstance(answer, Exception) and not issubclass(expected, DocQueueError)
        )  # fmt: skip
    return type(answer) is type(expected) and answer == expected


def test_nothing_is_claimed_after_a_pause_was_committed(scene):
    pending(scene)
    run_race(scene, pause, claim_other_queue, commit=True, waits=False)
    assert scene.service.claim(scene.item.id, "late") is None
    assert scene.service.claim_next("documents", "late") is None


def claim_other_queue(_scene, service):
    return service.claim(new_id(), "nobody")


def test_a_loser_leaves_no_artifact_behind(scene):
    silent(scene)
    run_race(scene, rescue, checkpoint, commit=True, waits=True)
    with scene.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(artifacts)).scalar_one() == 0


def test_of_two_new_items_of_a_document_exactly_one_is_the_newest(scene):
    pending(scene)
    run_race(scene, enqueue_extract, enqueue_analyze, commit=True, waits=True)
    with scene.engine.connect() as connection:
        shown = connection.execute(
            sa.select(queue_items.c.operation).where(~queue_items.c.superseded)
        ).scalars()
        assert list(shown) == ["analyze"]
