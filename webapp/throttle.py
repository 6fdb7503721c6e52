"""Slows down whoever guesses passwords; kept in memory, so that a restart forgives."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_SECONDS = 900.0
MOST_KEYS = 10_000


class Throttle:
    """Counts failures for each key within a sliding window.

    Args:
        limit: failures after which the key is refused.
        clock: seconds that only grow.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, key: str) -> float:
        """Return how long the key is refused; 0 when it is not."""
        with self._lock:
            failures = self._recent(key)
            if len(failures) < self._limit:
                return 0.0
            return max(0.0, failures[0] + WINDOW_SECONDS - self._clock())

    def fail(self, key: str) -> None:
        """Count a failure."""
        with self._lock:
            failures = self._recent(key)
            failures.append(self._clock())
            while len(failures) > self._limit:
                failures.popleft()
            self._failures[key] = failures
            self._failures.move_to_end(key)
            while len(self._failures) > MOST_KEYS:
                self._failures.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Forget a key's failures."""
        with self._lock:
            self._failures.pop(key, None)

    def _recent(self, key: str) -> deque[float]:
        failures = self._failures.get(key, deque())
        oldest = self._clock() - WINDOW_SECONDS
        while failures and failures[0] <= oldest:
            failures.popleft()
        return failures
