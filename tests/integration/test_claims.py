"""What a claim writes is in no index, and what runs is found by the claims."""

from __future__ import annotations

import re
import time

import pytest
import sqlalchemy as sa

from jobs.model import Failed
from jobs.queries import Queries
from jobs.tables import claims, queue_items
from tests.support.items import add_document, expire_lease

# Whatever a claim or a renewal changes in a row that was in line.
WRITTEN = frozenset(
    {"status", "attempt", "worker", "lease_id", "lease_expires_at", "lease_boot", "suspect_at", "started_at",
     "updated_at", "stage", "progress"}
)  # fmt: skip


def index_definitions(engine):
    statement = {
        "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '% queue_items %'",
        "postgresql": "SELECT indexdef FROM pg_indexes WHERE tablename = 'queue_items'",
    }[engine.dialect.name]
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(statement).scalars())


def claim_rows(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(claims.c.lease_id, claims.c.worker)).all()


@pytest.fixture
def items(service, engine, settings):
    return [service.enqueue(add_document(engine, settings, content=b"%d" % n)) for n in range(6)]


def test_no_index_names_what_a_claim_writes(engine):
    found = index_definitions(engine)
    assert len(found) >= 10
    for definition in found:
        assert not WRITTEN & set(re.findall(r"\w+", definition)), definition


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_on_postgresql_is_a_hot_update(service, engine, items):
    assert len(service.claim_many("documents", "w", 6)) == 6
    figures = sa.text(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'queue_items'"
    )
    deadline = time.monotonic() + 20
    while True:
        # A server process tells what it has done a second later, or when it ends.
        engine.dispose()
        with engine.connect() as connection:
            updated, hot = connection.execute(figures).one()
        if hot >= 6 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert (updated, hot) == (6, 6)


def test_a_claims_row_goes_with_the_last_item_that_it_holds(service, engine, items):
    leases = service.claim_many("documents", "w", 4)
    assert [row.worker for row in claim_rows(engine)] == ["w"]
    service.settle_many(leases[:2])
    service.settle(leases[2], Failed("x", "It broke.", permanent=True))
    assert len(claim_rows(engine)) == 1
    service.settle_many(leases[3:])
    assert claim_rows(engine) == []
    single = service.claim(items[5].id, "w")
    assert len(claim_rows(engine)) == 1
    service.hand_back([single], "it is a test")
    service.forget_claims()
    assert claim_rows(engine) == []


def test_the_sweep_forgets_only_what_holds_nothing(service, engine, items):
    (held,) = service.claim_many("documents", "w", 1)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(claims).values(
                lease_id="left",
                worker="w",
                item_ids=[items[4].id, held.item.id],
                claimed_at=held.item.created_at,
            )
        )
    assert service.forget_claims() == 1
    assert [row.lease_id for row in claim_rows(engine)] == [held.lease_id]


def test_what_runs_is_found_by_its_claim(service, engine, items):
    leases = service.claim_many("documents", "w-1", 2)
    other = service.claim(items[5].id, "w-2")
    queries = Queries(engine)
    running = {row.item.id for row in queries.items(status="in_progress").rows}
    assert running == {lease.item.id for lease in (*leases, other)}
    pending = {row.item.id for row in queries.items(status="pending").rows}
    assert pending == {item.id for item in items} - running
    assert {row.item.id for row in queries.items().rows} == {item.id for item in items}
    assert [item.id for item in service.release_held("w-2", "it is a test")] == [items[5].id]
    for lease in leases:
        expire_lease(engine, lease.item.id)
    assert service.mark_suspects() == 2
    for lease in leases:
        expire_lease(engine, lease.item.id)
    assert {item.id for item in service.rescue()} == {lease.item.id for lease in leases}
    assert claim_rows(engine) == []


def test_an_items_segment_follows_its_state(service, engine, items):
    def segment(item_id):
        with engine.connect() as connection:
            return connection.execute(
                sa.select(queue_items.c.segment).where(queue_items.c.id == item_id)
            ).scalar_one()

    first = items[0].id
    assert segment(first) == "open"
    lease = service.claim(first, "w")
    assert segment(first) == "open"
    service.settle(lease, Failed("x", "It broke.", permanent=False))
    assert segment(first) == "retrying"
    service.cancel(first, "me")
    assert segment(first) == "cancelled"
    service.retry(first, "me")
    assert segment(first) == "open"
    service.settle(service.claim(first, "w"), Failed("x", "It broke.", permanent=True))
    assert segment(first) == "failed"
