"""Who is next: priority, the owners' turns, the longest waiting, limits, pauses; on both databases."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import sqlalchemy as sa

from jobs import accounts
from jobs.errors import IllegalTransition, LeaseLost, Throttled, UnknownQueue
from jobs.model import Completed, Crashed, Failed, Released, Role, Snoozed, Status
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from jobs.tables import item_count_changes, item_counts, queue_items, slots
from tests.support.items import add_document, expire_lease, make_due, raw_item


class Dice:
    """A source of numbers in [0, 1) that the test loads."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number


def serving(engine, settings, *, dice=0.99, **changes):
    return DocumentQueueService(engine, dataclasses.replace(settings, **changes), Dice(dice))


@pytest.fixture
def owners(engine):
    return [accounts.create_user(engine, name, None, Role.MEMBER).id for name in ("anna", "bert", "cleo")]


def put(service, engine, settings, owner=None, **arguments):
    return service.enqueue(add_document(engine, settings, owner_id=owner), **arguments)


def claim_all(service, queue="documents"):
    """Claim and complete until nothing is left; return the items in the order of their claims."""
    order = []
    while (lease := service.claim_next(queue, "w")) is not None:
        service.settle(lease, Completed())
        order.append(lease.item.id)
    return order


# The order.


def test_high_goes_before_low_and_equals_in_the_order_of_arrival(engine, settings):
    service = serving(engine, settings)
    low, usual, high, later = (
        put(service, engine, settings, priority=priority).id for priority in (-5, 0, 9, 0)
    )
    assert [item.id for item in service.get_pending_items()] == [high, usual, later, low]
    assert claim_all(service) == [high, usual, later, low]


def test_one_claim_in_ten_takes_whoever_waits_longest_so_that_low_is_not_starved(engine, settings):
    service = serving(engine, settings, dice=0.05)
    low = put(service, engine, settings, priority=-100).id
    for _ in range(3):
        put(service, engine, settings, priority=100)
    assert service.claim_next("documents", "w").item.id == low


def test_an_owner_with_one_document_waits_for_one_round_not_for_everybody_else(engine, settings, owners):
    service = serving(engine, settings)
    anna, bert, cleo = owners
    for _ in range(20):
        put(service, engine, settings, anna)
    first = service.claim_next("documents", "w")
    assert first.item.owner_id == anna
    for owner in (bert, cleo, bert):
        put(service, engine, settings, owner)
    order = [raw_item(engine, item_id)["owner_id"] for item_id in claim_all(service)]
    # Each of them is served in the rounds that follow their arrival, not after the twenty.
    assert Counter(order[:4]) == {anna: 2, bert: 1, cleo: 1}
    assert Counter(order[:6])[bert] == 2
    assert Counter(order) == {anna: 19, bert: 2, cleo: 1}


def test_turns_are_kept_apart_for_each_priority(engine, settings, owners):
    service = serving(engine, settings)
    anna, bert, _ = owners
    for _ in range(5):
        put(service, engine, settings, anna, priority=1)
    urgent = put(service, engine, settings, bert, priority=2).id
    polite = put(service, engine, settings, bert, priority=1).id
    order = claim_all(service)
    assert order[0] == urgent
    assert order.index(polite) <= 2


def test_a_change_of_priority_moves_a_waiting_item_and_is_told(engine, settings):
    service = serving(engine, settings)
    first, second = (put(service, engine, settings).id for _ in range(2))
    changed = service.change_priority(second, 7, "anna", "the customer waits")
    assert changed.priority == 7
    assert [item.id for item in service.get_pending_items()] == [second, first]
    told = Queries(engine).events(second)[-1]
    assert (told.kind, told.data["from"], told.data["to"]) == ("priority_changed", 0, 7)
    assert (told.data["by"], told.data["reason"]) == ("anna", "the customer waits")
    service.claim(first, "w")
    with pytest.raises(IllegalTransition):
        service.change_priority(first, 1, "anna")
    with pytest.raises(ValueError, match="from -100 to 100"):
        service.change_priority(second, 101, "anna")


# Due later.


def test_a_delayed_item_is_not_in_the_line_until_it_is_due(engine, settings):
    service = serving(engine, settings)
    item = put(service, engine, settings, delay_seconds=3600)
    assert (item.deferred, service.get_queue_stats()["scheduled"]) == (True, 1)
    assert service.claim_next("documents", "w", preferred=item.id) is None
    assert service.stage_due() == 0
    make_due(engine, item.id)
    assert service.get_pending_items() == []
    assert service.stage_due() == 1
    assert service.get_queue_stats()["waiting"] == 1
    assert service.claim_next("documents", "w").item.id == item.id


def test_the_bell_of_an_item_that_just_came_due_need_not_wait_for_the_sweep(engine, settings):
    service = serving(engine, settings)
    item = put(service, engine, settings, delay_seconds=3600)
    make_due(engine, item.id)
    assert service.claim_next("documents", "w", preferred=item.id).item.id == item.id


# Pauses.


def test_nothing_of_a_paused_queue_is_claimed_until_it_is_resumed(engine, settings):
    service = serving(engine, settings)
    item = put(service, engine, settings)
    running = service.claim(put(service, engine, settings).id, "w")
    paused = service.pause_queue("documents", "anna", "moving house")
    assert (paused.paused_by, paused.pause_reason) == ("anna", "moving house")
    again = service.pause_queue("documents", "bert", "still moving")
    assert (again.paused_at, again.paused_by) == (paused.paused_at, "bert")
    assert service.claim(item.id, "w") is None
    assert service.claim_next("documents", "w") is None
    assert service.due_to_announce("documents", 10) == []
    service.renew(running)
    assert service.settle(running, Completed()).status is Status.COMPLETED
    assert service.resume_queue("documents", "anna").paused_at is None
    assert service.claim_next("documents", "w").item.id == item.id


def test_a_queue_that_is_not_set_up_is_refused_by_name(engine, settings):
    service = serving(engine, settings)
    for call in (
        lambda: service.pause_queue("letters", "anna", "x"),
        lambda: put(service, engine, settings, queue="letters"),
    ):
        with pytest.raises(UnknownQueue, match="choose one of documents"):
            call()


def test_queues_are_apart(engine, settings):
    service = serving(engine, settings, more_queues="scans")
    scan = put(service, engine, settings, queue="scans").id
    usual = put(service, engine, settings).id
    service.pause_queue("documents", "anna", "x")
    assert [item.id for item in service.get_pending_items(queue="scans")] == [scan]
    assert {item.id for item in service.get_pending_items()} == {scan, usual}
    assert claim_all(service, "scans") == [scan]
    assert service.claim_next("documents", "w") is None


# Limits.


def test_no_owner_has_more_running_than_allowed_and_nobody_waits_for_them(engine, settings, owners):
    service = serving(engine, settings, max_running_per_owner=2)
    anna, bert, _ = owners
    items = [put(service, engine, settings, anna) for _ in range(5)]
    leases = [service.claim_next("documents", "w") for _ in range(2)]
    assert service.claim_next("documents", "w") is None
    assert service.claim(items[4].id, "w") is None
    other = put(service, engine, settings, bert)
    assert service.claim_next("documents", "w").item.id == other.id
    nobody = put(service, engine, settings)
    with engine.begin() as connection:
        connection.execute(sa.update(queue_items).where(queue_items.c.id == nobody.id).values(owner_id=None))
    assert service.claim_next("documents", "w").item.id == nobody.id
    service.settle(leases[0], Completed())
    assert service.claim_next("documents", "w").item.owner_id == anna


def test_an_owner_far_behind_a_busy_one_is_found(engine, settings, owners, monkeypatch):
    monkeypatch.setattr("jobs.queue_service.claiming._LOOK_AHEAD", 3)
    service = serving(engine, settings, max_running_per_owner=1)
    anna, bert, _ = owners
    mine = [put(service, engine, settings, anna) for _ in range(8)]
    last = put(service, engine, settings, bert, priority=-1)
    assert service.claim_next("documents", "w").item.id == mine[0].id
    assert service.claim_next("documents", "w").item.id == last.id
    assert service.claim_next("documents", "w") is None


@pytest.mark.parametrize(
    "outcome",
    [Completed(), Failed("x", "x", permanent=False), Failed("x", "x", permanent=True), Snoozed(1, "x"),
     Released("x"), Crashed("x")],
    ids=lambda outcome: type(outcome).__name__,
)  # fmt: skip
def test_a_slot_is_given_back_however_the_attempt_ends(engine, settings, owners, outcome):
    service = serving(engine, settings, max_running_per_owner=1)
    put(service, engine, settings, owners[0])
    lease = service.claim_next("documents", "w")
    service.enter_stage(lease, "model", 3)
    assert slot_keys(engine) == {f"owner:{owners[0]}", "model"}
    service.settle(lease, outcome)
    assert slot_keys(engine) == set()


def test_a_slot_is_given_back_when_the_worker_dies(engine, settings, owners):
    service = serving(engine, settings, max_running_per_owner=1)
    item = put(service, engine, settings, owners[0])
    service.claim_next("documents", "w")
    expire_lease(engine, item.id)
    service.mark_suspects()
    expire_lease(engine, item.id)
    assert len(service.rescue()) == 1
    assert slot_keys(engine) == set()


def test_who_lost_its_lease_takes_no_slot(engine, settings):
    service = serving(engine, settings)
    lease = service.claim(put(service, engine, settings).id, "w")
    service.report_horse_death("w", "killed")
    with pytest.raises(LeaseLost):
        service.enter_stage(lease, "model", 3)
    assert slot_keys(engine) == set()


def slot_keys(engine):
    with engine.connect() as connection:
        return set(connection.execute(sa.select(slots.c.key)).scalars())


def test_only_so_many_use_the_model_at_once(engine, settings):
    service = serving(engine, settings)
    leases = [service.claim(put(service, engine, settings).id, "w") for _ in range(3)]
    service.enter_stage(leases[0], "model", 2)
    service.enter_stage(leases[0], "model", 2)
    service.enter_stage(leases[1], "model", 2)
    with pytest.raises(Throttled, match="All 2 slots"):
        service.enter_stage(leases[2], "model", 2)
    service.settle(leases[0], Completed())
    service.enter_stage(leases[2], "model", 2)


def test_a_throttle_is_never_shortened_and_holds_for_everybody(engine, settings):
    service = serving(engine, settings)
    lease = service.claim(put(service, engine, settings).id, "w")
    service.throttle("model", 60, "The endpoint asked to wait.")
    service.throttle("model", 1, "The endpoint asked to wait again.")
    with pytest.raises(Throttled, match="asked to wait again") as raised:
        service.enter_stage(lease, "model", 0)
    assert 50 < raised.value.retry_after <= 60


# Policies.


def test_each_operation_has_its_own_patience(engine, settings):
    service = serving(engine, settings, policy_analyze="failures=1,crashes=1")
    document = add_document(engine, settings)
    strict, usual = (service.enqueue(document, operation) for operation in ("analyze", "extract"))
    assert (strict.max_failures, usual.max_failures) == (1, settings.max_failures)
    trouble = Failed("x", "x", permanent=False)
    assert service.settle(service.claim(strict.id, "w"), trouble).status is Status.FAILED
    assert service.settle(service.claim(usual.id, "w"), trouble).status is Status.PENDING
    crashed = service.settle(service.claim(service.enqueue(document, "analyze").id, "w"), Crashed("signal 9"))
    assert (crashed.status, crashed.error_code) == (Status.FAILED, "quarantined")


# Counts.


def counted(engine):
    """What really is there, by the same names."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(queue_items.c.status, queue_items.c.deferred, queue_items.c.error_code)
        ).all()
    found = Counter(row.status for row in rows)
    found["waiting"] = sum(row.status == "pending" and not row.deferred for row in rows)
    found["quarantined"] = sum(row.error_code == "quarantined" for row in rows)
    found["total"] = len(rows)
    return found


def test_the_kept_counts_are_the_real_ones_after_every_step(engine, settings):
    service = serving(engine, settings, max_crashes=1)
    before = service.get_queue_stats()["accepted"]

    def check():
        stats, real = service.get_queue_stats(), counted(engine)
        for name in (*Status, "waiting", "quarantined", "total"):
            assert stats[name] == real[name], name
        assert stats["accepted"] - before == stats["total"] + stats["purged"]
        assert stats["pending"] == stats["waiting"] + stats["scheduled"] + stats["retrying"]

    outcomes = [Completed(), Failed("x", "x", permanent=False), Failed("x", "x", permanent=True),
                Snoozed(5, "x"), Released("x"), Crashed("x")]  # fmt: skip
    for outcome in outcomes:
        item = put(service, engine, settings)
        check()
        lease = service.claim(item.id, "w")
        check()
        service.settle(lease, outcome)
        check()
    failed = next(iter(Queries(engine).items(status="failed").rows)).item
    service.retry(failed.id, "anna")
    check()
    service.cancel(failed.id, "anna")
    check()
    service.fold_counts()
    check()
    assert service.clear_ended(0, "anna") == 3
    check()
    with engine.connect() as connection:
        kept = dict(connection.execute(sa.select(item_counts.c.bucket, item_counts.c.amount)).all())
        assert all(amount >= 0 for amount in kept.values())


def test_changes_of_the_counts_are_added_up_without_a_gap(engine, settings):
    service = serving(engine, settings)
    for _ in range(5):
        put(service, engine, settings)
    stats = service.get_queue_stats()
    rows = sa.select(sa.func.count()).select_from(item_count_changes)
    while service.fold_counts(limit=3):
        assert service.get_queue_stats() | {"oldest_waiting_seconds": 0} == stats | {
            "oldest_waiting_seconds": 0
        }
    with engine.connect() as connection:
        assert connection.execute(rows).scalar() == 0


# A document's newest item.


def test_a_document_is_represented_by_its_newest_item_also_after_that_was_cleared(engine, settings):
    service = serving(engine, settings)
    document = add_document(engine, settings)
    first = service.enqueue(document, "extract")
    second = service.enqueue(document, "analyze")
    assert [raw_item(engine, item.id)["superseded"] for item in (first, second)] == [True, False]
    service.cancel(second.id, "anna")
    with engine.begin() as connection:
        assert service.purge_in(connection, [first.id, second.id]) == 1
    assert raw_item(engine, first.id)["superseded"] is False


# A lost answer.


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "not landed"])
def test_a_claim_whose_commit_was_not_answered_is_looked_up(engine, settings, landed):
    service = serving(engine, settings)
    item = put(service, engine, settings)
    commits = []

    @sa.event.listens_for(engine, "commit")
    def lose_the_answer(connection):
        if not commits:
            commits.append(connection)
            dbapi = connection.connection.dbapi_connection
            if landed:
                dbapi.commit()
            else:
                dbapi.rollback()
            raise sa.exc.OperationalError("COMMIT", {}, ConnectionError("the connection is gone"))

    if not landed:
        with pytest.raises(sa.exc.OperationalError):
            service.claim(item.id, "w")
        assert raw_item(engine, item.id)["status"] == "pending"
        return
    lease = service.claim(item.id, "w")
    assert (lease.item.id, lease.attempt) == (item.id, 1)
    assert service.settle(lease, Completed()).status is Status.COMPLETED
