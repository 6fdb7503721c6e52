"""The web application in a process of its own, which uploads to itself what the test tells it to.

One JSON object a line on standard input, one answer a line on standard output::

    {"upload": 1000, "seed": "a", "key": "k"}   send so many bytes; answers with status, type and body
    {"limit": 65536}                            let no file grow beyond that; null for no limit
    {"die": "before_commit"}                    end without a word at the next upload; or "after_commit"
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from urllib3.filepost import encode_multipart_formdata

from jobs import logs
from jobs.settings import load_settings
from tests.support.processes import ROOT
from webapp import create_app

DEATH = 9


class WebProgram:
    """The program as the test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **command) -> dict | None:
        """Give a command and return its answer; ``None`` when the program died of it."""
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        assert self._process.wait(30) == DEATH
        return None


@contextmanager
def web_program(environ: dict[str, str], api_key: str) -> Iterator[WebProgram]:
    """Run the program for a while, for one whose API key this is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.web_program"], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **environ, "API_KEY_OF_THE_TEST": api_key},
    )  # fmt: skip
    with process:
        try:
            yield WebProgram(process)
        finally:
            process.stdin.close()
            process.wait(30)


def upload_from_memory(client, *files: tuple[str, bytes], **arguments):
    """Post files as a form does; unlike the client's own way, no temporary file is written for it."""
    body, content_type = encode_multipart_formdata([("file", file) for file in files])
    return client.post("/api/v1/documents", data=body, content_type=content_type, **arguments)


def _upload(client, command) -> dict:
    content = (command["seed"].encode() + b" ") * (command["upload"] // 2 + 1)
    headers = {"Idempotency-Key": command["key"]} if "key" in command else {}
    answer = upload_from_memory(client, ("a.txt", content[: command["upload"]]), headers=headers)
    return {
        "status": answer.status_code,
        "type": answer.content_type,
        "headers": dict(answer.headers),
        "body": answer.json,
    }


def _die(app, where) -> None:
    services = app.extensions["docqueue"]
    if where == "after_commit":
        services.intake._delivery.announce = lambda _items: os._exit(DEATH)
        return

    @sa.event.listens_for(services.queries._engine, "after_cursor_execute")
    def _after(_connection, _cursor, statement, *_) -> None:
        # The document is inserted by now, and nothing committed but the turn of the key.
        if "INSERT INTO queue_items" in statement:
            os._exit(DEATH)


def main() -> None:
    settings = load_settings()
    logs.configure(settings)
    app = create_app(settings)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {os.environ['API_KEY_OF_THE_TEST']}"
    answers, sys.stdout = sys.stdout, sys.stderr
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict = {}
        if "limit" in command:
            limit = hard if command["limit"] is None else command["limit"]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        elif "die" in command:
            _die(app, command["die"])
        else:
            answer = _upload(client, command)
        print(json.dumps(answer), file=answers, flush=True)
    app.extensions["docqueue_hub"].close()


if __name__ == "__main__":
    main()
