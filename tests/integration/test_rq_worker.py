"""Workers: whatever dies, the item comes back at once; whatever Redis does, the worker goes on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from rq import Worker

from jobs import accounts, rq_worker
from jobs.delivery import PROCESS, Delivery, DocumentJob, web_connection, worker_connection
from jobs.parent_death import start_tied
from jobs.rq_worker import DocumentWorker, new_worker_name
from jobs.settings import load_settings
from tests.support.items import add_document, raw_item
from tests.support.processes import ROOT
from tests.support.servers import wait_until
from tests.support.worker_program import COMMAND

# For what has nothing to do with the database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def environ(environ):
    # A lease so long that no test passes because one ran out.
    return {**environ, "LEASE_SECONDS": "600", "JOB_TIMEOUT_SECONDS": "2"}


@pytest.fixture
def redis_client(settings):
    with web_connection(settings) as client:
        yield client


@pytest.fixture
def delivery(settings, redis_client):
    return Delivery(redis_client, settings)


@pytest.fixture
def enqueue(engine, settings, service, delivery):
    """Enqueue an item, write down what its attempts do, and ring."""

    def _enqueue(behaviour="complete"):
        (settings.data_dir / "behaviour").write_text(behaviour)
        accounts.ensure_admin(engine)
        item = service.enqueue(add_document(engine, settings))
        delivery.announce([item])
        return item.id

    return _enqueue


@pytest.fixture
def start_pool(environ, tmp_path):
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


@pytest.mark.parametrize("death", ["segfault", "exit", "raise", "hang"])
def test_a_dead_horse_gives_its_item_back_at_once(engine, enqueue, start_pool, death):
    item_id = enqueue(f"{death} complete")
    start_pool()
    wait_until(
        lambda: raw_item(engine, item_id)["status"] == "pending" and raw_item(engine, item_id)["crashes"]
    )
    row = raw_item(engine, item_id)
    assert row["attempt"] == 1
    assert row["lease_id"] is None
    reasons = {
        "segfault": "SIGSEGV",
        "exit": "exit code 3",
        "hang": "longer than 2 seconds",
        "raise": "write down",
    }
    assert reasons[death] in row["error_message"]


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
    after = sole_worker(redis_client)
    assert after.name == before.name
    assert after.birth_date is not None
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


def test_an_unknown_end_of_a_horse_is_said_as_such(valkey_only):
    assert rq_worker._reason(None, valkey_only) == "the work process vanished"


def worker_state(engine, name):
    with engine.connect() as connection:
        row = connection.exec_driver_sql(f"SELECT state FROM workers WHERE name = '{name}'").first()
    return row and row.state


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
