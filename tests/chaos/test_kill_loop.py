"""Kill, stop and flush at random while documents come in: nothing lost, nothing twice, nothing stuck.

Seeded: the same seed gives the same faults in the same order. Real processes, real servers, both databases.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
import requests
import sqlalchemy as sa

from jobs.queries import Queries
from jobs.tables import attempts, events, queue_items, results
from tests.support.client import Client

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(300)]

DOCUMENTS = 30
FAULTS = 25
SEED = 20261122


class Monkey:
    """Does harm, and keeps what is needed alive, as a platform would."""

    def __init__(self, service, second_scheduler, valkey, engine, seed):
        self.service = service
        self.second = second_scheduler
        self.valkey = valkey
        self.engine = engine
        self.random = random.Random(seed)
        self.done = []

    def harm(self):
        fault = self.random.choice(
            [self.kill_worker, self.kill_worker, self.kill_horse, self.kill_horse, self.kill_web,
             self.kill_scheduler, self.pause_worker, self.flush, self.restart_redis]
        )  # fmt: skip
        fault()
        self.done.append(fault.__name__)

    def kill_worker(self):
        workers = [row for row in Queries(self.engine).workers() if row.alive]
        if workers:
            self._signal(self.random.choice(workers).pid, signal.SIGKILL)

    def kill_horse(self):
        with self.engine.connect() as connection:
            pids = list(
                connection.execute(sa.select(attempts.c.pid).where(attempts.c.ended_at.is_(None))).scalars()
            )
        if pids:
            self._signal(self.random.choice(pids), signal.SIGKILL)

    def pause_worker(self):
        """Stop a horse for longer than its lease, so that it wakes up as a zombie."""
        with self.engine.connect() as connection:
            pid = connection.execute(
                sa.select(attempts.c.pid).where(attempts.c.ended_at.is_(None)).limit(1)
            ).scalar()
        if pid and self._signal(pid, signal.SIGSTOP):
            threading.Timer(4.0, self._signal, (pid, signal.SIGCONT)).start()

    def kill_web(self):
        for pid in self.service.descendants("gunicorn"):
            self._signal(pid, signal.SIGKILL)
        self.service.kill("web")
        self.service.start("web")

    def kill_scheduler(self):
        victim = self.random.choice([self.service, self.second])
        victim.kill("scheduler")
        victim.start("scheduler")

    def flush(self):
        self.valkey.flush()

    def restart_redis(self):
        self.valkey.kill()
        time.sleep(self.random.uniform(0, 1.5))
        self.valkey.start()

    def _signal(self, pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True


def upload_all(client, accepted, stop):
    """Upload one document after the other; one whose answer was lost is sent again, as a client would."""
    for number in range(DOCUMENTS):
        while not stop.is_set():
            try:
                content = f"Document {number} of the storm. It was written on Monday.".encode()
                accepted += [one["job_id"] for one in client.upload((f"{number}.txt", content))]
                break
            except (requests.ConnectionError, requests.Timeout):
                time.sleep(0.2)
        time.sleep(0.3)


def test_a_storm_of_faults_loses_and_doubles_nothing(start_service, environ, engine, valkey):
    # Crashes are the storm's doing, not the documents': nobody should be quarantined for it.
    environ = {**environ, "WORKERS": "3", "MAX_CRASHES": "100", "WEB_THREADS": "24"}
    service = start_service(environ)
    second = start_service({**environ, "PORT": "1"}, ("scheduler",))
    client = Client(service, engine)
    monkey = Monkey(service, second, valkey, engine, SEED)
    accepted, stop = [], threading.Event()
    uploader = threading.Thread(target=upload_all, args=(client, accepted, stop))
    uploader.start()
    try:
        for _ in range(FAULTS):
            time.sleep(monkey.random.uniform(0.2, 1.2))
            monkey.harm()
        uploader.join(60)
    finally:
        stop.set()
        uploader.join()
    assert len(accepted) >= DOCUMENTS
    client.wait(accepted, 120)
    verdict = judge(engine, accepted)
    print(verdict, {name: monkey.done.count(name) for name in sorted(set(monkey.done))})
    assert verdict == {"lost": 0, "not completed": 0, "completed twice": 0, "stale effects": 0, "stuck": 0}


def judge(engine, accepted):
    """Count what must not be, over every item: those whose answer was lost on the way included."""
    with engine.connect() as connection:

        def count(statement):
            return connection.execute(sa.select(sa.func.count()).select_from(statement.subquery())).scalar()

        known = set(connection.execute(sa.select(queue_items.c.id)).scalars())
        return {
            "lost": len(set(accepted) - known),
            "not completed": count(
                sa.select(queue_items.c.id).where(
                    queue_items.c.id.in_(accepted), queue_items.c.status != "completed"
                )
            ),
            "completed twice": count(
                sa.select(events.c.item_id)
                .where(events.c.kind == "completed")
                .group_by(events.c.item_id)
                .having(sa.func.count() > 1)
            ),
            "stale effects": count(
                sa.select(results.c.item_id)
                .outerjoin(
                    attempts,
                    sa.and_(
                        attempts.c.item_id == results.c.item_id,
                        attempts.c.attempt == results.c.attempt,
                        attempts.c.lease_id == results.c.lease_id,
                    ),
                )
                .where(attempts.c.item_id.is_(None))
            ),
            "stuck": count(
                sa.select(queue_items.c.id).where(
                    queue_items.c.id.in_(accepted), queue_items.c.status.in_(("pending", "in_progress"))
                )
            ),
        }
