"""The feed over all items: nothing missed, nothing twice, however the transactions end."""

from __future__ import annotations

import contextlib
import random
import threading

import pytest
import sqlalchemy as sa

from jobs import accounts
from jobs.errors import DocQueueError
from jobs.feed import LATEST, EventFeed
from jobs.ids import new_id
from jobs.model import Artifact, CancelAcknowledged, Completed, Failed, Released, Role, Snoozed
from jobs.tables import events, queue_items
from tests.support.items import add_document, expire_lease, make_due
from tests.support.web import uploaded

OPERATIONS = ("process", "extract", "analyze")


@pytest.fixture
def feed(engine):
    return EventFeed(engine)


# SQLite has one writer at a time: nothing can commit out of order.
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def read_all(feed, cursor=None, owner=None, limit=3):
    """Read until there is no more, in small pages."""
    found = []
    while True:
        page, cursor = feed.read(cursor, owner=owner, limit=limit)
        found += page
        if len(page) < limit:
            return found, cursor


def numbers(found):
    return [event.seq for event in found]


def stored(engine):
    with engine.connect() as connection:
        return sorted(connection.execute(sa.select(events.c.seq)).scalars())


def test_pages_go_on_where_the_one_before_ended(feed, engine, service, settings):
    for _ in range(7):
        service.enqueue(add_document(engine, settings))
    found, cursor = read_all(feed)
    assert numbers(found) == stored(engine)
    assert feed.read(cursor, owner=None, limit=3) == ([], cursor)
    service.enqueue(add_document(engine, settings))
    (event,), _ = feed.read(cursor, owner=None, limit=3)
    assert event.seq == stored(engine)[-1]


def test_an_owner_reads_the_own_events_only(feed, engine, service, settings):
    owners = [accounts.create_user(engine, name, None, Role.MEMBER).id for name in ("ann", "ben", "cleo")]
    for owner in (*owners[:2], *owners[:2]):
        service.enqueue(add_document(engine, settings, owner_id=owner))
    for owner in owners:
        found, cursor = read_all(feed, owner=owner, limit=1)
        assert {event.owner_id for event in found} == ({owner} if owner != owners[2] else set())
        assert len(found) == (2 if owner != owners[2] else 0)
        service.enqueue(add_document(engine, settings, owner_id=owner))
        assert len(feed.read(cursor, owner=owner, limit=9)[0]) == 1


def test_latest_begins_with_what_happens_next(feed, engine, service, settings):
    service.enqueue(add_document(engine, settings))
    found, cursor = feed.read(LATEST, owner=None)
    assert found == []
    item = service.enqueue(add_document(engine, settings))
    assert [event.item_id for event in feed.read(cursor, owner=None)[0]] == [item.id]


@pytest.mark.parametrize("cursor", ["nonsense", "MS4yLjM=", "LTEuMA==", "ä"])
def test_a_cursor_that_is_none_of_ours_is_refused(feed, cursor):
    with pytest.raises(ValueError, match="not a cursor"):
        feed.read(cursor, owner=None)


def test_a_cursor_of_another_database_is_refused(feed):
    ahead = "OTk5OTk5OTk5OTk5LjE="  # 999999999999.1
    with pytest.raises(ValueError, match="ahead of the database"):
        feed.read(ahead, owner=None)


@only_postgresql
def test_events_that_commit_out_of_order_are_not_missed(feed, engine, service, settings):
    """Event n+1 commits and is asked for before event n appears."""
    documents = [add_document(engine, settings) for _ in range(3)]
    slow, quick = engine.connect(), engine.connect()
    with slow, quick:
        begun = slow.begin()
        service.enqueue_in(slow, documents[0], "process", 0)
        with quick.begin():
            service.enqueue_in(quick, documents[1], "process", 0)
        early, cursor = read_all(feed)
        assert early == [], "the later number waits for the transaction before it"
        begun.commit()
    late, cursor = read_all(feed, cursor)
    assert numbers(late) == stored(engine)
    service.enqueue(documents[2])
    assert len(read_all(feed, cursor)[0]) == 1


@only_postgresql
def test_a_plain_number_as_cursor_does_miss_them(engine, service, settings):
    """What the feed is for: the reader that it replaces loses an event in the same situation."""
    documents = [add_document(engine, settings) for _ in range(2)]
    seen, last = [], 0

    def read():
        nonlocal last
        with engine.connect() as connection:
            statement = sa.select(events.c.seq).where(events.c.seq > last).order_by(events.c.seq)
            seen.extend(connection.execute(statement).scalars())
        last = max(seen, default=0)

    with engine.connect() as slow:
        begun = slow.begin()
        service.enqueue_in(slow, documents[0], "process", 0)
        service.enqueue(documents[1])
        read()
        begun.commit()
    read()
    assert seen != stored(engine)


def test_a_transaction_that_is_rolled_back_leaves_no_gap_to_wait_for(feed, engine, service, settings):
    document = add_document(engine, settings)
    with engine.connect() as connection:
        begun = connection.begin()
        service.enqueue_in(connection, document, "process", 0)
        begun.rollback()
    item = service.enqueue(document)
    assert [event.item_id for event in read_all(feed)[0]] == [item.id]


def test_many_writers_at_once_and_readers_of_every_pace(feed, engine, service, settings):
    """Random transactions, some held open, some rolled back, while three readers keep up."""
    documents = [add_document(engine, settings) for _ in range(48)]
    over = threading.Event()
    failures = []

    def write(number):
        rng = random.Random(number)
        try:
            for document in documents[number::4]:
                with engine.connect() as connection:
                    begun = connection.begin()
                    for operation in rng.sample(OPERATIONS, rng.randint(1, 3)):
                        service.enqueue_in(connection, document, operation, 0)
                        if rng.random() < 0.3 and engine.dialect.name == "postgresql":
                            over.wait(0.02)
                    if rng.random() < 0.2:
                        begun.rollback()
                    else:
                        begun.commit()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    logs = [[], [], []]

    def follow(number):
        cursor, last_round = None, False
        while True:
            page, cursor = feed.read(cursor, owner=None, limit=(1, 5, 100)[number])
            logs[number] += page
            if not page:
                if last_round:
                    return
                last_round = over.is_set()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    readers = [threading.Thread(target=follow, args=(number,)) for number in range(3)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in writers:
        thread.join(60)
    over.set()
    for thread in readers:
        thread.join(60)
    assert failures == []
    for log in logs:
        assert numbers(log) == numbers(logs[0]), "every reader sees the same order"
        assert sorted(numbers(log)) == stored(engine), "nothing missed, nothing twice"


# The ledger under the feed.


def forbid_changes(engine):
    """Let the database refuse every change of an event, as a rule of its own would."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER only_append BEFORE UPDATE ON events "
                "BEGIN SELECT raise(ABORT, 'events are append-only'); END"
            )
            return
        connection.exec_driver_sql(
            "CREATE FUNCTION only_append() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'events are append-only'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER only_append BEFORE UPDATE ON events EXECUTE FUNCTION only_append()"
        )


def test_the_trigger_of_the_next_test_bites(engine, service, settings):
    forbid_changes(engine)
    service.enqueue(add_document(engine, settings))
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.update(events).values(kind="other"))


def test_no_step_of_any_item_ever_changes_an_event(engine, service, settings):
    """A seeded walk through the state machine, with the database on guard against every update."""
    forbid_changes(engine)
    rng = random.Random(2)
    outcomes = (
        Completed(),
        Failed("x", "x", permanent=False),
        Failed("x", "x", permanent=True),
        Snoozed(0.01, "x"),
        Released("x"),
        CancelAcknowledged(),
    )
    leases, known, steps = [], {}, set()

    def step(name):
        item = rng.choice(items)
        match name:
            case "enqueue":
                items.append(service.enqueue(add_document(engine, settings)).id)
            case "claim":
                make_due(engine, item)
                lease = service.claim(item, "w")
                leases.extend([lease] if lease else [])
            case "renew":
                service.renew(rng.choice(leases), stage="extract", progress=rng.random())
            case "checkpoint":
                made = Artifact(new_id(), "extract", "k" * 64, "e", "1", {}, {}, created_at=None)
                service.checkpoint(rng.choice(leases), "extract", made, reused=False)
            case "settle":
                service.settle(rng.choice(leases), rng.choice(outcomes))
            case "die":
                expire_lease(engine, item)
                service.mark_suspects()
                expire_lease(engine, item)
                service.rescue()
            case "cancel" | "retry":
                getattr(service, name)(item, "anna", "because")
            case "priority":
                service.change_priority(item, rng.randint(-9, 9), "anna")
            case "horse":
                service.report_horse_death("w", "killed by signal 9")
            case "purge":
                service.clear_ended(0, "anna")
        steps.add(name)

    items = [service.enqueue(add_document(engine, settings)).id]
    names = ("enqueue", "claim", "claim", "renew", "checkpoint", "settle", "settle", "die", "cancel", "retry",
             "priority", "horse")  # fmt: skip
    for number in range(300):
        name = "purge" if number % 60 == 59 else rng.choice(names)
        # What is not possible just now may not change anything either.
        with contextlib.suppress(DocQueueError, IndexError):
            step(name)
        with engine.connect() as connection:
            now = {row.seq: tuple(row) for row in connection.execute(sa.select(events))}
            alive = set(connection.execute(sa.select(queue_items.c.id)).scalars())
        assert all(now[seq] == row for seq, row in known.items() if seq in now)
        gone = {item_id for seq, (_, item_id, *_) in known.items() if seq not in now}
        assert gone.isdisjoint(alive), "events only go with their item"
        known = now
    assert steps == {*names, "purge"}


# The same over HTTP.


def test_a_program_follows_its_own_events(program, member, service, engine, settings):
    service.enqueue(add_document(engine, settings))  # somebody else's
    made = uploaded(program)
    first = program.get("/api/v1/events?limit=1")
    assert first.status_code == 200
    assert [(event["kind"], event["job_id"]) for event in first.json["events"]] == [
        ("accepted", made["job_id"])
    ]
    assert first.json["more"] is True
    second = program.get("/api/v1/events", query_string={"cursor": first.json["next_cursor"]})
    assert (second.json["events"], second.json["more"]) == ([], False)
    service.cancel(made["job_id"], "mia")
    third = program.get("/api/v1/events", query_string={"cursor": second.json["next_cursor"]})
    assert [event["kind"] for event in third.json["events"]] == ["cancelled"]


def test_only_an_admin_reads_everybodys(program, admin, service, engine, settings):
    service.enqueue(add_document(engine, settings))
    made = uploaded(program)
    assert program.get("/api/v1/events?all=1").status_code == 403
    assert len(admin.get("/api/v1/events?all=1").json["events"]) == 2
    assert made["job_id"] not in {event["job_id"] for event in admin.get("/api/v1/events").json["events"]}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=nonsense"])
def test_what_cannot_be_meant_is_refused(program, query):
    answer = program.get(f"/api/v1/events?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
