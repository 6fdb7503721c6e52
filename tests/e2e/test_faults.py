"""Whatever is killed, flushed or stopped: nothing is lost and nothing happens twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from jobs.delivery import Delivery, web_connection
from jobs.queries import Queries
from jobs.tables import attempts, documents, events, queue_items, results
from tests.support.client import Client, eventually
from tests.support.items import add_document
from tests.support.openai_server import OpenAIServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SWEPT_SECONDS = 30


def texts(count, tag="", distinct=1000):
    """Small documents; those with the same content share what was extracted, and so are cheap."""
    return [
        (f"note-{n}.txt", f"Note {tag}{n % distinct}. The meeting is on Monday at nine.".encode())
        for n in range(count)
    ]


def ids(accepted):
    return [document["job_id"] for document in accepted]


def assert_each_completed_once(engine, job_ids):
    """One completed event, one open end, and results written by the lease that completed."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(queue_items.c.id, queue_items.c.status, queue_items.c.attempt).where(
                queue_items.c.id.in_(job_ids)
            )
        ).all()
        assert {row.id: row.status for row in rows} == dict.fromkeys(job_ids, "completed")
        completed = connection.execute(
            sa.select(events.c.item_id, sa.func.count().label("times"))
            .where(events.c.kind == "completed", events.c.item_id.in_(job_ids))
            .group_by(events.c.item_id)
        ).all()
        assert {row.item_id: row.times for row in completed} == dict.fromkeys(job_ids, 1)
        ends = connection.execute(
            sa.select(sa.func.count()).where(
                attempts.c.item_id.in_(job_ids), attempts.c.outcome == "completed"
            )
        ).scalar_one()
        assert ends == len(job_ids)
        strangers = connection.execute(
            sa.select(sa.func.count())
            .select_from(
                results.outerjoin(
                    attempts,
                    sa.and_(
                        attempts.c.item_id == results.c.item_id,
                        attempts.c.attempt == results.c.attempt,
                        attempts.c.lease_id == results.c.lease_id,
                    ),
                )
            )
            .where(results.c.item_id.in_(job_ids), attempts.c.item_id.is_(None))
        ).scalar_one()
        assert strangers == 0  # fmt: skip


@pytest.fixture
def slow_model(environ):
    """An analysis that takes a second and a half, so that there is a middle of a job to do harm in."""
    with OpenAIServer(["slow:1.5"]) as server:
        environ.update(LLM_BASE_URL=server.base_url, LLM_API_KEY="k", LLM_MODEL="m")
        yield server


def running(engine, count=1):
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(queue_items.c.id, queue_items.c.worker).where(
                queue_items.c.status == "in_progress", queue_items.c.stage == "analyze"
            )
        ).all()
    return found if len(found) >= count else None


def test_flushall_with_50_pending_and_5_running(start_service, environ, engine, valkey, slow_model):
    service = start_service({**environ, "WORKERS": "5"})
    client = Client(service, engine)
    accepted = ids(client.upload(*texts(5, "first ")))
    eventually(lambda: running(engine, 5), 90, "five running jobs")
    slow_model.script[:] = ["ok"]
    accepted += ids(client.upload(*texts(50, distinct=5), operation="extract"))
    valkey.flush()
    client.wait(accepted, 150)
    assert_each_completed_once(engine, accepted)


def test_redis_stopped_during_upload(start_service, environ, engine, valkey):
    service = start_service(environ)
    client = Client(service, engine)
    valkey.stop()
    started = time.monotonic()
    accepted = ids(client.upload(*texts(3)))
    assert time.monotonic() - started < 5, "a silent Redis must not hold an upload"
    assert {client.job(one)["status"] for one in accepted} == {"pending"}
    time.sleep(2)
    valkey.start()
    client.wait(accepted, 60)
    assert_each_completed_once(engine, accepted)


def test_worker_killed_in_the_middle_of_a_job(start_service, environ, engine, slow_model):
    service = start_service({**environ, "WORKERS": "2"})
    client = Client(service, engine)
    (job_id,) = ids(client.upload(*texts(1)))
    ((_, worker),) = eventually(lambda: running(engine), 30, "a running job")
    victim = next(row for row in Queries(engine).workers() if row.name == worker)
    os.kill(victim.pid, signal.SIGKILL)
    job = client.wait([job_id], SWEPT_SECONDS)[job_id]
    assert job["status"] == "completed"
    assert job["crashes"] == 1
    assert job["attempt"] == 2
    assert_each_completed_once(engine, [job_id])


def test_work_horse_killed_in_the_middle_of_a_job_comes_back_without_waiting_for_its_lease(
    start_service, environ, engine, slow_model
):
    environ = {**environ, "LEASE_SECONDS": "600", "HEARTBEAT_SECONDS": "200"}
    service = start_service(environ)
    client = Client(service, engine)
    (job_id,) = ids(client.upload(*texts(1)))
    eventually(lambda: running(engine), 30, "a running job")
    with engine.connect() as connection:
        pid = connection.execute(sa.select(attempts.c.pid).where(attempts.c.item_id == job_id)).scalar_one()
    os.kill(pid, signal.SIGKILL)
    job = client.wait([job_id], SWEPT_SECONDS)[job_id]
    assert (job["status"], job["crashes"]) == ("completed", 1)


def test_web_killed_between_commit_and_announce(start_service, environ, engine, valkey):
    service = start_service(environ)
    client = Client(service, engine)
    valkey.freeze()

    def send():
        try:
            client.upload(*texts(1))
        except requests.ConnectionError:
            return

    def committed():
        with engine.connect() as connection:
            return connection.execute(sa.select(queue_items.c.id)).scalar()

    sender = threading.Thread(target=send)
    sender.start()
    job_id = eventually(committed, 10, "the commit")
    for pid in service.descendants("gunicorn"):
        os.kill(pid, signal.SIGKILL)
    service.kill("web")
    sender.join()
    valkey.thaw()
    service.start("web")
    client.wait([job_id], SWEPT_SECONDS)
    assert_each_completed_once(engine, [job_id])


def test_retries_happen_after_the_schedulers_return(start_service, environ, engine):
    with OpenAIServer(["500", "ok"]) as model:
        environ = {
            **environ, "LLM_BASE_URL": model.base_url, "LLM_API_KEY": "k", "LLM_MODEL": "m",
            "BACKOFF_BASE_SECONDS": "3", "BACKOFF_CAP_SECONDS": "3",
        }  # fmt: skip
        service = start_service(environ)
        client = Client(service, engine)
        service.kill("scheduler")
        (job_id,) = ids(client.upload(*texts(1)))
        eventually(lambda: client.job(job_id)["failures"] == 1, 30, "the first failure")
        # Longer than the retry's delay, and not the five seconds after which the web closes idle connections.
        time.sleep(4)
        assert client.job(job_id)["status"] == "pending", "nobody is there to ring"
        service.start("scheduler")
        job = client.wait([job_id], SWEPT_SECONDS)[job_id]
        assert (job["status"], job["failures"]) == ("completed", 1)
        assert_each_completed_once(engine, [job_id])


def test_two_schedulers_at_once_do_nothing_twice(start_service, environ, engine):
    with OpenAIServer(["500"] * 5 + ["ok"]) as model:
        environ = {
            **environ, "LLM_BASE_URL": model.base_url, "LLM_API_KEY": "k", "LLM_MODEL": "m",
            "BACKOFF_BASE_SECONDS": "1", "BACKOFF_CAP_SECONDS": "1", "WORKERS": "2", "MAX_FAILURES": "12",
        }  # fmt: skip
        service = start_service(environ)
        start_service({**environ, "PORT": "1"}, ("scheduler",))
        client = Client(service, engine)
        accepted = ids(client.upload(*texts(5)))
        jobs = client.wait(accepted, 90)
        assert sum(job["failures"] for job in jobs.values()) == 5
        assert all(job["attempt"] == job["failures"] + 1 for job in jobs.values())
        assert_each_completed_once(engine, accepted)


def test_everything_killed_at_once_and_started_again(start_service, environ, engine, valkey, slow_model):
    service = start_service({**environ, "WORKERS": "2"})
    client = Client(service, engine)
    accepted = ids(client.upload(*texts(8)))
    eventually(lambda: running(engine), 30, "a running job")
    for part in ("web", "worker", "scheduler"):
        service.kill(part)
    valkey.kill()
    slow_model.script[:] = ["ok"]
    valkey.start()
    service.start()
    client.wait(accepted, 90)
    assert_each_completed_once(engine, accepted)


def test_a_stopped_worker_burns_no_attempt(start_service, environ, engine, slow_model):
    service = start_service(environ)
    client = Client(service, engine)
    accepted = ids(client.upload(*texts(2)))
    eventually(lambda: running(engine), 30, "a running job")
    service.stop("worker")
    service.start("worker")
    jobs = client.wait(accepted, 60)
    assert {(job["status"], job["failures"], job["crashes"]) for job in jobs.values()} == {
        ("completed", 0, 0)
    }


def test_a_plain_rq_worker_drains_20_documents(environ, engine, settings, service):
    """The command that the README tells, without worker.py, scheduler or web."""
    connection = web_connection(settings)
    for number in range(20):
        add_document(engine, settings, content=f"Document number {number % 10}.".encode())
    with engine.connect() as reading:
        document_ids = list(reading.execute(sa.select(documents.c.id)).scalars())
    items = [service.enqueue(one) for one in document_ids]
    Delivery(connection, settings).announce(items)
    connection.close()
    answer = subprocess.run(
        [sys.executable, "-m", "rq.cli", "worker", "--url", settings.redis_url, "--serializer", "json",
         "--job-class", "jobs.delivery.DocumentJob", "--burst", "documents"],
        env={**os.environ, **environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert_each_completed_once(engine, [item.id for item in items])
