"""The web application under test, and people and programs who use it."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient
from urllib3 import encode_multipart_formdata
from werkzeug.serving import make_server

from jobs import accounts
from jobs.ids import new_id
from jobs.model import Artifact, Lease, Role, User
from tests.support.servers import wait_until
from webapp import create_app


@pytest.fixture
def one_database(_sqlite_template, data_dir) -> str:
    """Stands in for ``database_url`` where what differs between two databases cannot be seen."""
    path = data_dir / "docqueue.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def app(settings) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    close_app(made)


def close_app(app: Flask) -> None:
    hub = app.extensions["docqueue_hub"]
    hub.close()
    wait_until(lambda: hub._poller is None, 5, "the poller has ended")
    app.extensions["docqueue"].queries._engine.dispose()
    app.extensions["docqueue"].delivery.connection.close()


@dataclass
class Person:
    """Somebody signed in by a session, with a browser that knows the page's CSRF token."""

    user: User
    client: FlaskClient
    cookie: str

    def get(self, path: str, **arguments):
        return self.client.get(path, **arguments)

    def post(self, path: str, token: bool = True, headers=None, **arguments):
        headers = dict(headers or {})
        if token:
            headers.setdefault("X-CSRFToken", csrf_token(self.client))
        return self.client.post(path, headers=headers, **arguments)


def csrf_token(client: FlaskClient, path: str = "/account") -> str:
    page = client.get(path).get_data(as_text=True)
    return re.search(r'name="csrf-token" content="([^"]+)"', page)[1]


def person(app: Flask, engine, name: str, role: Role = Role.MEMBER) -> Person:
    """Make a user, unless it is the first admin, and sign in."""
    user = (
        accounts.ensure_admin(engine)
        if role is Role.ADMIN
        else accounts.create_user(engine, name, None, role)
    )
    token = accounts.create_session(engine, user.id, 1)
    client = app.test_client()
    client.set_cookie("docqueue", token)
    return Person(user, client, token)


@pytest.fixture
def admin(app, engine) -> Person:
    return person(app, engine, "admin", Role.ADMIN)


@pytest.fixture
def member(app, engine) -> Person:
    return person(app, engine, "mia")


@pytest.fixture
def stranger(app, engine) -> Person:
    return person(app, engine, "stranger")


@pytest.fixture
def key_headers(engine, member) -> dict[str, str]:
    """The headers of a program that acts for the member."""
    return {"Authorization": f"Bearer {accounts.create_api_key(engine, member.user.id, 'tests')}"}


@pytest.fixture
def program(app, key_headers):
    """A client that sends the member's API key and no cookie."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = key_headers["Authorization"]
    return client


def upload(client, *files: tuple[str, bytes], path="/api/v1/documents", **fields):
    """Post files as a browser does; Werkzeug's test client leaves the line out that begins an empty part."""
    parts = [(name, str(value)) for name, value in fields.items()]
    parts += [("file", (name, content)) for name, content in files]
    body, content_type = encode_multipart_formdata(parts)
    return client.post(path, data=body, content_type=content_type)


def uploaded(client, name="note.txt", content=b"The meeting is on Monday at nine.") -> dict:
    answer = upload(client, (name, content))
    assert answer.status_code == 202, answer.text
    return answer.json["documents"][0]


def claimed(service, job_id) -> Lease:
    """Let a worker take a job."""
    lease = service.claim(job_id, "w-1")
    assert lease is not None
    return lease


def extracted(service, job_id, text="Plain text.", markdown="# Plain\n\ntext") -> Lease:
    """Let a worker finish the first stage of a job."""
    lease = claimed(service, job_id)
    body = {
        "text": text, "markdown": markdown, "title": "Plain", "page_count": 2, "language": "en",
        "metadata": {"author": "Ann"}, "media_type": "text/plain", "engine": "e", "engine_version": "1",
        "warnings": [], "pages": [],
    }  # fmt: skip
    meta = {"title": "Plain", "page_count": 2, "language": "en"}
    artifact = Artifact(new_id(), "extract", "k" * 64, "e", "1", body, meta, datetime.now(UTC))
    service.checkpoint(lease, "extract", artifact, reused=False)
    return lease


@contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve the application on real sockets, a thread for each connection."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    # Closing waits for the requests under way, so that none still holds a database connection.
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        app.extensions["docqueue_hub"].close()
        server.shutdown()
        server.server_close()
        thread.join(5)
