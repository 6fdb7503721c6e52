"""Live streams over one table of events: server-sent events and WebSocket read the same rows.

Each holds a thread of the web server while it is open, so there is a cap that leaves eight free; whoever is
refused polls. An asker names the last event seen and gets every later one, once and in order.
"""

from __future__ import annotations

import itertools
import json
import select
import signal
import threading
from collections.abc import Callable, Iterator
from socket import MSG_DONTWAIT, MSG_PEEK
from socket import socket as Socket  # noqa: N812  # as a type it reads like one
from types import FrameType

from flask import Blueprint, Flask, Response, current_app, g, request
from flask.typing import ResponseReturnValue
from flask_sock import Sock
from prometheus_client import CollectorRegistry, Gauge
from simple_websocket import Server
from werkzeug.exceptions import Unauthorized

from jobs.model import QueueItem
from webapp.access import Identity, current_identity, owner_filter
from webapp.listing import parse_after
from webapp.live.feeds import PING_SECONDS, Client, End, Message, Ping, hint_json, item_feed, list_feed
from webapp.live.hub import Hub
from webapp.presenters import event_json
from webapp.problems import Problem
from webapp.services import services

FREE_THREADS = 8
CONNECTIONS_PER_USER = 6
LONGEST_MESSAGE = 4096

blueprint = Blueprint("live", __name__)
sock = Sock()


def install(app: Flask, registry: CollectorRegistry) -> None:
    """Give the application its hub, and let a stopping server end the streams at once."""
    settings = app.extensions["docqueue"].settings
    hub = Hub(
        app.extensions["docqueue"].queries.last_event_seq,
        capacity=max(1, settings.web_threads - FREE_THREADS),
        per_user=CONNECTIONS_PER_USER,
    )
    app.extensions["docqueue_hub"] = hub
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": PING_SECONDS, "max_message_size": LONGEST_MESSAGE}
    gauge = Gauge("docqueue_live_connections", "Open live streams of this process.", registry=registry)
    gauge.set_function(lambda: hub.connections)
    _close_on_stop(hub)


@blueprint.before_request
def take_place() -> None:
    """Refuse a connection that there is no thread for, before anything is upgraded.

    Raises:
        Problem: 503; the page falls back to polling.
    """
    identity = _identity()
    if not _hub().join(identity.user.id):
        raise Problem(
            503, "Too many live connections are open.", code="too_many_streams", headers={"Retry-After": "10"}
        )
    g.live_place = identity.user.id


@blueprint.teardown_request
def give_place_back(_error: BaseException | None) -> None:
    """Give the place back, unless a stream has taken it over."""
    place = g.pop("live_place", None)
    if place is not None:
        _hub().leave(place)


@blueprint.get("/jobs/<item_id>/events/stream")
def item_stream(item_id: str) -> ResponseReturnValue:
    """Follow a job by server-sent events; ``Last-Event-ID`` or ``?after=`` resumes."""
    item = _item(item_id)
    feed = item_feed(_hub(), services().queries, item.id, parse_after(), _client())
    return _event_stream(_sse(message) for message in feed)


@blueprint.get("/events/stream")
def list_stream() -> ResponseReturnValue:
    """Follow every job that the asker may see, by server-sent events: hints for lists."""
    resumes = "Last-Event-ID" in request.headers or "after" in request.args
    after = parse_after() if resumes else services().queries.last_event_seq()
    feed = list_feed(_hub(), services().queries, owner_filter(), after, _client())
    return _event_stream(_sse(message, as_hint=True) for message in feed)


@sock.route("/jobs/<item_id>/events/ws", bp=blueprint, endpoint="item_socket")  # type: ignore[untyped-decorator]  # flask-sock has no types
def item_socket(socket: Server, item_id: str) -> None:
    """Follow a job by WebSocket; the same messages as the stream, without its framing."""
    client = Client(is_there=lambda: bool(socket.connected), still_allowed=_still_allowed())
    feed = item_feed(_hub(), services().queries, item_id, parse_after(), client)
    for message in feed:
        # Whatever a client says is of no interest, but must not pile up.
        socket.input_buffer.clear()
        if isinstance(message, End):
            socket.send(json.dumps({"kind": "end", "status": message.status}))
            socket.close(1000, "ended")
            return
        if not isinstance(message, Ping):
            socket.send(json.dumps(event_json(message), ensure_ascii=False))
    if socket.connected:
        socket.close(1001 if _hub().closing else 1008, "stopping" if _hub().closing else "signed out")


@blueprint.before_request
def check_item() -> None:
    """Look the job up before a WebSocket is accepted, so that a foreign one is an ordinary 404."""
    if request.endpoint == "live.item_socket":
        _item(str((request.view_args or {})["item_id"]))
        parse_after()


def _event_stream(lines: Iterator[str]) -> Response:
    """Answer with a stream that holds its place until the client or the feed ends it."""
    hub, place = _hub(), g.pop("live_place")
    # The server sends its headers with the first line, and a browser waits for them to call it open.
    response = Response(itertools.chain((": open\n\n",), lines), mimetype="text/event-stream")
    response.call_on_close(lambda: hub.leave(place))
    # A proxy that collects the answer before it passes it on would make it useless.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _sse(message: Message, *, as_hint: bool = False) -> str:
    if isinstance(message, Ping):
        return ": ping\n\n"
    if isinstance(message, End):
        return f"event: end\ndata: {json.dumps({'kind': 'end', 'status': message.status})}\n\n"
    body = hint_json(message) if as_hint else event_json(message)
    return f"id: {message.seq}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"


def _hub() -> Hub:
    hub: Hub = current_app.extensions["docqueue_hub"]
    return hub


def _client() -> Client:
    """Describe who listens to a stream; a client that left is told by its socket's end of file."""
    environ = request.environ
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if not isinstance(connection, Socket):
        return Client(is_there=lambda: True, still_allowed=_still_allowed())
    return Client(is_there=lambda: not _has_ended(connection), still_allowed=_still_allowed())


def _has_ended(connection: Socket) -> bool:
    poll = select.poll()
    try:
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0)) and not connection.recv(1, MSG_PEEK | MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    except ValueError:
        # Closed on our side; or TLS, which cannot peek: then the next write tells.
        return connection.fileno() < 0


def _still_allowed() -> Callable[[], bool]:
    """Return a question that can be asked after the request's own context is gone."""
    app, identity = current_app._get_current_object(), _identity()  # type: ignore[attr-defined]  # noqa: SLF001

    def ask() -> bool:
        with app.app_context():
            return identity.still_valid()

    return ask


def _identity() -> Identity:
    identity = current_identity()
    if identity is None:
        raise Unauthorized
    return identity


def _item(item_id: str) -> QueueItem:
    return services().queries.item(item_id, owner=owner_filter())


def _close_on_stop(hub: Hub) -> None:
    """Chain behind the server's own SIGTERM handler: streams would otherwise hold it until its time-out."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before):
        # Nobody stops this process gracefully; the default action needs no help.
        return

    def stop(number: int, frame: FrameType | None) -> None:
        hub.close()
        before(number, frame)

    signal.signal(signal.SIGTERM, stop)
    signal.siginterrupt(signal.SIGTERM, False)
