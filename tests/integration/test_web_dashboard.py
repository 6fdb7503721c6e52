"""rq-dashboard: for admins, to look; nothing it shows may act, nothing it reads is unpickled, no 500."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import rq_dashboard

from jobs.delivery import DocumentJob
from tests.support.web import one_database as database_url
from tests.support.web import uploaded
from webapp.dashboard import CHANGING_ENDPOINTS

__all__ = ["database_url"]
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def evil_job(app):
    """A job whose every text would run if it were printed as it is."""
    delivery = app.extensions["docqueue"].delivery
    job = delivery.queue.enqueue(
        "jobs.tasks.process_document",
        args=(EVIL, EVIL),
        job_id="evil-1",
        description=EVIL,
        meta={"note": EVIL},
    )
    delivery.connection.hset(job.key, "exc_info", EVIL)
    return job


def test_it_shows_queues_jobs_and_workers(admin, program, evil_job):
    uploaded(program)
    for path in (
        "/rq/", "/rq/0/view/jobs", "/rq/0/view/workers", "/rq/0/data/queues.json",
        "/rq/0/data/workers.json", "/rq/0/data/jobs/documents/queued/8/asc/1.json",
        "/rq/0/view/job/evil-1", "/rq/0/data/job/evil-1.json", "/rq/favicon.ico",
    ):  # fmt: skip
        assert admin.client.get(path, buffered=True).status_code == 200, path
    assert 'href="/admin/queue"' in admin.get("/rq/").text


def test_it_works_through_a_unix_socket_and_over_tcp(settings, engine, valkey):
    from dataclasses import replace

    from jobs.model import Role
    from tests.support.web import close_app, person
    from webapp import create_app

    for url in (valkey.url, valkey.tcp_url):
        app = create_app(replace(settings, redis_url=url))
        admin = person(app, engine, "admin", Role.ADMIN)
        assert admin.get("/rq/0/data/queues.json").status_code == 200
        close_app(app)


def test_nothing_can_be_changed_through_it(app, admin, evil_job):
    paths = ["/rq/job/evil-1/delete", "/rq/job/evil-1/requeue", "/rq/requeue/documents",
             "/rq/queue/documents/queued/empty", "/rq/queue/documents/compact"]  # fmt: skip
    for path in paths:
        for method in ("GET", "POST"):
            answer = admin.client.open(path, method=method)
            assert answer.status_code in {400, 405}, (method, path)
        token = admin.post(path)
        assert token.status_code == 405, path
        assert token.headers["Allow"] == "GET, HEAD"
    assert app.extensions["docqueue"].delivery.queue_length() == 1
    changing = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("rq_dashboard.") and "POST" in rule.methods
    }
    assert changing == CHANGING_ENDPOINTS


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rq/0/view/job/missing", 404), ("/rq/0/data/job/missing.json", 404), ("/rq/9/", 404),
        ("/rq/0/data/jobs/documents/queued/0/asc/1.json", 422),
        ("/rq/0/data/jobs/documents/nonsense/8/asc/1.json", 422),
        ("/rq/0/data/jobs/documents/queued/x/asc/1.json", 422),
    ],
)  # fmt: skip
def test_its_accidents_are_not_500(admin, path, status):
    assert admin.get(path).status_code == status


def test_a_silent_redis_is_503(admin, valkey):
    valkey.stop()
    assert admin.get("/rq/0/data/queues.json").status_code == 503
    assert admin.get("/rq/").status_code in {200, 503}
    assert admin.get("/rq/0/view/workers").status_code == 503


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


def test_nothing_is_unpickled(app, admin, tmp_path):
    mark = tmp_path / "unpickled"
    bomb = pickle.dumps(Bomb(str(mark)))
    delivery = app.extensions["docqueue"].delivery
    job = delivery.queue.enqueue("jobs.tasks.process_document", job_id="bomb-1", description="x")
    delivery.connection.hset(job.key, mapping={"meta": bomb, "data": bomb})
    delivery.connection.hset(
        "rq:worker:w1",
        mapping={"birth": "2026-01-01T00:00:00.000000Z", "last_heartbeat": "2026-01-01T00:00:00.000000Z",
                 "queues": "documents", "state": "busy", "current_job": "bomb-1", "pid": "1"},
    )  # fmt: skip
    delivery.connection.sadd("rq:workers", "rq:worker:w1")
    for path in ("/rq/0/view/job/bomb-1", "/rq/0/data/job/bomb-1.json", "/rq/0/data/workers.json",
                 "/rq/0/data/jobs/documents/queued/8/asc/1.json", "/rq/0/view/workers"):  # fmt: skip
        assert admin.get(path).status_code < 500, path
    assert not mark.exists()
    assert rq_dashboard.web.Job is DocumentJob


# What the browser makes of it.


def templates_of(page):
    return page.split('type="text/template">')[1:]


def test_the_job_page_prints_no_value_as_html(admin, evil_job):
    page = admin.get("/rq/0/view/job/evil-1").text
    (template,) = (part.split("</script>")[0] for part in templates_of(page))
    assert "<%-" in template
    assert "<%=" not in template
    assert EVIL not in page
