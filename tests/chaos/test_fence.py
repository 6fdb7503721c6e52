"""The fence holds back who wakes up late, and without it the verdict of the chaos runs finds that out."""

from __future__ import annotations

import os
import signal
import time

import pytest
import sqlalchemy as sa

from jobs.database import reading
from jobs.tables import attempts, events, queue_items
from tests.chaos.documents import QUIET, Task
from tests.chaos.fleet import Fleet, send
from tests.chaos.verdict import judge_fence, read_rows
from tests.support.client import eventually
from tests.support.items import add_document, raw_item

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(240)]

WORK_SECONDS = 2.4
# Stopped after this much of its work, the late one has less left than its successor has to do from the start.
STOPPED_AFTER_SECONDS = 1.2


@pytest.fixture
def start_workers(environ, tmp_path):
    """Start two workers and a scheduler, fenced or not."""
    fleets = []

    def start(*, guard: str) -> Fleet:
        environment = {**environ, "WORKERS": "2", "LOG_FORMAT": "json", "CHAOS_GUARD": guard}
        fleet = Fleet(environment, tmp_path, machines=1, webs=0, schedulers=1)
        fleets.append(fleet)
        fleet.start()
        return fleet

    yield start
    for fleet in fleets:
        fleet.close()


def attempt_row(engine, item_id, number):
    with reading(engine) as connection:
        return connection.execute(
            sa.select(attempts).where(attempts.c.item_id == item_id, attempts.c.attempt == number)
        ).one_or_none()


def is_in_stage(engine, item_id, number):
    """Tell whether an attempt has begun its first stage; from then on it only works and renews."""
    with reading(engine) as connection:
        return connection.execute(
            sa.select(events.c.seq)
            .where(events.c.item_id == item_id, events.c.attempt == number, events.c.kind == "progress")
            .limit(1)
        ).scalar()


def stop_right_after_a_renewal(engine, item_id, pid):
    """Stop a process when it holds no lock: its next statement comes a heartbeat later."""
    before = raw_item(engine, item_id)["lease_expires_at"]
    eventually(lambda: raw_item(engine, item_id)["lease_expires_at"] != before, 5, "a renewal")
    os.kill(pid, signal.SIGSTOP)


def let_one_wake_up_late(engine, settings, service, fleet):
    """Stop an attempt in mid-work until another holds its item, then let it go on."""
    task = Task("late", QUIET, round(WORK_SECONDS * 1000))
    item = service.enqueue(add_document(engine, settings, task.content), "extract")
    eventually(lambda: is_in_stage(engine, item.id, 1), 30, "the first attempt works")
    time.sleep(STOPPED_AFTER_SECONDS - settings.heartbeat_seconds)
    first = attempt_row(engine, item.id, 1)
    stop_right_after_a_renewal(engine, item.id, first.pid)
    try:
        eventually(lambda: is_in_stage(engine, item.id, 2), 30, "the second attempt works")
    finally:
        send(first.pid, signal.SIGCONT)
    eventually(lambda: raw_item(engine, item.id)["finished_at"], 30, "the item ended")
    # The horses stay; each says how its attempt ended.
    eventually(lambda: fleet.count_logged("attempt") + fleet.count_logged("lease_lost") >= 2, 30, "both ends")
    with reading(engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(queue_items)).scalar_one() == 1


def test_who_wakes_up_late_changes_nothing(engine, settings, service, start_workers):
    fleet = start_workers(guard="on")
    let_one_wake_up_late(engine, settings, service, fleet)
    assert judge_fence(read_rows(engine)).violations == {}
    assert fleet.count_logged("lease_lost") == 1, fleet.tails()


def test_without_the_fence_the_verdict_finds_what_the_late_one_wrote(
    engine, settings, service, start_workers
):
    fleet = start_workers(guard="off")
    let_one_wake_up_late(engine, settings, service, fleet)
    violations = judge_fence(read_rows(engine)).violations
    assert violations.get("stale effects", 0) >= 1, fleet.tails()
    assert violations.get("rows that contradict the ledger", 0) >= 1
