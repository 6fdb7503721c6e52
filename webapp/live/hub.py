"""Wakes live connections when there is something to read.

One thread for each process asks for the highest event number four times a second, and only while
somebody listens. Connections read the rows themselves, so that a wake-up too many or too late costs
nothing but latency.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import structlog

log = structlog.get_logger()

POLL_SECONDS = 0.25
# On PostgreSQL a lower number may become visible after a higher one; these further wake-ups catch it.
_ECHOES = 8
_RECOVERY_SECONDS = 2.0


class Hub:
    """The listeners of one process.

    Args:
        last_event_seq: asks the database for the highest event number.
        capacity: how many connections may be open at once.
        per_user: how many of them one user may hold.
    """

    def __init__(self, last_event_seq: Callable[[], int], capacity: int, per_user: int) -> None:
        self._last_event_seq = last_event_seq
        self._capacity = capacity
        self._per_user = per_user
        self._changed = threading.Condition()
        self._listeners: Counter[str] = Counter()
        self._poller: threading.Thread | None = None
        self._tick = 0
        self._closing = False

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._listeners.total()

    @property
    def closing(self) -> bool:
        """Whether the process wants to stop."""
        return self._closing

    @property
    def tick(self) -> int:
        """A number that changes when there may be something to read."""
        return self._tick

    def join(self, user_id: str) -> bool:
        """Take a place for a connection.

        Returns:
            Whether there was one; if so, :meth:`leave` must follow.
        """
        with self._changed:
            full = self.connections >= self._capacity or self._listeners[user_id] >= self._per_user
            if full or self._closing:
                return False
            self._listeners[user_id] += 1
            if self._poller is None:
                self._poller = threading.Thread(target=self._poll, name="event-poller", daemon=True)
                self._poller.start()
            return True

    def leave(self, user_id: str) -> None:
        """Give the place back."""
        with self._changed:
            self._listeners[user_id] -= 1
            self._listeners += Counter()
            self._changed.notify_all()

    def wait(self, tick: int, seconds: float) -> None:
        """Wait until the tick is another one, but not longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: self._tick != tick or self._closing, seconds)

    def close(self) -> None:
        """End every connection; safe to be called by a signal handler."""
        self._closing = True
        # The handler may have interrupted a thread that holds the lock; the poller passes the word on.
        if self._changed.acquire(blocking=False):
            try:
                self._changed.notify_all()
            finally:
                self._changed.release()

    def _poll(self) -> None:
        known, echoes = -1, 0
        while True:
            pause = POLL_SECONDS
            try:
                newest = self._last_event_seq()
            except Exception:  # noqa: BLE001  # whatever the database's outage looks like, the next poll asks again
                log.warning("event_poll_failed")
                newest, pause = known, _RECOVERY_SECONDS
            with self._changed:
                if newest != known:
                    known, echoes = newest, _ECHOES
                if echoes or self._closing:
                    echoes -= 1
                    self._tick += 1
                    self._changed.notify_all()
                if self._closing or not self.connections:
                    self._poller = None
                    return
                self._changed.wait_for(lambda: self._closing or not self.connections, pause)
