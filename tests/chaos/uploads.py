"""The clients of a chaos run: several threads that upload, and send again until they have an answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import requests

from tests.chaos.documents import Task

# An answer that comes later than this counts as lost: the client sends again.
_PATIENCE_SECONDS = 20.0
_AGAIN_SECONDS = 0.3
# What a client is told when it should come back; everything else is an error of the run.
_COME_BACK = frozenset({409, 429, 500, 502, 503, 504, 507})
# After an answer that did arrive, this share of the requests is sent once more, as if it had been lost.
_SENT_TWICE = 0.1


@dataclass
class Tally:
    """What the clients saw."""

    accepted: dict[str, str] = field(default_factory=dict)
    sent_again: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    other_answers: list[str] = field(default_factory=list)
    slowest_accept_seconds: float = 0.0

    def count_status(self, status: int) -> None:
        """Count an answer that asked to come back."""
        self.statuses[status] = self.statuses.get(status, 0) + 1


@dataclass(frozen=True)
class Batch:
    """The files of one request, under one key."""

    key: str
    operation: str
    tasks: Sequence[Task]


def make_batches(tasks: Sequence[Task], largest: int, rng: random.Random) -> list[Batch]:
    """Share the documents out over requests of 1 to ``largest`` files.

    Most ask for one stage only, which costs less; the rest go through both.
    """
    batches: list[Batch] = []
    start = 0
    while start < len(tasks):
        count = rng.randint(1, largest)
        operation = rng.choice(("extract", "extract", "process"))
        batches.append(Batch(f"batch-{len(batches)}", operation, tasks[start : start + count]))
        start += count
    return batches


class Uploads:
    """Uploads batches as far as it is allowed to, from several threads.

    Args:
        urls: the web processes; whichever answers.
        api_key: for the API.
        batches: what is to be uploaded, in order.
        threads: how many clients.
        seed: decides which web process is asked first, and what is sent twice.
    """

    def __init__(
        self, urls: Sequence[str], api_key: str, batches: Sequence[Batch], *, threads: int, seed: int
    ) -> None:
        self.tally = Tally()
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._batches = list(batches)
        self._next = 0
        self._started = 0
        self._allowed = 0
        self._stopped = False
        self._change = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(seed + number),), daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the clients; they wait to be allowed."""
        for thread in self._threads:
            thread.start()

    def allow(self, documents: int) -> None:
        """Let this many documents, counted from the beginning, be uploaded."""
        with self._change:
            if documents > self._allowed:
                self._allowed = documents
                self._change.notify_all()

    def is_done(self) -> bool:
        """Tell whether every document was accepted."""
        with self._change:
            done = sum(len(batch.tasks) for batch in self._batches)
            return len(self.tally.accepted) >= done

    def stop(self) -> None:
        """End the clients, finished or not."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS * 2)

    def _take(self) -> Batch | None:
        with self._change:
            while not self._stopped and (self._next < len(self._batches) and self._started >= self._allowed):
                self._change.wait()
            if self._stopped or self._next >= len(self._batches):
                return None
            batch = self._batches[self._next]
            self._next += 1
            self._started += len(batch.tasks)
            return batch

    def _work(self, rng: random.Random) -> None:
        with requests.Session() as session:
            session.headers.update(self._headers)
            while (batch := self._take()) is not None:
                accepted = self._send(session, batch, rng)
                if accepted is None:
                    return
                again = self._send(session, batch, rng) if rng.random() < _SENT_TWICE else accepted
                if again not in (accepted, None):
                    self.tally.other_answers.append(f"{batch.key}: another answer the second time")
                with self._change:
                    self.tally.accepted.update(accepted)

    def _send(self, session: requests.Session, batch: Batch, rng: random.Random) -> dict[str, str] | None:
        """Send until there is an answer; return the job ids by the documents' keys."""
        place = rng.randrange(len(self._urls))
        tries = 0
        while not self._stopped:
            place = (place + 1) % len(self._urls)
            tries += 1
            began = time.monotonic()
            answer = self._post(session, self._urls[place], batch)
            if answer is not None and answer.status_code == 202:
                with self._change:
                    self.tally.sent_again += tries - 1
                    took = time.monotonic() - began
                    self.tally.slowest_accept_seconds = max(self.tally.slowest_accept_seconds, took)
                return self._job_ids(batch, answer)
            if answer is not None:
                with self._change:
                    self.tally.count_status(answer.status_code)
                if answer.status_code not in _COME_BACK:
                    self.tally.other_answers.append(f"{batch.key}: {answer.status_code} {answer.text[:200]}")
                    return {}
            time.sleep(_AGAIN_SECONDS)
        return None

    @staticmethod
    def _post(session: requests.Session, url: str, batch: Batch) -> requests.Response | None:
        files = [("file", (f"{task.key}.txt", task.content, "text/plain")) for task in batch.tasks]
        try:
            return session.post(
                f"{url}/api/v1/documents", files=files, data={"operation": batch.operation},
                headers={"Idempotency-Key": batch.key}, timeout=_PATIENCE_SECONDS,
            )  # fmt: skip
        except requests.RequestException:
            return None

    def _job_ids(self, batch: Batch, answer: requests.Response) -> dict[str, str]:
        documents = answer.json()["documents"]
        if len(documents) != len(batch.tasks):
            self.tally.other_answers.append(f"{batch.key}: {len(documents)} of {len(batch.tasks)} accepted")
        return {task.key: one["job_id"] for task, one in zip(batch.tasks, documents, strict=False)}
