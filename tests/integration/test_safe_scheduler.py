"""The scheduler: nothing lost, nothing twice, whatever dies and whenever."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from jobs import rq_scheduler
from jobs.delivery import PROCESS, SWEEP_JOB_ID, DocumentJob, web_connection
from jobs.rq_scheduler import LOCK_SECONDS, SafeScheduler, SchedulerLoop
from jobs.settings import load_settings
from tests.support.servers import wait_until


@pytest.fixture
def settings(data_dir, valkey):
    return load_settings({"DATA_DIR": str(data_dir), "REDIS_URL": valkey.url, "SWEEP_SECONDS": "1"})


@pytest.fixture
def connection(settings):
    with web_connection(settings) as client:
        yield client


@pytest.fixture
def scheduler(settings, connection):
    return SafeScheduler(settings, connection)


@pytest.fixture
def queue(settings, connection):
    return Queue(settings.queue_name, connection=connection, serializer=JSONSerializer, job_class=DocumentJob)


def schedule(scheduler, job_id, seconds=-2):
    due = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=seconds)
    return scheduler.enqueue_at(due, PROCESS, "document", "item", job_id=job_id)


def other(queue):
    """The ids that wait in the queue, the sweep left out."""
    return [job_id for job_id in queue.get_job_ids() if job_id != SWEEP_JOB_ID]


class Crash(BaseException):
    """The process ends here."""


def test_a_due_job_is_moved_and_a_later_one_is_not(scheduler, queue):
    schedule(scheduler, "due")
    schedule(scheduler, "later", seconds=60)
    scheduler.one_pass()
    assert other(queue) == ["due"]
    assert "due" not in scheduler
    assert "later" in scheduler
    assert queue.fetch_job("due").get_status() == "queued"


def test_a_moved_job_does_not_lie_around_for_ever(scheduler, connection):
    schedule(scheduler, "due")
    scheduler.one_pass()
    assert connection.ttl(DocumentJob.key_for("due")) > 0


def test_a_cancelled_job_does_not_lie_around_for_ever(scheduler, connection):
    job = schedule(scheduler, "later", seconds=60)
    scheduler.cancel(job)
    assert "later" not in scheduler
    assert connection.ttl(job.key) > 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_around_the_move_neither_loses_nor_doubles(monkeypatch, scheduler, settings, queue, moment):
    schedule(scheduler, "once")
    execute = redis.client.Pipeline.execute

    def crash(pipeline, *arguments, **options):
        if not any(b"rq:queue:documents" in str(command).encode() for command in pipeline.command_stack):
            return execute(pipeline, *arguments, **options)
        if moment == "after":
            execute(pipeline, *arguments, **options)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(redis.client.Pipeline, "execute", crash)
        with pytest.raises(Crash):
            scheduler.one_pass()
    SafeScheduler(settings, scheduler.connection).one_pass()
    assert other(queue) == ["once"]
    assert SWEEP_JOB_ID in scheduler


def test_the_sweep_is_pushed_to_the_front_and_stays_scheduled(scheduler, queue):
    queue.enqueue(PROCESS, "d", "i", job_id="waiting")
    scheduler.one_pass()
    assert queue.get_job_ids() == [SWEEP_JOB_ID, "waiting"]
    assert SWEEP_JOB_ID in scheduler


def test_a_waiting_sweep_does_not_pile_up(scheduler, queue, connection):
    for _ in range(3):
        scheduler.one_pass()
        connection.zadd(scheduler.scheduled_jobs_key, {SWEEP_JOB_ID: time.time() - 1})
    assert queue.get_job_ids() == [SWEEP_JOB_ID]


def test_a_flush_brings_the_sweep_back_at_the_next_pass(scheduler, queue, connection):
    scheduler.one_pass()
    connection.flushall()
    scheduler.one_pass()
    assert SWEEP_JOB_ID in scheduler
    assert queue.get_job_ids() == [SWEEP_JOB_ID]


def test_a_sweep_whose_record_expired_is_registered_again(scheduler, connection):
    scheduler.one_pass()
    connection.delete(DocumentJob.key_for(SWEEP_JOB_ID))
    connection.zadd(scheduler.scheduled_jobs_key, {SWEEP_JOB_ID: time.time() + 60})
    scheduler.one_pass()
    assert connection.exists(DocumentJob.key_for(SWEEP_JOB_ID))
    assert connection.zscore(scheduler.scheduled_jobs_key, SWEEP_JOB_ID) > time.time() + 30


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", "bogus"), ("data", "no json"), ("created_at", "yesterday"), ("timeout", "soon")],
)
def test_an_entry_that_cannot_be_read_is_dropped_and_the_rest_goes_on(
    scheduler, queue, connection, field, value
):
    schedule(scheduler, "poison", seconds=-5)
    connection.hset(DocumentJob.key_for("poison"), field, value)
    schedule(scheduler, "good")
    scheduler.one_pass()
    assert other(queue) == ["good"]
    assert "poison" not in scheduler
    assert not connection.exists(DocumentJob.key_for("poison"))


def test_a_foreign_lock_is_respected_and_left_alone(scheduler, queue, connection):
    schedule(scheduler, "due")
    connection.set(scheduler.scheduler_lock_key, "somebody-else", ex=LOCK_SECONDS)
    assert scheduler.one_pass() == 0
    assert queue.get_job_ids() == []
    assert connection.get(scheduler.scheduler_lock_key) == b"somebody-else"


def test_losing_the_lock_in_the_middle_of_a_pass_ends_it(monkeypatch, scheduler, queue, connection):
    for number in range(3):
        schedule(scheduler, f"job-{number}", seconds=-10 + number)
    read = scheduler._read

    def lose_the_lock(raw_id):
        if raw_id == b"job-1":
            connection.set(scheduler.scheduler_lock_key, "somebody-else")
        return read(raw_id)

    monkeypatch.setattr(scheduler, "_read", lose_the_lock)
    scheduler.one_pass()
    assert other(queue) == ["job-0"]
    assert connection.get(scheduler.scheduler_lock_key) == b"somebody-else"


def test_the_lock_is_lost_even_between_the_look_and_the_move(monkeypatch, scheduler, queue, connection):
    schedule(scheduler, "due")
    enqueue = Queue.enqueue_job

    def slow(self, job, **options):
        connection.set(scheduler.scheduler_lock_key, "somebody-else")
        return enqueue(self, job, **options)

    monkeypatch.setattr(Queue, "enqueue_job", slow)
    scheduler.one_pass()
    assert queue.get_job_ids() == []
    assert "due" in scheduler


def test_a_lock_that_ran_out_and_was_taken_again_ends_the_pass(monkeypatch, scheduler, connection):
    # Somebody else may have moved what stands in the list that was read before.
    monkeypatch.setattr(rq_scheduler, "_RENEW_EVERY", 2)
    for number in range(3):
        schedule(scheduler, f"job-{number}", seconds=-10 + number)
    read = scheduler._read

    def let_it_run_out(raw_id):
        if raw_id == b"job-0":
            connection.delete(scheduler.scheduler_lock_key)
            return None
        return read(raw_id)

    monkeypatch.setattr(scheduler, "_read", let_it_run_out)
    scheduler.acquire_lock()
    with pytest.raises(rq_scheduler.LockLostError):
        scheduler.enqueue_due()


def test_two_schedulers_move_each_job_once(settings, scheduler, queue):
    for number in range(60):
        schedule(scheduler, f"job-{number}")

    def work():
        with web_connection(settings) as own:
            mine = SafeScheduler(settings, own)
            for _ in range(10):
                mine.one_pass()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(other(queue)) == sorted(f"job-{number}" for number in range(60))


def test_the_loop_outlives_redis_and_keeps_sweeping(monkeypatch, settings, connection, valkey, data_dir):
    sweeps = []
    monkeypatch.setattr(rq_scheduler.sweep, "run", lambda *_: sweeps.append(time.monotonic()))
    fast = load_settings({"DATA_DIR": str(data_dir), "REDIS_URL": valkey.url, "SWEEP_SECONDS": "0.1"})
    monkeypatch.setattr(rq_scheduler, "_LONGEST_REDIS_WAIT_SECONDS", 0.2)
    loop = SchedulerLoop(fast, connection)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait_until(lambda: sweeps, 5)
        valkey.kill()
        seen = len(sweeps)
        wait_until(lambda: len(sweeps) > seen + 2, 5)
        valkey.start()
        valkey.flush()
        wait_until(lambda: connection.zscore(SafeScheduler.scheduled_jobs_key, SWEEP_JOB_ID), 5)
    finally:
        loop.stop()
        thread.join(5)
    assert not thread.is_alive()


def test_the_loop_outlives_a_database_that_fails(monkeypatch, settings, connection):
    calls = []

    def fail(*_):
        calls.append(1)
        raise RuntimeError("the database is away")

    monkeypatch.setattr(rq_scheduler.sweep, "run", fail)
    loop = SchedulerLoop(settings, connection)
    loop.sweep_once()
    loop.sweep_once()
    assert len(calls) == 2
