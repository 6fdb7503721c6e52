"""Clients that upload as fast as they are answered; a process of its own, so that it starves nobody.

    python -m benchmarks.load URL KEY CLIENTS SECONDS BYTES SEED

Each client keeps one connection and sends one file after the other, at least one, every one with bytes of
its own. What comes back is one JSON object: how long it took, each answer's time, and which file became
which document.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

_BLOCK = b"".join(b"A line of text for the benchmark, number %08d.\n" % number for number in range(20_000))


def content(seed: str, size: int) -> bytes:
    """Return a file's bytes: plain text that begins with its seed, so that no two are alike."""
    head = f"{seed}\n".encode()
    body = _BLOCK * (size // len(_BLOCK) + 1)
    return (head + body)[:size]


def request_bytes(host: str, key: str, seed: str, size: int) -> Iterator[bytes]:
    """Yield a whole request in pieces; the large block is shared by all requests."""
    # As browsers and libraries do, a boundary of its own for each request.
    boundary = secrets.token_hex(16).encode()
    tail = b"\r\n--" + boundary + b"--\r\n"
    part = (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="file"; filename="note.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n"
    )
    length = len(part) + size + len(tail)
    head = (
        f"POST /api/v1/documents HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary.decode()}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
    first = f"{seed}\n".encode()
    left = size - len(first)
    if left < 65_536:
        yield head + part + first + _BLOCK[:left] + tail
        return
    yield head + part + first
    while left:
        piece = memoryview(_BLOCK)[: min(left, len(_BLOCK))]
        left -= len(piece)
        yield piece  # type: ignore[misc]
    yield tail


class Client:
    """One connection."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._socket: socket.socket | None = None

    async def send(self, pieces: Iterator[bytes]) -> tuple[int, bytes]:
        """Send a request; return the answer's status and body."""
        loop = asyncio.get_running_loop()
        if self._socket is None:
            self._socket = socket.socket()
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(self._socket, (self._host, self._port))
        for piece in pieces:
            await loop.sock_sendall(self._socket, piece)
        received = b""
        while b"\r\n\r\n" not in received:
            more = await loop.sock_recv(self._socket, 65_536)
            if not more:
                raise ConnectionError("closed before an answer")
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(fields["content-length"]):
            body += await loop.sock_recv(self._socket, 65_536)
        if fields.get("connection") == "close":
            self._socket.close()
            self._socket = None
        return int(lines[0].split()[1]), body


async def run(url: str, key: str, clients: int, seconds: float, size: int, seed: str) -> dict[str, object]:
    """Let so many clients upload for so long."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    times: list[float] = []
    made: list[tuple[str, str]] = []
    refused: dict[int, int] = {}
    began = time.perf_counter()
    until = began + seconds

    async def one(number: int) -> None:
        client, count = Client(host, port), 0
        while not count or time.perf_counter() < until:
            name = f"{seed}-{number}-{count}"
            count += 1
            sent_at = time.perf_counter()
            status, body = await client.send(request_bytes(f"{host}:{port}", key, name, size))
            if status == 202:
                times.append(time.perf_counter() - sent_at)
                made.append((name, json.loads(body)["documents"][0]["id"]))
            else:
                refused[status] = refused.get(status, 0) + 1

    await asyncio.gather(*(one(number) for number in range(clients)))
    return {"seconds": time.perf_counter() - began, "times": times, "made": made, "refused": refused}


def main() -> None:
    """Load what the command line says."""
    url, key, clients, seconds, size, seed = sys.argv[1:]
    json.dump(asyncio.run(run(url, key, int(clients), float(seconds), int(size), seed)), sys.stdout)


if __name__ == "__main__":
    main()
