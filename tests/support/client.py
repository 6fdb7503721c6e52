"""An integrator's view of a running service: HTTP with an API key."""

from __future__ import annotations

import time

import requests

from jobs import accounts
from tests.support.processes import Service

ENDED = {"completed", "failed", "cancelled"}


def eventually(condition, seconds: float, what: str):
    """Return the first true answer of a condition that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return answer


class Client:
    """Calls the API of a running service as its admin."""

    def __init__(self, service: Service, engine) -> None:
        self.url = service.url
        self.session = requests.Session()
        key = accounts.create_api_key(engine, accounts.ensure_admin(engine).id, "tests")
        self.session.headers["Authorization"] = f"Bearer {key}"

    def upload(self, *files: tuple[str, bytes], **fields: str) -> list[dict]:
        """Post files in one request and return the documents of the 202 answer."""
        answer = self.session.post(
            f"{self.url}/api/v1/documents",
            files=[("file", (name, content)) for name, content in files],
            data=fields,
            timeout=30,
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["documents"]

    def get(self, path: str, **arguments) -> requests.Response:
        return self.session.get(self.url + path, timeout=10, **arguments)

    def post(self, path: str, **arguments) -> requests.Response:
        return self.session.post(self.url + path, timeout=10, **arguments)

    def job(self, job_id: str) -> dict:
        answer = self.get(f"/api/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _poll(self, job_id: str, deadline: float) -> dict:
        """Ask for a job, and again while the web process is being started again."""
        while True:
            try:
                return self.job(job_id)
            except (requests.ConnectionError, requests.Timeout):
                assert time.monotonic() < deadline, "the web process did not come back"
                time.sleep(0.2)

    def wait(self, job_ids, seconds: float = 60.0, states=ENDED) -> dict[str, dict]:
        """Poll until every job is in one of the states; return them by id."""
        deadline = time.monotonic() + seconds
        jobs: dict[str, dict] = {}
        # One after the other: many questions would take the processor from those who work.
        for job_id in job_ids:
            while (job := self._poll(job_id, deadline))["status"] not in states:
                assert time.monotonic() < deadline, f"not there after {seconds} s: {job}"
                time.sleep(0.1)
            jobs[job_id] = job
        return jobs
