"""What a live connection sends, whatever carries it: the rows after the last one seen, in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from jobs.errors import ItemNotFound
from jobs.model import ENDED_STATUSES, JSON, Event, UserId
from jobs.queries import Queries
from webapp.live.hub import Hub

PING_SECONDS = 15.0
# Every connection looks for itself this often, should a wake-up have been missed ...
_LOOK_SECONDS = 5.0
# ... and whether its client is still there, so that a page left behind does not hold its place.
_ALIVE_SECONDS = 1.0
_AT_ONCE = 500
_OVERLAP = 100


@dataclass(frozen=True, slots=True)
class Ping:
    """Nothing happened for a while; the connection is alive."""


@dataclass(frozen=True, slots=True)
class End:
    """The item has ended and every event was sent.

    Attributes:
        status: the item's stored state, or ``"gone"`` when it was cleared.
    """

    status: str


Message = Event | Ping | End


@dataclass(frozen=True, slots=True)
class Client:
    """Who listens, as far as a feed must know.

    Attributes:
        is_there: whether the connection is still open, as far as one can tell without sending.
        still_allowed: whether the session or key is still good; asked at every ping.
    """

    is_there: Callable[[], bool]
    still_allowed: Callable[[], bool]


@dataclass(slots=True)
class _Pulse:
    """Waits for news, and decides when to ping and when to stop."""

    hub: Hub
    client: Client
    ping_at: float

    def rest(self, tick: int) -> Ping | Literal[False] | None:
        """Wait until there may be something to read.

        Returns:
            ``None`` to read, a ``Ping`` to send first, ``False`` when the connection is over.
        """
        look_at = time.monotonic() + _LOOK_SECONDS
        while self.hub.tick == tick and time.monotonic() < min(look_at, self.ping_at):
            self.hub.wait(tick, _ALIVE_SECONDS)
            if self.hub.closing or not self.client.is_there():
                return False
        if time.monotonic() < self.ping_at:
            return None
        self.ping_at = time.monotonic() + PING_SECONDS
        return Ping() if self.client.still_allowed() else False


def item_feed(hub: Hub, queries: Queries, item_id: str, after: int, client: Client) -> Iterator[Message]:
    """Follow one item until it ends.

    Args:
        hub: wakes us.
        queries: reads the rows.
        item_id: an item that the asker may see.
        after: the last event that the asker has seen.
        client: who listens.

    Yields:
        Every event after ``after`` exactly once and in order, pings, and ``End``.
    """
    pulse = _Pulse(hub, client, time.monotonic() + PING_SECONDS)
    while not hub.closing:
        tick = hub.tick
        # The item is read before its events: when it has ended, its last event is among them.
        try:
            status = queries.item(item_id, owner=None).status
        except ItemNotFound:
            yield End("gone")
            return
        events = queries.events(item_id, after=after, limit=_AT_ONCE)
        for event in events:
            after = event.seq
            yield event
        if len(events) == _AT_ONCE:
            continue
        if status in ENDED_STATUSES and _agrees(events, status.value):
            yield End(status.value)
            return
        signal = pulse.rest(tick)
        if signal is False:
            return
        if signal is not None:
            yield signal


def list_feed(
    hub: Hub, queries: Queries, owner: UserId | None, after: int, client: Client
) -> Iterator[Message]:
    """Follow every item that the asker may see: hints that a row of a list has changed.

    Args:
        hub: wakes us.
        queries: reads the rows.
        owner: whose items; everybody's when ``None``.
        after: the last event that the asker has seen.
        client: who listens.

    Yields:
        Events, most likely once each, and pings; never ``End``.
    """
    pulse = _Pulse(hub, client, time.monotonic() + PING_SECONDS)
    first = last = after
    seen: deque[int] = deque(maxlen=4 * _OVERLAP)
    while not hub.closing:
        tick = hub.tick
        # Numbers of different items may become visible out of order, so a little is read twice.
        events = queries.recent_event_items(owner=owner, after=max(first, last - _OVERLAP), limit=_AT_ONCE)
        for event in events:
            if event.seq not in seen:
                seen.append(event.seq)
                last = max(last, event.seq)
                yield event
        if len(events) == _AT_ONCE:
            continue
        signal = pulse.rest(tick)
        if signal is False:
            return
        if signal is not None:
            yield signal


def hint_json(event: Event) -> dict[str, JSON]:
    """Present an event as a hint for lists."""
    return {
        "seq": event.seq,
        "kind": event.kind,
        "job_id": event.item_id,
        "document_id": event.document_id,
        "status": event.data.get("status"),
        "stage": event.data.get("stage"),
        "progress": event.data.get("progress"),
        "page": event.data.get("page"),
        "page_count": event.data.get("page_count"),
    }


def _agrees(events: list[Event], status: str) -> bool:
    """Tell whether the events just read do not go beyond the state read before them (a retry in between)."""
    return not events or events[-1].data.get("status") == status
