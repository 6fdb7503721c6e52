"""The bell: what stands in Redis, who may run it, and that losing it costs nothing but time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs import sweep
from jobs.delivery import (
    FAILURE_SECONDS,
    PROCESS,
    RESULT_SECONDS,
    Delivery,
    DocumentJob,
    rq_job_id,
    web_connection,
)
from jobs.errors import DeliveryError
from jobs.model import Status
from jobs.queries import Queries
from tests.support.items import add_document, expire_lease, make_due
from tests.support.processes import ROOT


@pytest.fixture
def delivery(settings):
    connection = web_connection(settings)
    yield Delivery(connection, settings)
    connection.close()


@pytest.fixture
def item(service, engine, settings):
    return service.enqueue(add_document(engine, settings, filename="Confidential Müller.pdf"))


def everything_in_redis(connection):
    found = b""
    for key in connection.scan_iter("*"):
        found += key
        kind = connection.type(key)
        if kind == b"hash":
            for value in connection.hgetall(key).values():
                try:
                    found += zlib.decompress(value)
                except zlib.error:
                    found += value
        elif kind == b"list":
            found += b"".join(connection.lrange(key, 0, -1))
    return found


def test_a_bell_is_one_rq_job_keyed_by_the_document_with_ids_only(delivery, settings, item):
    delivery.announce([item])
    (job_id,) = delivery.queue.job_ids
    assert job_id.startswith(f"{item.document_id}-process-")
    job = DocumentJob.fetch(job_id, connection=delivery.connection)
    assert json.loads(job.data) == ["jobs.tasks.process_document", None, [item.document_id, item.id], {}]
    assert job.description == job_id
    contents = everything_in_redis(delivery.connection)
    assert "Müller".encode() not in contents
    assert b"Confidential" not in contents


def test_a_bell_is_to_the_letter_what_rq_itself_would_write(service, engine, settings, delivery, item):
    """So that any worker of RQ's runs it, and its dashboard shows it."""
    urgent = service.enqueue(add_document(engine, settings), "process", 10)
    delivery.announce([item, urgent])
    connection = delivery.connection

    def written():
        hashes = {}
        for key in connection.scan_iter("rq:job:*"):
            fields = connection.hgetall(key)
            assert fields.pop(b"created_at") <= fields.pop(b"enqueued_at")
            hashes[key] = {**fields, b"data": json.loads(zlib.decompress(fields[b"data"]))}
        others = {connection.type(key) for key in connection.scan_iter("*") if key not in hashes}
        assert others == {b"list", b"set"}
        return hashes, connection.lrange(delivery.queue.key, 0, -1), connection.smembers("rq:queues")

    ours = written()
    connection.flushall()
    delivery.queue.enqueue_many(
        Queue.prepare_data(
            PROCESS, args=[one.document_id, one.id], job_id=rq_job_id(one), description=rq_job_id(one),
            timeout=settings.longest_timeout_seconds, result_ttl=RESULT_SECONDS,
            failure_ttl=FAILURE_SECONDS, at_front=one.priority > 0,
        )
        for one in (item, urgent)
    )  # fmt: skip
    assert ours == written()


def test_a_plain_worker_of_rqs_runs_it(environ, delivery, item, engine):
    delivery.announce([item])
    command = [
        str(Path(sys.executable).with_name("rq")), "worker", "--burst", "--url", environ["REDIS_URL"],
        "-j", "jobs.delivery.DocumentJob", "-S", "json", "documents",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Queries(engine).item(item.id, owner=None).status is Status.COMPLETED, done.stderr


def test_items_of_several_queues_are_one_round_trip(engine, service, settings, monkeypatch):
    settings = replace(settings, more_queues="fast")
    connection = web_connection(settings)
    delivery = Delivery(connection, settings)
    items = [
        service.enqueue(add_document(engine, settings))._replace(queue=name) for name in ("documents", "fast")
    ]
    connection.ping()
    sent = []
    send = redis.connection.AbstractConnection.send_packed_command
    monkeypatch.setattr(
        redis.connection.AbstractConnection, "send_packed_command",
        lambda self, *words, **more: (sent.append(words), send(self, *words, **more))[1],
    )  # fmt: skip
    delivery.announce([*items, items[0]._replace(queue="no longer set up")])
    delivery.announce([])
    assert len(sent) == 1
    assert [delivery.queue_length(name) for name in ("documents", "fast")] == [1, 1]
    connection.close()


def test_no_two_attempts_share_a_job_id(service, engine, delivery, item):
    first = rq_job_id(item)
    lease = service.claim(item.id, "w")
    again = service.mark_failed(lease, "x", permanent=True)
    retried = service.retry(again.id, "a")
    other = service.enqueue(add_document(engine, service._settings))
    assert len({first, rq_job_id(retried), rq_job_id(other)}) == 3


def test_an_urgent_item_goes_to_the_front(service, engine, settings, delivery, item):
    urgent = service.enqueue(add_document(engine, settings), "process", 10)
    delivery.announce([item, urgent])
    assert delivery.queue.job_ids == [rq_job_id(urgent), rq_job_id(item)]


def test_only_what_is_missing_is_rung_again(service, engine, settings, delivery, item):
    other = service.enqueue(add_document(engine, settings))
    delivery.announce([item])
    assert delivery.announce_missing([item, other]) == 1
    assert sorted(delivery.queue.job_ids) == sorted([rq_job_id(item), rq_job_id(other)])


@pytest.mark.parametrize(
    "data",
    [
        b'["os.system", null, ["true"], {}]',
        b'["jobs.tasks.process_document_queue", null, [], {}]',
        b"cposix\nsystem\n(S'true'\ntR.",
    ],
)
def test_a_message_that_somebody_else_wrote_runs_nothing(settings, delivery, monkeypatch, data):
    import os

    monkeypatch.setattr(os, "system", lambda _: pytest.fail("a foreign function was run"))
    delivery.connection.hset(
        "rq:job:evil",
        mapping={
            "data": zlib.compress(data),
            "created_at": "2026-11-22T00:00:00.000000Z",
            "origin": "documents",
            "status": "queued",
            "success_callback_name": "os.system",
            "timeout": 10,
        },
    )
    delivery.connection.rpush(delivery.queue.key, "evil")
    worker = SimpleWorker(
        [delivery.queue], connection=delivery.connection, job_class=DocumentJob, serializer=JSONSerializer
    )
    worker.work(burst=True, logging_level="CRITICAL")
    assert Job.fetch("evil", connection=delivery.connection, serializer=JSONSerializer).is_failed


def test_a_retry_is_handed_to_rq_scheduler_for_its_due_time(service, delivery, item):
    lease = service.claim(item.id, "w")
    waiting = service.mark_failed(lease, "x")
    delivery.announce_later(waiting)
    ((job_id, at),) = delivery.connection.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    assert job_id.decode() == rq_job_id(waiting)
    assert waiting.due_at < datetime.fromtimestamp(at, UTC)
    job = DocumentJob.fetch(rq_job_id(waiting), connection=delivery.connection)
    assert json.loads(job.data)[2:] == [[item.document_id, item.id], {}]
    assert job.timeout == delivery._settings.longest_timeout_seconds


def test_a_bell_carries_the_longest_limit_because_it_may_lead_to_any_item(valkey, settings, service, item):
    others = dict.fromkeys(("process", "extract", "images", "retry_pages"), 7)
    limits = {f"policy_{name}": f"timeout={seconds}" for name, seconds in {**others, "analyze": 70}.items()}
    delivery = Delivery(web_connection(settings), replace(settings, **limits))
    delivery.announce([item])
    waiting = service.mark_failed(service.claim(item.id, "w"), "x")
    delivery.announce_later(waiting)
    ids = (rq_job_id(item), rq_job_id(waiting))
    assert [DocumentJob.fetch(one, connection=delivery.connection).timeout for one in ids] == [70, 70]


def test_a_silent_redis_is_told_quickly_and_in_our_own_words(valkey, delivery, item):
    valkey.stop()
    for call in (
        lambda: delivery.announce([item]),
        lambda: delivery.announce_missing([item]),
        lambda: delivery.announce_later(item),
        delivery.queue_length,
    ):
        with pytest.raises(DeliveryError):
            call()
    assert delivery.ping() is False


# The sweep.


def test_the_sweep_rings_for_what_redis_forgot(service, engine, settings, delivery):
    items = [service.enqueue(add_document(engine, settings)) for _ in range(50)]
    delivery.announce(items)
    delivery.connection.flushall()
    service.mark_unannounced([item.id for item in items])
    assert sweep.run(settings, engine, delivery, force=True).announced == 50
    assert delivery.queue_length() == 50
    assert sweep.run(settings, engine, delivery, force=True).announced == 0


def test_the_sweep_keeps_the_promise_while_redis_is_away(valkey, service, engine, settings, delivery, item):
    service.mark_unannounced([item.id])
    valkey.stop()
    assert sweep.run(settings, engine, delivery, force=True).announced == 0
    valkey.start()
    assert sweep.run(settings, engine, delivery, force=True).announced == 1


def test_what_is_not_due_or_not_pending_is_not_announced(service, engine, settings, delivery, item):
    service.mark_unannounced([item.id])
    service.claim(item.id, "w")
    service.enqueue(add_document(engine, settings), delay_seconds=60)
    assert sweep.run(settings, engine, delivery, force=True).announced == 0


def test_a_bell_that_was_rung_lately_is_not_rung_again(service, engine, settings, delivery, item):
    # Long ago for nobody, however slow this machine is just now.
    settings = replace(settings, announce_again_seconds=600)
    assert sweep.run(settings, engine, delivery, force=True).announced == 0


def test_two_sweeps_rescue_and_ring(service, engine, settings, delivery, item):
    # However slow the machine is, a heartbeat is not over within one sweep.
    settings = replace(settings, heartbeat_seconds=60.0)
    service.claim(item.id, "dead")
    expire_lease(engine, item.id)
    assert sweep.run(settings, engine, delivery, force=True).suspected == 1
    expire_lease(engine, item.id)
    second = sweep.run(settings, engine, delivery, force=True)
    assert second.rescued == 1
    make_due(engine, item.id)
    # The jitter may have made it due within the sweep that rescued it.
    assert second.announced + sweep.run(settings, engine, delivery, force=True).announced == 1
    assert Queries(engine).item(item.id, owner=None).status is Status.PENDING


def test_a_sweep_right_after_another_does_nothing(service, engine, settings, delivery, item):
    settings = replace(settings, sweep_seconds=60.0)
    service.mark_unannounced([item.id])
    assert sweep.run(settings, engine, delivery).announced == 1
    service.mark_unannounced([item.id])
    delivery.connection.flushall()
    assert sweep.run(settings, engine, delivery).announced == 0
