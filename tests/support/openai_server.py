"""A real HTTP server that speaks ``/v1/chat/completions`` and fails as it is told.

In a test::

    with OpenAIServer(["429", "ok"]) as server:
        OpenAIAnalyzer(base_url=server.base_url, api_key="k", model="m").analyze(document)
        assert server.request_count == 2
        assert server.requests[0]["model"] == "m"

As a process of its own, for end-to-end tests; it prints its address once it listens::

    python -m tests.support.openai_server --port 8123 --script 429,ok

The script is a list of step names, one a request; the last step answers every further request.
A step may carry an argument after a colon: ``429:7`` sets ``Retry-After``. The steps:

==================  =============================================================================
ok                  a valid object for the schema, with usage
slow[:<seconds>]    the same, after a while (1 s by default)
ok_no_usage         the same without usage
fenced              the same inside a Markdown code fence, after a thought
answer:<json>       that text as the message's content (Python API only: it may hold commas)
429[:<wait>]        throttled, ``Retry-After: <wait>`` (7 by default, ``date`` for an HTTP date)
429_bare            throttled, without ``Retry-After``
quota               429 with code ``insufficient_quota``
500, 503            an error as JSON, an error page as HTML
401, 403, 404       refused key, forbidden model, unknown model; the 401 echoes the key
400                 a refusal that nothing can mend; it echoes the whole request
400_format          400 as long as the request has a ``response_format``, else ``ok``
400_schema          400 as long as its type is ``json_schema``, else ``ok``
400_tokens          400 as long as it has ``max_tokens``, else ``ok``
400_temperature     400 as long as it has ``temperature``, else ``ok``
context[:<chars>]   400 ``context_length_exceeded`` while the messages are longer, else ``ok``
redirect            307 to another path
hang[:<seconds>]    takes the request, answers nothing (60 s by default, ends when the server stops)
trickle             headers, then one byte every 50 ms without end
headers             one header line every 50 ms without end
flood               an endless body
drop                closes the connection without a byte
cut                 announces a body and closes in the middle of it
invalid_json        content that is no JSON
bad_schema          a JSON object that does not satisfy the schema
empty_summary       an object whose summary is blank
hostile             valid, with control characters, markup, lone surrogates and very long strings
text                200 ``text/plain`` ``oops``
not_json            200 ``application/json`` whose body is no JSON
array               200 ``application/json`` whose body is a list
no_choices          an empty list of choices
null                content ``null``
length              cut at the output limit, finish_reason ``length``
refusal             a message with ``refusal``
==================  =============================================================================
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

GOOD_ANSWER = {
    "title": "A document for tests",
    "document_type": "report",
    "document_type_confidence": 0.9,
    "summary": "The test server answered with a fixed summary.",
    "key_points": ["The answer is fixed.", "It satisfies the schema."],
    "keyphrases": ["test server", "fixed answer"],
}
USAGE = {"prompt_tokens": 123, "completion_tokens": 45, "total_tokens": 168}


class OpenAIServer:
    """The server; a context manager that stops it and joins its threads.

    Args:
        script: step names, one a request; the last one repeats.
        port: 0 to let the system choose.
    """

    def __init__(self, script: Sequence[str] = ("ok",), *, port: int = 0) -> None:
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def base_url(self) -> str:
        """What to give as ``LLM_BASE_URL``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def request_count(self) -> int:
        """How many requests came so far."""
        with self._lock:
            return len(self.requests)

    def take(self, body: dict[str, Any], headers: dict[str, str]) -> str:
        """Record a request and return the step that answers it."""
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            return self.script[min(len(self.requests), len(self.script)) - 1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    # Closing joins the request threads, so that no test leaves one behind.
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; that is what many steps provoke."""


def _handler(owner: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = json.loads(raw or b"{}")
            step, _, argument = owner.take(
                body, {name.lower(): value for name, value in self.headers.items()}
            ).partition(":")
            self.close_connection = True
            if not self.path.endswith("/chat/completions"):
                _error(self, 404, f"no such path {self.path}", "not_found")
                return
            with contextlib.suppress(ConnectionError, TimeoutError):
                STEPS[step](Call(self, owner, body, argument))

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class Call:
    """One request to answer."""

    def __init__(
        self, handler: BaseHTTPRequestHandler, owner: OpenAIServer, body: dict[str, Any], argument: str
    ) -> None:
        self.handler = handler
        self.owner = owner
        self.body = body
        self.argument = argument

    @property
    def prompt_characters(self) -> int:
        return sum(len(message["content"]) for message in self.body["messages"])

    def send(self, status: int, kind: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        self.handler.send_header("Content-Length", str(len(payload)))
        self.handler.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(payload)

    def send_json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(status, "application/json", json.dumps(value).encode(), headers)

    def completion(
        self, content: str | None, *, finish: str = "stop", usage: bool = True, **message: Any
    ) -> None:
        body: dict[str, Any] = {
            "id": "chatcmpl-test",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.body.get("model", "test"),
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {"role": "assistant", "content": content, **message},
                }
            ],
        }
        if usage:
            body["usage"] = USAGE
        self.send_json(body)

    def drip(self, first: bytes, pieces: Iterator[bytes], pause: float = 0.05) -> None:
        self.handler.wfile.write(first)
        for piece in pieces:
            self.handler.wfile.write(piece)
            self.handler.wfile.flush()
            if self.owner.stopping.wait(pause):
                return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)


def _error(handler: Any, status: int, message: str, code: str | None, **headers: str) -> None:
    payload = {"error": {"message": message, "type": "test_error", "param": None, "code": code}}
    Call(handler, None, {}, "").send_json(payload, status, headers)  # type: ignore[arg-type]


def _refuse(status: int, message: str, code: str | None = None) -> Callable[[Call], None]:
    return lambda call: _error(call.handler, status, message, code)


def _ok(call: Call) -> None:
    call.completion(json.dumps(GOOD_ANSWER))


def _unless(refused: Callable[[Call], bool], message: str, code: str | None = None) -> Callable[[Call], None]:
    return lambda call: _error(call.handler, 400, message, code) if refused(call) else _ok(call)


def _throttled(call: Call) -> None:
    wait = call.argument or "7"
    if wait == "date":
        wait = email.utils.formatdate(time.time() + 30, usegmt=True)
    _error(call.handler, 429, "Rate limit reached.", "rate_limit_exceeded", **{"Retry-After": wait})


def _hang(call: Call) -> None:
    call.owner.stopping.wait(float(call.argument or 60))
    call.close()


def _slow(call: Call) -> None:
    call.owner.stopping.wait(float(call.argument or 1))
    _ok(call)


def _trickle(call: Call) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    call.drip(head, iter(lambda: b" ", None))


def _header_lines(call: Call) -> None:
    call.drip(b"HTTP/1.1 200 OK\r\n", iter(lambda: b"X-Slow: 1\r\n", None))


def _flood(call: Call) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    call.drip(head, iter(lambda: b" " * 65536, None), pause=0)


def _cut(call: Call) -> None:
    call.handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    )
    call.close()


def _context(call: Call) -> None:
    if call.prompt_characters > int(call.argument or 20_000):
        message = "This model's maximum context length is 4096 tokens."
        _error(call.handler, 400, message, "context_length_exceeded")
    else:
        _ok(call)


def _hostile(call: Call) -> None:
    answer = {
        **GOOD_ANSWER,
        "title": "<script>alert(1)</script>\u0000\u202e",
        "summary": "x" * 50_000,
        "key_points": ["a\ud800b", "  ", "line\nbreak"],
        "keyphrases": ["same", "Same", "y" * 500],
    }
    call.completion(json.dumps(answer))


STEPS: dict[str, Callable[[Call], None]] = {
    "ok": _ok,
    "ok_no_usage": lambda call: call.completion(json.dumps(GOOD_ANSWER), usage=False),
    "fenced": lambda call: call.completion(f"<think>{{hm}}</think>\n```json\n{json.dumps(GOOD_ANSWER)}\n```"),
    "answer": lambda call: call.completion(call.argument),
    "429": _throttled,
    "429_bare": _refuse(429, "Slow down.", "rate_limit_exceeded"),
    "quota": _refuse(429, "You exceeded your current quota.", "insufficient_quota"),
    "500": _refuse(500, "The server had an error.", "server_error"),
    "503": lambda call: call.send(503, "text/html", b"<html><h1>Service Unavailable</h1></html>"),
    "401": lambda call: _error(
        call.handler, 401, f"Incorrect API key: {call.handler.headers['Authorization']}", "invalid_api_key"
    ),
    "403": _refuse(403, "This key may not use the model.", "forbidden"),
    "404": _refuse(404, "The model does not exist.", "model_not_found"),
    "400": lambda call: _error(call.handler, 400, f"Bad request: {json.dumps(call.body)}", "bad"),
    "400_format": _unless(
        lambda call: "response_format" in call.body, "This response_format type is unavailable now."
    ),
    "400_schema": _unless(
        lambda call: call.body.get("response_format", {}).get("type") == "json_schema",
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported.",
    ),
    "400_tokens": _unless(
        lambda call: "max_tokens" in call.body,
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "unsupported_parameter",
    ),
    "400_temperature": _unless(
        lambda call: "temperature" in call.body,
        "Unsupported value: 'temperature' does not support 0 with this model.",
        "unsupported_value",
    ),
    "context": _context,
    "redirect": lambda call: call.send(307, "text/plain", b"", {"Location": "/v2/chat/completions"}),
    "hang": _hang,
    "slow": _slow,
    "trickle": _trickle,
    "headers": _header_lines,
    "flood": _flood,
    "drop": lambda call: call.close(),
    "cut": _cut,
    "invalid_json": lambda call: call.completion("I would say it is a report."),
    "bad_schema": lambda call: call.completion(json.dumps({**GOOD_ANSWER, "document_type": "poem"})),
    "empty_summary": lambda call: call.completion(json.dumps({**GOOD_ANSWER, "summary": "  "})),
    "hostile": _hostile,
    "text": lambda call: call.send(200, "text/plain", b"oops"),
    "not_json": lambda call: call.send(200, "application/json", b"{oops"),
    "array": lambda call: call.send_json([]),
    "no_choices": lambda call: call.send_json(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    ),
    "null": lambda call: call.completion(None),
    "length": lambda call: call.completion('{"title": "A doc', finish="length"),
    "refusal": lambda call: call.completion(None, refusal="I cannot help with that."),
}


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description="A scriptable stand-in for a model endpoint.")
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument(
        "--script", default="ok", help="step names, separated by commas; the last one repeats"
    )
    arguments = parser.parse_args()
    script = arguments.script.split(",")
    unknown = [step for step in script if step.partition(":")[0] not in STEPS]
    if unknown:
        parser.error(f"unknown steps: {', '.join(unknown)}")
    with OpenAIServer(script, port=arguments.port) as server, contextlib.suppress(KeyboardInterrupt):
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
