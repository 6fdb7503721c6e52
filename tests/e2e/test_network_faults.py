"""A bad network before Redis or PostgreSQL: every request is answered in time, nothing hangs or is lost.

Real web, worker and scheduler processes reach their server through a proxy only. While it is slow, silent,
resets or forgets connections, people upload and look; afterwards everything is as if nothing had been.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from jobs import accounts
from jobs.tables import queue_items
from tests.e2e.test_faults import assert_each_completed_once, ids, texts
from tests.support.client import Client, eventually
from tests.support.proxy import FaultyProxy
from tests.support.servers import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# What a web process promises, however its servers behave.
PROMISED = 5.0
FAULT_SECONDS = 6.0
WEB_THREADS = 8
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

FAULTS = {
    "200 ms slower": lambda proxy: proxy.slow_down(0.2),
    "black hole": lambda proxy: proxy.swallow(),
    "reset again and again": lambda proxy: proxy.reset_every(0.5),
    "clients lost": lambda proxy: proxy.lose_clients(),
    "server lost": lambda proxy: proxy.lose_server(),
}


@pytest.fixture
def redis_proxy(valkey):
    with FaultyProxy(valkey.socket) as proxy:
        yield proxy


@pytest.fixture
def postgres_proxy(postgres):
    with FaultyProxy(postgres.folder / ".s.PGSQL.5432") as proxy:
        yield proxy


@dataclass
class Answers:
    """What people were told while the fault lasted.

    Attributes:
        accepted: the jobs whose upload was acknowledged.
        slowest: seconds.
        wrong: what no client should have to see.
    """

    accepted: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def take(self, what: str, ask) -> requests.Response | None:
        """Ask, and judge the answer: in time, and either good or a refusal that says when to come back."""
        began = time.monotonic()
        try:
            answer = ask()
        except requests.RequestException as error:
            self.wrong.append(f"{what}: {error!r} after {time.monotonic() - began:.1f} s")
            return None
        seconds = time.monotonic() - began
        self.slowest = max(self.slowest, seconds)
        self.statuses.append(answer.status_code)
        if seconds > PROMISED:
            self.wrong.append(f"{what}: {answer.status_code} after {seconds:.1f} s")
        if answer.status_code == 503:
            if "Retry-After" not in answer.headers:
                self.wrong.append(f"{what}: 503 without Retry-After: {answer.text[:200]}")
            if what != "page" and answer.headers["Content-Type"] != "application/problem+json":
                self.wrong.append(f"{what}: 503 as {answer.headers['Content-Type']}")
        elif answer.status_code not in {200, 202}:
            self.wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")
        return answer


class People:
    """Three who upload, ask for a job by the API, and look at its page, each as fast as they are answered."""

    def __init__(self, client: Client, engine, job_id: str) -> None:
        self._client = client
        self._job_id = job_id
        self._cookie = {"docqueue": accounts.create_session(engine, accounts.ensure_admin(engine).id, 1)}
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.answers = Answers()

    def __enter__(self) -> Answers:
        steps = (self._upload, self._ask, self._look)
        self._threads = [threading.Thread(target=self._repeat, args=(step,)) for step in steps]
        for thread in self._threads:
            thread.start()
        return self.answers

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(3 * PROMISED)
        assert not any(thread.is_alive() for thread in self._threads)

    def _repeat(self, step) -> None:
        # A connection of its own for each request, so that none waits behind another.
        while not self._over.is_set():
            step()
            self._over.wait(0.1)

    def _upload(self) -> None:
        # What was extracted from the same bytes is kept, so that the many uploads are soon worked off.
        number = next(self._numbers) % 3
        content = f"Amid a fault {number}. The meeting is on Monday.".encode()
        answer = self.answers.take("upload", lambda: self._send(content))
        if answer is not None and answer.status_code == 202:
            self.answers.accepted += ids(answer.json()["documents"])

    def _send(self, content: bytes) -> requests.Response:
        return requests.post(
            f"{self._client.url}/api/v1/documents",
            files=[("file", ("note.txt", content))],
            data={"operation": "extract"},
            headers=dict(self._client.session.headers),
            timeout=2 * PROMISED,
        )

    def _ask(self) -> None:
        path = f"{self._client.url}/api/v1/jobs/{self._job_id}"
        headers = dict(self._client.session.headers)
        self.answers.take("job", lambda: requests.get(path, headers=headers, timeout=2 * PROMISED))

    def _look(self) -> None:
        path = f"{self._client.url}/jobs/{self._job_id}"
        self.answers.take("page", lambda: requests.get(path, cookies=self._cookie, timeout=2 * PROMISED))


def run_through(start_service, environ, engine, proxy, fault):
    """Let people work through a fault, and check what it left behind."""
    service = start_service({**environ, "WORKERS": "2", "WEB_THREADS": str(WEB_THREADS)})
    client = Client(service, engine)
    # One thread of the pool has answered whether the service is well; the others come as they are needed.
    most_threads = count_threads(service) + WEB_THREADS
    before = ids(client.upload(*texts(3, "before "), operation="extract"))
    client.wait(before, 60)
    with People(client, engine, before[0]) as answers:
        wait_until(lambda: answers.accepted, what="an upload before the fault")
        FAULTS[fault](proxy)
        time.sleep(FAULT_SECONDS)
        proxy.heal()
        eventually(lambda: is_ready(service), 30, "readiness")
        good = len(answers.accepted)
        wait_until(lambda: len(answers.accepted) > good, what="an upload after the fault")
    assert answers.wrong == []
    client.wait(before + answers.accepted, 90)
    assert_each_completed_once(engine, before + answers.accepted)
    # Those whose acknowledgement was lost too.
    eventually(lambda: nothing_is_open(engine), 60, "the end of everything")
    occupy_threads(service, client)
    assert count_threads(service) <= most_threads
    return answers


@on_sqlite
@pytest.mark.parametrize("fault", FAULTS)
def test_redis_behind_a_bad_network(redis_proxy, start_service, environ, engine, fault):
    environ = {**environ, "REDIS_URL": f"redis://127.0.0.1:{redis_proxy.port}/0"}
    answers = run_through(start_service, environ, engine, redis_proxy, fault)
    assert set(answers.statuses) <= {200, 202}, "documents are taken in and shown without Redis"


@on_postgresql
@pytest.mark.parametrize("fault", FAULTS)
def test_postgresql_behind_a_bad_network(postgres_proxy, start_service, environ, engine, fault):
    name = sa.make_url(environ["DATABASE_URL"]).database
    url = f"postgresql://postgres@127.0.0.1:{postgres_proxy.port}/{name}?sslmode=disable"
    answers = run_through(start_service, {**environ, "DATABASE_URL": url}, engine, postgres_proxy, fault)
    if fault == "black hole":
        assert 503 in answers.statuses, "the fault was not felt"
    if fault == "200 ms slower":
        assert set(answers.statuses) <= {200, 202}, "slow is not away"


def is_ready(service) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{service.url}/readyz", timeout=PROMISED).status_code == 200
    return False


def occupy_threads(service, client) -> None:
    """Prove that no thread of the web process hangs: with all but one busy, the last one answers.

    An upload whose body does not come holds a thread; were one of the others hanging, nobody would answer.
    """
    head = (
        "POST /api/v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: {client.session.headers['Authorization']}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n--x\r\n"
    )
    with contextlib.ExitStack() as open_uploads:
        for _ in range(WEB_THREADS - 1):
            upload = open_uploads.enter_context(
                socket.create_connection(("127.0.0.1", service.port), timeout=5)
            )
            upload.sendall(head.encode())
        eventually(lambda: is_ready(service), PROMISED, "an answer by the last free thread")


def count_threads(service) -> int:
    (pid,) = [pid for pid in service.descendants("gunicorn") if pid != service.processes["web"].pid]
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def nothing_is_open(engine) -> bool:
    with engine.connect() as connection:
        return not connection.execute(
            sa.select(sa.func.count()).where(queue_items.c.status.in_(("pending", "in_progress")))
        ).scalar_one()
