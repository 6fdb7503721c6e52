"""Live streams on real sockets: no gap, no repeat, an end, and a cap."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time

import pytest
from simple_websocket import Client as WebSocket
from simple_websocket import ConnectionClosed

from jobs import accounts
from jobs.model import Completed, Failed, Role
from tests.support.servers import wait_until
from tests.support.web import claimed, extracted, serving, uploaded
from webapp.live import feeds

pytestmark = pytest.mark.timeout(60)


class Stream:
    """A client of server-sent events."""

    def __init__(self, host, path, headers):
        self.connection = http.client.HTTPConnection(host, timeout=20)
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def messages(self):
        """Yield (id, event name, data) until the server ends the stream; a ping is a message without data."""
        block = {}
        for raw in self.answer:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
            elif block == {"": "open"}:
                block = {}
            elif block:
                data = json.loads(block["data"]) if "data" in block else None
                yield block.get("id"), block.get("event", "message"), data
                block = {}

    def close(self):
        self.connection.close()
        self.answer.close()


@pytest.fixture
def host(app):
    with serving(app) as address:
        yield address


@pytest.fixture
def stream(host, key_headers):
    opened = []

    def open_stream(path, **headers):
        made = Stream(host, path, {**key_headers, **headers})
        opened.append(made)
        return made

    yield open_stream
    for one in opened:
        one.close()


def later(act, seconds=0.3):
    thread = threading.Timer(seconds, act)
    thread.start()
    return thread


def test_a_stream_follows_a_job_to_its_end(stream, program, service):
    document = uploaded(program)
    job_id = document["job_id"]

    def work():
        lease = extracted(service, job_id)
        service.renew(lease, stage="analyze", progress=0.5)
        service.settle(lease, Completed())

    worker = later(work)
    seen = list(stream(f"/jobs/{job_id}/events/stream").messages())
    worker.join()
    kinds = [data["kind"] for _, _, data in seen]
    assert kinds == ["accepted", "started", "stage_completed", "progress", "completed", "end"]
    assert seen[-1][1] == "end"
    assert seen[-1][2] == {"kind": "end", "status": "completed"}
    numbers = [int(number) for number, _, _ in seen[:-1]]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("by_header", [True, False])
def test_a_stream_resumes_after_the_last_event_seen(stream, program, service, by_header):
    job_id = uploaded(program)["job_id"]
    whole = program.get(f"/api/v1/jobs/{job_id}/events").json["events"]
    service.settle(claimed(service, job_id), Completed())
    after = str(whole[0]["seq"])
    path = f"/jobs/{job_id}/events/stream"
    resumed = stream(path, **{"Last-Event-ID": after}) if by_header else stream(f"{path}?after={after}")
    assert [data["kind"] for _, _, data in resumed.messages()] == ["started", "completed", "end"]


def test_an_ended_job_is_replayed_and_ended(stream, program):
    job_id = uploaded(program)["job_id"]
    program.post(f"/api/v1/jobs/{job_id}/cancel")
    kinds = [data["kind"] for _, _, data in stream(f"/jobs/{job_id}/events/stream").messages()]
    assert kinds == ["accepted", "cancelled", "end"]


def test_poll_stream_and_socket_tell_the_same(host, stream, program, service, key_headers):
    job_id = uploaded(program)["job_id"]
    service.settle(claimed(service, job_id), Failed("x", "It failed.", permanent=True))
    polled = program.get(f"/api/v1/jobs/{job_id}/events").json["events"]
    streamed = [data for _, name, data in stream(f"/jobs/{job_id}/events/stream").messages() if name != "end"]
    assert streamed == polled
    assert list(socket_messages(host, f"/jobs/{job_id}/events/ws", key_headers))[:-1] == polled


def socket_messages(host, path, headers):
    """Receive until the server closes. This client loses what arrives together with the handshake."""
    for _ in range(10):
        socket = WebSocket.connect(f"ws://{host}{path}", headers=headers)
        messages = []
        try:
            while True:
                messages.append(json.loads(socket.receive(timeout=15)))
        except ConnectionClosed as closed:
            if messages or closed.reason == 1000:
                assert (closed.reason, closed.message) == (1000, "ended")
                return messages
    raise AssertionError("nothing was received in ten tries")


def test_a_socket_follows_and_resumes(host, program, service, key_headers):
    job_id = uploaded(program)["job_id"]
    path = f"/jobs/{job_id}/events/ws"
    first = WebSocket.connect(f"ws://{host}{path}", headers=key_headers)
    accepted = json.loads(first.receive(timeout=10))
    assert accepted["kind"] == "accepted"
    lease = claimed(service, job_id)
    assert json.loads(first.receive(timeout=10))["kind"] == "started"
    first.close()
    service.settle(lease, Completed())
    rest = list(socket_messages(host, f"{path}?after={accepted['seq']}", key_headers))
    assert [message["kind"] for message in rest] == ["started", "completed", "end"]


def test_a_socket_is_refused_before_it_is_accepted(host, program, engine, key_headers):
    path = f"/jobs/{uploaded(program)['job_id']}/events/ws"
    foreign = accounts.create_user(engine, "foreign", None, Role.MEMBER)
    foreign_key = accounts.create_api_key(engine, foreign.id, "x")
    upgrade = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "c2l4dGVlbiByYW5kb20gYg==",
    }  # fmt: skip
    for status, headers in (
        (401, {}),
        (404, {"Authorization": f"Bearer {foreign_key}"}),
        (403, {**key_headers, "Origin": "https://evil.example"}),
    ):
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", path, headers={**upgrade, **headers})
        with connection.getresponse() as answer:
            assert answer.status == status
            assert answer.headers["Content-Type"] == "application/problem+json"
        connection.close()


def test_list_hints_are_for_the_owner_only(stream, program, member, stranger, service):
    hints = stream("/events/stream")
    foreign = stranger.post("/api/v1/documents", data={"file": (io.BytesIO(b"theirs"), "theirs.txt")})
    assert foreign.status_code == 202
    own = later(lambda: uploaded(program, "own.txt"))
    _, _, hint = next(hints.messages())
    own.join()
    shown = {"seq", "kind", "job_id", "document_id", "status", "stage", "progress", "page", "page_count"}
    assert shown == set(hint)
    assert hint["document_id"] == program.get("/api/v1/documents").json["documents"][0]["id"]


def test_a_revoked_session_loses_its_stream_at_the_next_ping(app, host, engine, member, program, monkeypatch):
    monkeypatch.setattr(feeds, "PING_SECONDS", 0.4)
    job_id = uploaded(program)["job_id"]
    followed = Stream(host, f"/jobs/{job_id}/events/stream", {"Cookie": f"docqueue={member.cookie}"})
    messages = followed.messages()
    assert next(messages)[2]["kind"] == "accepted"
    accounts.end_all_sessions(engine, member.user.id)
    assert list(messages) in ([], [(None, "message", None)])
    followed.close()


def test_places_are_capped_and_given_back_when_a_page_is_left(app, stream, program):
    job_id = uploaded(program)["job_id"]
    hub = app.extensions["docqueue_hub"]
    opened = [stream(f"/jobs/{job_id}/events/stream") for _ in range(6)]
    assert [one.status for one in opened] == [200] * 6
    refused = stream(f"/jobs/{job_id}/events/stream")
    assert refused.status == 503
    assert refused.answer.headers["Retry-After"]
    assert refused.answer.headers["Content-Type"] == "application/problem+json"
    for one in opened:
        one.close()
    wait_until(lambda: hub.connections == 0, 10, "the places are free")
    assert stream(f"/jobs/{job_id}/events/stream").status == 200


def test_closing_the_hub_ends_every_stream_at_once(app, stream, program):
    job_id = uploaded(program)["job_id"]
    messages = stream(f"/jobs/{job_id}/events/stream").messages()
    next(messages)
    began = time.monotonic()
    app.extensions["docqueue_hub"].close()
    assert list(messages) == []
    assert time.monotonic() - began < 3


def test_nobody_listening_means_nobody_asks(app, stream, program):
    hub = app.extensions["docqueue_hub"]
    assert hub._poller is None
    followed = stream("/events/stream")
    wait_until(lambda: hub._poller is not None, 5)
    followed.close()
    wait_until(lambda: hub._poller is None, 10)
