"""Every document of the corpus, through the whole service: each ends, with its text or with a reason."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from jobs.tables import attempts
from tests.support.client import Client
from tests.support.corpus import files, needs_corpus

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500), needs_corpus]

PER_DOCUMENT_SECONDS = 60


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("part", "least_completed"), [("typical", 50), ("nasty", 30)])
def test_every_document_ends_completed_or_failed_with_a_reason(
    start_service, environ, engine, part, least_completed
):
    environ = {**environ, "WORKERS": "2", "LEASE_SECONDS": "60", "HEARTBEAT_SECONDS": "15"}
    service = start_service(environ)
    client = Client(service, engine)
    # An empty file is refused at once; that has its own test.
    paths = [path for path in files(part) if path.stat().st_size]
    accepted = []
    for start in range(0, len(paths), 20):
        accepted += client.upload(*((path.name, path.read_bytes()) for path in paths[start : start + 20]))
    names = {document["job_id"]: document["filename"] for document in accepted}
    jobs = client.wait(list(names), 400)
    assert len(jobs) == len(paths)
    troubles = []
    for job_id, job in jobs.items():
        error = job["error"]
        if job["status"] == "completed":
            text = client.get(f"/api/v1/documents/{job['document_id']}/text")
            if text.status_code != 200:
                troubles.append((names[job_id], text.status_code))
        elif job["status"] != "failed" or error["code"] in {"internal", "crashed", "timeout", "quarantined"}:
            troubles.append((names[job_id], job["status"], error))
        elif len(error["message"]) < 15 or "Traceback" in error["message"]:
            troubles.append((names[job_id], error))
        if (job["attempt"], job["crashes"]) != (1, 0):
            troubles.append((names[job_id], "more than one attempt", job["attempt"], job["crashes"]))
    assert troubles == []
    assert sum(job["status"] == "completed" for job in jobs.values()) >= least_completed
    with engine.connect() as connection:
        longest = max(
            (row.ended_at - row.started_at).total_seconds() for row in connection.execute(sa.select(attempts))
        )
    assert longest < PER_DOCUMENT_SECONDS
    assert "worker_ended" not in service.output("worker")
    assert "horse_died" not in service.output("worker")
