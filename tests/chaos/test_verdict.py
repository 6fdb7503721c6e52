"""The verdict of the chaos runs notices each thing that must not be."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from jobs.ids import new_id
from jobs.model import Artifact, Completed, Failed
from jobs.tables import artifacts, attempts, documents, events, item_counts, queue_items, results
from tests.chaos import verdict
from tests.chaos.documents import POISON, WORK, Task
from tests.chaos.monkey import Strike
from tests.support.items import add_document, make_due

HEALTHY = Task("00001", WORK, 5)
POISONED = Task("00002", POISON, 5)
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
FAR_AHEAD = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def worked(engine, settings, service):
    """A healthy document whose first attempt was killed, and a poisonous one that was quarantined."""

    def enqueue(task):
        return service.enqueue(add_document(engine, settings, task.content), "extract")

    healthy, poison = enqueue(HEALTHY), enqueue(POISONED)
    for item, crashes in ((healthy, 1), (poison, 3)):
        for number in range(crashes):
            make_due(engine, item.id)
            assert service.claim(item.id, f"w{number}") is not None
            service.report_horse_death(f"w{number}", "killed")
    make_due(engine, healthy.id)
    lease = service.claim(healthy.id, "w9")
    kept = Artifact(
        new_id(), "extract", "0" * 64, "chaos", "1", {}, {"key": HEALTHY.key},
        dt.datetime.now(dt.UTC),
    )  # fmt: skip
    service.checkpoint(lease, "extract", kept, reused=False)
    service.settle(lease, Completed())
    return {HEALTHY.key: healthy.id, POISONED.key: poison.id}


def judge(engine, settings, accepted, strikes=()):
    rows = verdict.read_rows(engine)
    found = {}
    for findings in (
        verdict.judge_documents(rows, settings, [HEALTHY, POISONED], accepted),
        verdict.judge_fence(rows),
        verdict.judge_causes(rows, {accepted[POISONED.key]}, strikes, ()),
        verdict.judge_balance(engine, settings),
    ):
        found |= findings.violations
    return found


def struck(engine, item_id):
    """Return a strike that explains the item's first attempt."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(attempts).where(attempts.c.item_id == item_id)).first()
    return Strike("kill worker", row.started_at, row.started_at, frozenset(), frozenset({row.worker}))


def test_a_run_in_which_everything_held_has_no_violations(engine, settings, worked):
    assert judge(engine, settings, worked, [struck(engine, worked[HEALTHY.key])]) == {}


def test_a_crash_that_nobody_caused_is_found(engine, settings, worked):
    assert judge(engine, settings, worked) == {"crashes without a cause": 1}


def copy_event(connection, item_id, original, **changes):
    """Write an event again, as somebody would who does not hold the item."""
    found = connection.execute(
        sa.select(events).where(events.c.item_id == item_id, events.c.kind == original).order_by(events.c.seq)
    ).first()
    values = {name: value for name, value in found._mapping.items() if name not in {"seq", "tx"}}
    connection.execute(sa.insert(events).values({**values, **changes}))


def complete_again(connection, item_id):
    copy_event(connection, item_id, "completed")


def report_progress_late(connection, item_id):
    copy_event(connection, item_id, "stage_completed", kind="progress")


def write_result_late(connection, item_id):
    late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    connection.execute(sa.update(results).where(results.c.item_id == item_id).values(created_at=late))


def write_result_of_the_killed(connection, item_id):
    first = connection.execute(
        sa.select(attempts.c.lease_id).where(attempts.c.item_id == item_id, attempts.c.attempt == 1)
    ).scalar_one()
    connection.execute(
        sa.update(results).where(results.c.item_id == item_id).values(attempt=1, lease_id=first)
    )


def store_artifact_of_nobody(connection, item_id):
    connection.execute(sa.update(artifacts).where(artifacts.c.item_id == item_id).values(lease_id="0" * 32))


def lose_item(connection, item_id):
    connection.execute(sa.delete(queue_items).where(queue_items.c.id == item_id))


def lose_result(connection, item_id):
    connection.execute(sa.delete(results).where(results.c.item_id == item_id))


def double_document(connection, item_id):
    document_id = connection.execute(
        sa.select(queue_items.c.document_id).where(queue_items.c.id == item_id)
    ).scalar_one()
    found = connection.execute(sa.select(documents).where(documents.c.id == document_id)).one()
    connection.execute(sa.insert(documents).values({**found._mapping, "id": new_id()}))


def leave_pending(connection, item_id):
    connection.execute(
        sa.update(queue_items).where(queue_items.c.id == item_id).values(status="pending", finished_at=None)
    )


def forget_crash(connection, item_id):
    connection.execute(sa.update(queue_items).where(queue_items.c.id == item_id).values(crashes=0))


def miscount(connection, item_id):
    del item_id
    bump = sa.case(
        (item_counts.c.bucket == "completed", item_counts.c.amount + 1), else_=item_counts.c.amount
    )
    connection.execute(sa.update(item_counts).values(amount=bump))


@pytest.mark.parametrize(
    ("harm", "rule"),
    [
        (complete_again, "completed twice"),
        (report_progress_late, "stale effects"),
        (write_result_late, "stale effects"),
        (write_result_of_the_killed, "stale effects"),
        (store_artifact_of_nobody, "stale effects"),
        (lose_item, "lost"),
        (lose_result, "lost"),
        (double_document, "duplicates per key"),
        (leave_pending, "stuck"),
        (forget_crash, "rows that contradict the ledger"),
        (miscount, "ledger out of balance"),
    ],
)
def test_each_harm_is_found(engine, settings, service, worked, harm, rule):
    service.fold_counts()
    with engine.begin() as connection:
        harm(connection, worked[HEALTHY.key])
    strikes = [Strike("kill worker", LONG_AGO, FAR_AHEAD, frozenset(), frozenset({"w0"}))]
    assert judge(engine, settings, worked, strikes).get(rule, 0) >= 1


def test_poison_that_was_not_quarantined_after_three_crashes_is_found(engine, settings, service, worked):
    service.retry(worked[POISONED.key], "a person")
    found = judge(engine, settings, worked)
    assert found["poison not quarantined after exactly 3 crashes"] == 1
    assert found["stuck"] == 1


def test_a_failure_that_nobody_caused_is_found(engine, settings, service):
    item = service.enqueue(add_document(engine, settings, HEALTHY.content), "extract")
    lease = service.claim(item.id, "w0")
    service.settle(lease, Failed("internal", "It failed.", permanent=False))
    found = verdict.judge_causes(verdict.read_rows(engine), set(), (), ())
    assert found.violations == {"failures without a cause": 1}
    assert len(verdict.count_burnt(verdict.read_rows(engine), set(), LONG_AGO)) == 1
