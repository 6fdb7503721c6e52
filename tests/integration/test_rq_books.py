"""RQ's records, kept for many jobs at once: what the dashboard and a plain worker find there is RQ's own."""

from __future__ import annotations

import threading

import pytest
from rq import Worker
from rq.job import JobStatus

from jobs import rq_books, warm_horse
from jobs.delivery import Delivery, DocumentJob, rq_job_id, web_connection, worker_connection
from jobs.extraction import warm as fork_server
from jobs.horse_link import CLAIMED, IDLE, SETTLED, HorseLink
from jobs.rq_books import Books
from jobs.rq_worker import DocumentWorker
from jobs.warm_horse import WarmHorse
from tests.support.items import add_document, raw_item
from tests.support.servers import wait_until

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def redis_client(settings):
    with web_connection(settings) as client:
        yield client


@pytest.fixture
def worker(settings, engine):
    del engine
    made = DocumentWorker(settings, "w-1", worker_connection(settings))
    made.register_birth()
    return made


@pytest.fixture
def books(worker):
    return Books(worker.queues[0], worker.key, worker.executions_key, worker.name)


@pytest.fixture
def bells(engine, settings, service, redis_client):
    items = [service.enqueue(add_document(engine, settings, b"%d" % number)) for number in range(6)]
    Delivery(redis_client, settings).announce(items)
    return [rq_job_id(item) for item in items]


def fetch(redis_client, job_id):
    return DocumentJob.fetch(job_id, connection=redis_client)


def test_jobs_begin_and_end_as_rq_has_them(books, worker, bells, redis_client):
    queue = worker.queues[0]
    left = books.keep(2, began=bells[:2])
    assert (left.bells, left.workers, left.others) == (4, 1, False)
    assert queue.get_job_ids() == bells[2:]
    assert sorted(queue.started_job_registry.get_job_ids()) == sorted(bells[:2])
    job = fetch(redis_client, bells[0])
    assert (job.get_status(), job.worker_name) == (JobStatus.STARTED, "w-1")
    assert job.started_at is not None
    (seen,) = Worker.all(connection=redis_client)
    assert {execution.job_id for execution in seen.get_current_executions()} == set(bells[:2])
    books.keep(0, ended=bells[:2])
    assert queue.started_job_registry.get_job_ids() == []
    assert sorted(queue.finished_job_registry.get_job_ids()) == sorted(bells[:2])
    job = fetch(redis_client, bells[0])
    assert job.get_status() == JobStatus.FINISHED
    assert job.ended_at is not None
    assert 0 < redis_client.ttl(job.key) <= rq_books.RESULT_SECONDS
    assert Worker.all(connection=redis_client)[0].get_current_executions() == []
    assert Worker.all(connection=redis_client)[0].successful_job_count == 2


def test_what_ends_before_it_was_noted_as_begun_is_finished_too(books, worker, bells, redis_client):
    books.keep(3, ended=bells[:3])
    assert sorted(worker.queues[0].finished_job_registry.get_job_ids()) == sorted(bells[:3])
    assert fetch(redis_client, bells[2]).get_status() == JobStatus.FINISHED


def test_a_bell_whose_item_is_worked_off_by_others_does_not_stay_for_ever(books, bells, redis_client):
    books.keep(6, ended=bells[:1])
    for job_id in bells[1:]:
        assert 0 < redis_client.ttl(DocumentJob.key_for(job_id)) <= rq_books.FAILURE_SECONDS
    books.keep(0, began=bells[1:2])
    assert redis_client.ttl(DocumentJob.key_for(bells[1])) == -1


def test_other_jobs_stay_at_the_head_of_the_list(books, worker, bells, redis_client):
    queue = worker.queues[0]
    for name in ("sweep", "another"):
        queue.enqueue("jobs.tasks.sweep", job_id=name, at_front=True)
    left = books.keep(4)
    assert left.others
    assert queue.get_job_ids() == ["another", "sweep", *bells[2:]]


def test_no_more_are_shown_as_finished_than_anybody_looks_at(books, worker, bells, redis_client, monkeypatch):
    monkeypatch.setattr(rq_books, "_MOST_SHOWN_FINISHED", 2)
    books.keep(6, ended=bells)
    assert sorted(worker.queues[0].finished_job_registry.get_job_ids()) == sorted(bells[:2])
    assert not redis_client.exists(*(DocumentJob.key_for(job_id) for job_id in bells[2:]))


def test_a_beat_keeps_what_runs_from_being_taken_for_abandoned(books, worker, bells, redis_client):
    books.keep(1, began=bells[:1])
    key = worker.queues[0].started_job_registry.key
    ((entry, before),) = redis_client.zrange(key, 0, -1, withscores=True)
    redis_client.zadd(key, {entry: before - 80})
    books.beat()
    ((_, after),) = redis_client.zrange(key, 0, -1, withscores=True)
    assert after >= before - 1
    assert books.forget() == bells[:1]
    assert books.forget() == []


def test_a_horse_that_has_done_enough_ends_after_its_bell(
    settings, engine, service, bells, monkeypatch, redis_client
):
    monkeypatch.setattr(warm_horse, "_MOST_ITEMS", 3)
    link = HorseLink()
    horse = threading.Thread(target=WarmHorse(settings, "w-1", "documents", link).run)
    horse.start()
    assert link.ring()
    said = []
    wait_until(lambda: said.extend(link.wait(0.1) or []) or any(one.word == IDLE for one in said))
    horse.join(10)
    assert not horse.is_alive()
    taken = [job_id for one in said if one.word == CLAIMED for job_id in one.job_ids]
    ended = [job_id for one in said if one.word == SETTLED for job_id in one.job_ids]
    assert sorted(taken) == sorted(ended)
    assert set(taken) <= set(bells)
    assert 3 <= len(taken) < 6
    waiting = [item.id for item in service.get_pending_items(10)]
    assert len(waiting) == 6 - len(taken)
    assert all(raw_item(engine, item_id)["attempt"] == 0 for item_id in waiting)
    link.close()
    link.close_horses_end()
    fork_server.stop()
