"""Workers: whatever dies, the item comes back at once; whatever Redis does, the worker goes on."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from rq import Worker

from jobs import accounts, rq_worker
from jobs.death_reports import new_worker_name
from jobs.delivery import PROCESS, Delivery, DocumentJob, web_connection, worker_connection
from jobs.parent_death import start_tied
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from jobs.rq_worker import DocumentWorker
from jobs.settings import load_settings
from jobs.tables import attempts as attempts_table
from jobs.tables import queue_items
from tests.support.items import add_document, raw_item
from tests.support.processes import ROOT
from tests.support.servers import wait_until
from tests.support.worker_program import COMMAND, kernel_killed

# For what has nothing to do with the database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def environ(environ):
    # A lease so long that no test passes because one ran out.
    return {**environ, "LEASE_SECONDS": "600", "JOB_TIMEOUT_SECONDS": "60"}


@pytest.fixture
def redis_client(settings):
    with web_connection(settings) as client:
        yield client


@pytest.fixture
def delivery(settings, redis_client):
    return Delivery(redis_client, settings)


@pytest.fixture
def enqueue(engine, settings, service, redis_client):
    """Enqueue an item, write down what its attempts do, and ring."""

    def _enqueue(behaviour="complete"):
        (settings.data_dir / "behaviour").write_text(behaviour)
        accounts.ensure_admin(engine)
        item = service.enqueue(add_document(engine, settings))
        Delivery(redis_client, settings).announce([item])
        return item.id

    return _enqueue


@pytest.fixture
def start_pool(environ, settings, tmp_path):
    """Start a pool of workers that run :mod:`tests.support.worker_program`."""
    pools = []

    def _start(stop_seconds=10, **more):
        with (tmp_path / "pool.log").open("ab") as log:
            pool = start_tied(
                [*COMMAND, "pool", str(stop_seconds)],
                cwd=ROOT, env={**os.environ, **environ, **more}, stdout=log, stderr=log,
            )  # fmt: skip
        pools.append(pool)
        return pool

    yield _start
    (settings.data_dir / "go").touch()
    for pool in pools:
        pool.terminate()
    for pool in pools:
        pool.wait(20)
    print((tmp_path / "pool.log").read_text() if pools else "")


@pytest.fixture
def status(engine):
    return lambda item_id: raw_item(engine, item_id)["status"]


def workers(redis_client):
    return Worker.all(connection=redis_client)


def sole_worker(redis_client):
    wait_until(lambda: len(workers(redis_client)) == 1, what="one worker")
    return workers(redis_client)[0]


def running_pid(settings, attempt=1):
    """The process that runs this attempt, once it runs."""
    file = settings.data_dir / f"started-{attempt}"
    wait_until(lambda: file.exists() and file.read_text(), what=f"attempt {attempt}")
    return int(file.read_text())


def attempts(engine, item_id):
    row = raw_item(engine, item_id)
    return row["status"], row["attempt"], row["crashes"], row["failures"]


DEATHS = {
    "segfault": r"the work process was killed by signal 11 \(SIGSEGV\), having used \d+ MB",
    "sigkill": r"the work process was killed by signal 9 \(SIGKILL\), having used \d+ MB",
    "oom": r"the work process ran out of memory and was killed by the system, signal 9",
    "exit": r"the work process ended with exit code 3, having used \d+ MB",
    "raise": r"the work process could not write down how the work ended, having used \d+ MB",
    "stuck": r"the work ran longer than 1 seconds and had to be killed, having used \d+ MB",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_dead_horse_gives_its_item_back_at_once_with_the_true_cause(
    engine, settings, enqueue, start_pool, death
):
    kernel_killed(settings.data_dir / "kernel", 3)
    item_id = enqueue(f"{death} wait")
    start_pool(JOB_TIMEOUT_SECONDS="1" if death == "stuck" else "60")
    wait_until(lambda: raw_item(engine, item_id)["crashes"], what="the report")
    row = raw_item(engine, item_id)
    assert row["attempt"] == 1
    assert row["lease_id"] != attempt_row(engine, item_id).lease_id
    ended = attempt_row(engine, item_id)
    assert ended.outcome == "crashed"
    assert re.search(DEATHS[death], ended.error_message)
    assert ended.peak_memory_bytes > (64_000_000 if death == "segfault" else 10_000_000)


def test_an_attempt_that_takes_too_long_is_a_failure_and_the_horse_goes_on(engine, enqueue, start_pool):
    item_id = enqueue("hang")
    start_pool(JOB_TIMEOUT_SECONDS="1")
    wait_until(lambda: raw_item(engine, item_id)["failures"], what="the failure")
    ended = attempt_row(engine, item_id)
    assert (ended.outcome, ended.error_code) == ("failed", "timeout")
    assert ended.error_message == "Took longer than 1 s."


def test_a_database_that_went_away_costs_no_attempt(engine, settings, enqueue, start_pool):
    item_id = enqueue("database complete")
    start_pool()
    wait_until(
        lambda: (
            raw_item(engine, item_id)["attempt"] == 1 and raw_item(engine, item_id)["status"] == "pending"
        ),
        what="the report",
    )
    assert attempt_row(engine, item_id).outcome == "released"
    assert attempts(engine, item_id)[2:] == (0, 0)


def test_the_horse_does_not_outlive_a_killed_worker_and_the_pool_reports_it(
    engine, enqueue, start_pool, settings, redis_client
):
    item_id = enqueue("wait complete")
    start_pool()
    horse = running_pid(settings)
    worker = sole_worker(redis_client)
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: raw_item(engine, item_id)["crashes"] == 1, what="the report")
    wait_until(lambda: not alive(horse), what="the horse's end")
    assert "the worker process was killed by signal 9 (SIGKILL)" in attempt_row(engine, item_id).error_message


def test_a_horse_killed_in_the_middle_of_a_batch_costs_only_the_item_that_ran(
    engine, environ, settings, service, start_pool, redis_client
):
    (settings.data_dir / "behaviour").write_text("die-in-a-batch complete")
    owner = accounts.ensure_admin(engine)
    items = [
        service.enqueue(add_document(engine, settings, b"%d" % number, owner_id=owner.id), "extract")
        for number in range(500)
    ]
    Delivery(redis_client, settings).announce(items)
    start_pool(WORKERS="1", LOG_LEVEL="WARNING")
    wait_until(lambda: completed(engine) == 500, seconds=90.0, what="all of them")
    with engine.connect() as connection:
        found = connection.execute(sa.select(attempts_table)).all()
    crashed = [row for row in found if row.outcome == "crashed"]
    victim = (settings.data_dir / "victim").read_text()
    assert [row.item_id for row in crashed] == [victim]
    assert "SIGKILL" in crashed[0].error_message
    batch = [row for row in found if row.lease_id == crashed[0].lease_id]
    assert len(batch) >= 100
    ends = {outcome: sum(row.outcome == outcome for row in batch) for outcome in ("completed", "released")}
    assert ends["completed"] + ends["released"] + 1 == len(batch)
    assert ends["released"]
    with engine.connect() as connection:
        counts = connection.execute(
            sa.select(queue_items.c.id, queue_items.c.crashes, queue_items.c.failures, queue_items.c.attempt)
        ).all()
    released = {row.item_id for row in batch if row.outcome == "released"}
    for item_id, crashes, failures, attempt in counts:
        assert (crashes, failures) == (item_id == victim, 0)
        assert attempt == (2 if item_id in released or item_id == victim else 1)


def completed(engine):
    with engine.connect() as connection:
        statement = sa.select(sa.func.count()).where(queue_items.c.status == "completed")
        return connection.execute(statement).scalar_one()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_true_cause_is_told_although_the_database_was_away_when_the_horse_died(
    engine, enqueue, start_pool, settings, postgres, tmp_path
):
    item_id = enqueue("wait complete")
    start_pool()
    horse = running_pid(settings)
    postgres.stop()
    os.kill(horse, signal.SIGSEGV)
    wait_until(lambda: "report_failed" in (tmp_path / "pool.log").read_text(), what="a failed report")
    postgres.start()
    wait_until(lambda: attempt_row(engine, item_id).outcome == "crashed", what="the report")
    assert "SIGSEGV" in attempt_row(engine, item_id).error_message


@on_sqlite
@pytest.mark.skipif(sys.platform != "linux", reason="the fork server is for Linux only")
def test_the_process_with_the_engines_does_not_outlive_a_killed_horse(enqueue, start_pool, settings):
    enqueue("wait")
    start_pool()
    horse = running_pid(settings)
    listing = Path(f"/proc/{horse}/task/{horse}/children")
    wait_until(lambda: len(listing.read_text().split()) == 1, what="the fork server")
    fork_server = int(listing.read_text())
    os.kill(horse, signal.SIGKILL)
    wait_until(lambda: not alive(fork_server), what="its end")


@on_sqlite
def test_nothing_outlives_a_killed_pool(enqueue, start_pool, settings, redis_client):
    enqueue("wait")
    pool = start_pool()
    horse = running_pid(settings)
    worker = sole_worker(redis_client)
    pool.kill()
    (settings.data_dir / "go").touch()
    wait_until(lambda: not alive(horse) and not alive(worker.pid), what="the end of worker and horse")


@on_sqlite
def test_a_killed_worker_is_replaced_under_a_new_name(engine, enqueue, start_pool, status, redis_client):
    start_pool()
    first = sole_worker(redis_client)
    os.kill(first.pid, signal.SIGKILL)
    item_id = enqueue()
    wait_until(lambda: status(item_id) == "completed")
    names = {worker.name for worker in workers(redis_client)}
    assert names - {first.name}


@on_sqlite
def test_a_pool_runs_as_many_workers_as_told(start_pool, redis_client, engine):
    start_pool(WORKERS="2")
    wait_until(lambda: len(workers(redis_client)) == 2, what="two workers")


def test_each_queue_has_workers_of_its_own(engine, environ, settings, service, start_pool, redis_client):
    environ["MORE_QUEUES"] = "urgent"
    both = load_settings(environ)
    (settings.data_dir / "behaviour").write_text("complete")
    queue_service = DocumentQueueService(engine, both)
    items = [queue_service.enqueue(add_document(engine, settings), queue=name) for name in both.queue_names]
    Delivery(redis_client, both).announce(items)
    start_pool(WORKERS="2")
    for item in items:
        wait_until(lambda item=item: raw_item(engine, item.id)["status"] == "completed", what=item.queue)
    wait_until(lambda: len(workers(redis_client)) == 4, what="four workers")
    assert sorted(worker.queue_names()[0] for worker in workers(redis_client)) == [
        "documents", "documents", "urgent", "urgent",
    ]  # fmt: skip
    wait_until(lambda: len(Queries(engine).workers()) == 4, what="four rows")
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT queue FROM workers ORDER BY queue").scalars().all()
    assert found == ["documents", "documents", "urgent", "urgent"]
    took = [attempt_row(engine, item.id).worker for item in items]
    listens = {worker.name: worker.queue_names() for worker in workers(redis_client)}
    assert [listens[name] for name in took] == [["documents"], ["urgent"]]


@on_sqlite
def test_sigterm_lets_the_running_job_finish_and_takes_no_other(
    enqueue, start_pool, settings, status, tmp_path
):
    first = enqueue("wait")
    pool = start_pool()
    running_pid(settings)
    pool.terminate()
    wait_until(lambda: "worker_stopping" in (tmp_path / "pool.log").read_text())
    second = enqueue("wait")
    (settings.data_dir / "go").touch()
    assert pool.wait(10) == 0
    assert status(first) == "completed"
    assert status(second) == "pending"


def test_a_job_that_outlasts_the_deadline_goes_back_uncounted(engine, enqueue, start_pool, settings):
    item_id = enqueue("wait")
    pool = start_pool(stop_seconds=1.2)
    horse = running_pid(settings)
    pool.terminate()
    assert pool.wait(10) == 0
    assert attempts(engine, item_id) == ("pending", 1, 0, 0)
    assert not alive(horse)


def test_a_second_signal_gives_the_job_back_uncounted_at_once(engine, enqueue, start_pool, settings):
    item_id = enqueue("wait")
    pool = start_pool(stop_seconds=600)
    horse = running_pid(settings)
    pool.terminate()
    # One that comes within a second counts as an echo of the first.
    echoes_end = time.monotonic() + 1.1
    wait_until(lambda: time.monotonic() > echoes_end)
    pool.terminate()
    assert pool.wait(10) == 0
    assert attempts(engine, item_id) == ("pending", 1, 0, 0)
    assert attempt_row(engine, item_id).outcome == "released"
    assert not alive(horse)


def test_a_stop_while_redis_is_away_lets_the_job_finish_too(enqueue, start_pool, settings, status, valkey):
    item_id = enqueue("wait")
    pool = start_pool()
    running_pid(settings)
    valkey.kill()
    pool.terminate()
    (settings.data_dir / "go").touch()
    assert pool.wait(20) == 0
    assert status(item_id) == "completed"


@on_sqlite
def test_a_stop_while_idle_and_without_redis_ends_the_pool(start_pool, redis_client, valkey):
    pool = start_pool()
    sole_worker(redis_client)
    valkey.kill()
    pool.terminate()
    assert pool.wait(20) == 0


@on_sqlite
def test_a_sigterm_to_every_process_of_the_machine_lets_the_job_finish(
    enqueue, start_pool, settings, status, redis_client
):
    item_id = enqueue("wait")
    pool = start_pool()
    horse = running_pid(settings)
    for pid in (horse, sole_worker(redis_client).pid, pool.pid):
        os.kill(pid, signal.SIGTERM)
    (settings.data_dir / "go").touch()
    assert pool.wait(10) == 0
    assert status(item_id) == "completed"


def test_redis_may_be_away_when_a_job_ends(enqueue, start_pool, settings, status, valkey, redis_client):
    item_id = enqueue("wait")
    start_pool()
    running_pid(settings)
    valkey.kill()
    (settings.data_dir / "go").touch()
    wait_until(lambda: status(item_id) == "completed")
    valkey.start()
    other = enqueue("complete")
    wait_until(lambda: status(other) == "completed", what="the next item")


@on_sqlite
def test_redis_may_be_away_at_the_start_and_hang_later(enqueue, start_pool, status, valkey):
    valkey.stop()
    start_pool()
    valkey.start()
    first = enqueue()
    wait_until(lambda: status(first) == "completed")
    valkey.freeze()
    valkey.thaw()
    second = enqueue()
    wait_until(lambda: status(second) == "completed")


@on_sqlite
def test_after_a_flush_the_worker_is_registered_again(start_pool, enqueue, status, redis_client):
    start_pool()
    before = sole_worker(redis_client)
    redis_client.flushall()
    item_id = enqueue()
    wait_until(lambda: status(item_id) == "completed")
    wait_until(lambda: workers(redis_client))
    wait_until(lambda: sole_worker(redis_client).birth_date)
    after = sole_worker(redis_client)
    assert after.name == before.name
    assert after.queue_names() == ["documents"]


@on_sqlite
@pytest.mark.parametrize(("field", "value"), [("status", "bogus"), ("created_at", "yesterday")])
@pytest.mark.parametrize("place", ["queue", "intermediate"])
def test_a_job_that_cannot_be_read_does_not_stop_the_others(
    start_pool, enqueue, status, delivery, redis_client, field, value, place
):
    job = delivery.queue.enqueue(PROCESS, "document", "item", job_id="poison")
    redis_client.hset(job.key, field, value)
    if place == "intermediate":
        redis_client.lmove(delivery.queue.key, delivery.queue.intermediate_queue.key)
    item_id = enqueue()
    start_pool()
    wait_until(lambda: status(item_id) == "completed")
    wait_until(lambda: not redis_client.exists(job.key))
    assert "poison" not in delivery.queue.intermediate_queue.get_job_ids()


@on_sqlite
def test_a_function_that_is_not_on_the_list_is_not_run(start_pool, enqueue, status, delivery, tmp_path):
    target = tmp_path / "made-by-a-message"
    delivery.queue.enqueue("os.mkdir", str(target), job_id="evil")
    item_id = enqueue()
    start_pool()
    wait_until(lambda: status(item_id) == "completed")
    assert not target.exists()


def test_the_table_of_workers_knows_the_worker_until_it_ends(start_pool, engine, redis_client):
    pool = start_pool()
    name = sole_worker(redis_client).name
    wait_until(lambda: worker_state(engine, name) == "idle")
    pool.terminate()
    assert pool.wait(10) == 0
    assert worker_state(engine, name) == "gone"


def test_worker_names_are_unique_and_tell_where():
    first, second = new_worker_name(), new_worker_name()
    assert first != second
    assert f"-{os.getpid()}-" in first


@pytest.fixture
def valkey_only(data_dir, valkey):
    return load_settings({"DATA_DIR": str(data_dir), "REDIS_URL": valkey.url})


def test_a_heartbeat_survives_redis_and_database_being_away(valkey_only, valkey):
    # The database was never migrated, so that writing to it fails as well.
    worker = DocumentWorker(valkey_only, "w", worker_connection(valkey_only))
    worker.register_birth()
    valkey.kill()
    worker.heartbeat()
    worker.set_state("busy")
    worker.run_maintenance_tasks()
    worker.check_for_suspension(burst=False)


def test_no_connection_is_left_with_a_time_limit_shorter_than_the_wait_for_a_job(monkeypatch, valkey_only):
    limits = []

    def look(worker, **_):
        pool = worker.connection.connection_pool
        limits.extend(connection.socket_timeout for connection in pool._available_connections)

    monkeypatch.setattr(DocumentWorker, "work", look)
    rq_worker.run_worker(valkey_only, "w")
    assert limits
    assert min(limits) > 10


def test_a_failing_maintenance_leaves_no_lock_behind(monkeypatch, valkey_only, redis_client_of):
    worker = DocumentWorker(valkey_only, "w", worker_connection(valkey_only))
    job = worker.queues[0].enqueue(PROCESS, "d", "i", job_id="poison")
    redis_client_of.hset(job.key, "status", "bogus")
    redis_client_of.lmove(worker.queues[0].key, worker.queues[0].intermediate_queue.key)
    worker.run_maintenance_tasks()
    assert not redis_client_of.exists(DocumentJob.key_for("poison"))
    assert worker.queues[0].acquire_maintenance_lock()


@pytest.fixture
def redis_client_of(valkey_only):
    with web_connection(valkey_only) as client:
        yield client


def worker_state(engine, name):
    with engine.connect() as connection:
        row = connection.exec_driver_sql(f"SELECT state FROM workers WHERE name = '{name}'").first()
    return row and row.state


def attempt_row(engine, item_id, attempt=1):
    with engine.connect() as connection:
        return connection.execute(
            sa.select(attempts_table).where(
                attempts_table.c.item_id == item_id, attempts_table.c.attempt == attempt
            )
        ).one()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform != "linux":
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
