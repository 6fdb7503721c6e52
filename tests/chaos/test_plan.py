"""The plan of a chaos run: repeatable, complete, and of the size that was asked for."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.documents import POISON, Task, make_tasks
from tests.chaos.plan import FULL, SHORT, make_storm
from tests.chaos.uploads import make_batches


def storm(size, seed, *, database_server=True):
    return make_storm(size, 2.0, database_server=database_server, rng=random.Random(seed))


def test_the_same_seed_gives_the_same_faults_and_documents():
    assert storm(FULL, 1) == storm(FULL, 1) != storm(FULL, 2)
    assert make_tasks(500, 3.0, random.Random(1)) == make_tasks(500, 3.0, random.Random(1))


@pytest.mark.parametrize("database_server", [True, False])
@pytest.mark.parametrize("size", [SHORT, FULL])
def test_every_kind_of_fault_strikes_as_often_as_planned(size, database_server):
    kinds = Counter(fault.kind for fault in storm(size, 1, database_server=database_server))
    kills = {kind: amount for kind, amount in kinds.items() if kind.startswith("kill ")}
    assert sum(kills.values()) == size.kills
    assert len(kills) == (10 if database_server else 8)
    assert sum(amount for kind, amount in kinds.items() if kind.startswith("stop ")) == size.stops
    assert (kinds["flush redis"], kinds["restart redis"]) == (size.flushes, size.restarts)
    workers = kinds["kill worker"] + kinds["kill machine"] + kinds["kill pool"]
    assert workers / size.kills == pytest.approx(0.5, abs=0.05)


def test_the_sizes_are_those_that_were_promised():
    assert (FULL.documents, FULL.kills, FULL.stops, FULL.flushes, FULL.restarts) == (10_000, 500, 200, 20, 5)
    assert (FULL.workers, FULL.webs, FULL.schedulers, FULL.outage_seconds, FULL.rolling) == (8, 2, 2, 60, 20)
    assert (SHORT.documents, SHORT.faults) == (1_000, 100)


def test_a_stop_is_longer_than_a_lease():
    stops = [fault.seconds for fault in storm(FULL, 1) if fault.kind.startswith("stop ")]
    assert min(stops) > 2.0


def test_documents_are_unique_and_say_what_to_do():
    tasks = make_tasks(1000, 3.0, random.Random(1))
    assert len({task.content for task in tasks}) == 1000
    assert [Task.read(task.content) for task in tasks] == tasks
    assert sum(task.verb == POISON for task in tasks) == 5


def test_the_batches_hold_every_document_once():
    tasks = make_tasks(300, 1.0, random.Random(1))
    batches = make_batches(tasks, 50, random.Random(1))
    assert [task for batch in batches for task in batch.tasks] == tasks
    assert len({batch.key for batch in batches}) == len(batches)
