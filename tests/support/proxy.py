"""A TCP proxy that is a bad network: slow, silent, cut off, or cut off on one side only.

It stands before a server's UNIX socket. Its connections are served by one thread with a loop of its own;
the faults are switched on and off from the test's thread while connections are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_CHUNK = 65_536
# A socket that is closed with this setting sends a reset instead of an orderly end.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Link:
    """A client's connection, and the one that was made to the server for it."""

    client: asyncio.StreamWriter | None
    server: asyncio.StreamWriter | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def writers(self) -> list[asyncio.StreamWriter]:
        return [writer for writer in (self.client, self.server) if writer is not None]


class FaultyProxy:
    """Passes bytes on until it is told to do harm.

    Args:
        target: the UNIX socket of the server.

    Attributes:
        port: where it listens, on 127.0.0.1.
        questions: how many chunks clients have sent: about the number of round trips.
    """

    def __init__(self, target: Path) -> None:
        self.port = 0
        self.questions = 0
        self._target = target
        self._delay = 0.0
        self._stopping = False
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        # Set while bytes may pass.
        self._passing = asyncio.Event()
        self._resetting: Future[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # Faults.

    def heal(self) -> None:
        """End every fault; what was held back is delivered, where its connection still stands."""
        self._delay = 0.0
        if self._resetting is not None:
            self._resetting.cancel()
            self._resetting = None
        self._call(self._set_passing(passing=True))

    def slow_down(self, seconds: float) -> None:
        """Let every answer come so much later than it was asked for."""
        self._delay = seconds

    def swallow(self) -> None:
        """Take connections and bytes, and pass nothing on: a black hole."""
        self._call(self._set_passing(passing=False))

    def reset_every(self, seconds: float) -> None:
        """Reset every connection, on both sides, again and again."""
        self._resetting = asyncio.run_coroutine_threadsafe(self._keep_resetting(seconds), self._loop)

    def lose_clients(self) -> None:
        """Close every client's side; the server is told nothing."""
        self._call(self._close_side("client"))

    def lose_server(self) -> None:
        """Close the server's side of every connection; the clients are told nothing, and hear nothing."""
        self._call(self._close_side("server"))

    @property
    def open_links(self) -> int:
        """How many connections are open, on either side."""
        return len(self._links)

    # What runs in the loop.

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._stopping = True
        if self._server is not None:
            self._server.close()
        if self._resetting is not None:
            self._resetting.cancel()
        for link in list(self._links):
            for writer in link.writers():
                _reset(writer)
            await self._end(link)
        # Transports close in a later turn of the loop, and what was accepted just now comes in one.
        for _ in range(3):
            await asyncio.sleep(0.01)

    async def _set_passing(self, *, passing: bool) -> None:
        if passing:
            self._passing.set()
        else:
            self._passing.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopping:
            writer.close()
            return
        link = _Link(writer)
        self._links.add(link)
        own = asyncio.current_task()
        if own is not None:
            link.tasks.append(own)
        try:
            await self._passing.wait()
            from_server, link.server = await asyncio.open_unix_connection(str(self._target))
        except OSError:
            await self._end(link)
            return
        link.tasks += [
            asyncio.create_task(self._pump(reader, link, "server")),
            asyncio.create_task(self._pump(from_server, link, "client")),
        ]
        if own is not None:
            link.tasks.remove(own)

    async def _pump(self, reader: asyncio.StreamReader, link: _Link, to: str) -> None:
        """Pass one direction on, in order, each chunk as late as the delay says."""
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        deliver = asyncio.create_task(self._deliver(chunks, link, to))
        link.tasks.append(deliver)
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                late = 0.0
                if to == "server":
                    self.questions += 1
                    late = self._delay
                chunks.put_nowait((self._loop.time() + late, chunk))
        chunks.put_nowait((self._loop.time(), b""))

    async def _deliver(self, chunks: asyncio.Queue[tuple[float, bytes]], link: _Link, to: str) -> None:
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._passing.wait()
            writer: asyncio.StreamWriter | None = getattr(link, to)
            if not chunk:
                await self._end(link)
                return
            # None where that side was lost: nobody is there, and nobody says so.
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.write(chunk)
                    await writer.drain()

    async def _keep_resetting(self, seconds: float) -> None:
        while True:
            for link in list(self._links):
                for writer in link.writers():
                    _reset(writer)
                await self._end(link)
            await asyncio.sleep(seconds)

    async def _close_side(self, side: str) -> None:
        for link in list(self._links):
            writer: asyncio.StreamWriter | None = getattr(link, side)
            if writer is None:
                continue
            # Whoever is left is heard, so that its system goes on to acknowledge, and never answered.
            for task in link.tasks:
                task.cancel()
            setattr(link, side, None)
            writer.close()
            if not link.writers():
                self._links.discard(link)

    async def _end(self, link: _Link) -> None:
        self._links.discard(link)
        for writer in link.writers():
            writer.close()
        own = asyncio.current_task()
        for task in link.tasks:
            if task is not own:
                task.cancel()


def _reset(writer: asyncio.StreamWriter) -> None:
    made = writer.get_extra_info("socket")
    if made is not None and made.family != socket.AF_UNIX:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
