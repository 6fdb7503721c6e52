"""Many threads, one transaction: whoever waits for a commit goes along with the next one.

A database takes one commit at a time, or makes them wait for each other at its log. While one thread, the
**leader**, writes what is there, others arrive; the first of them leads the next group and takes all of them
along. Nobody waits for company: with one thread every group has one member, and costs nothing more.

A group stands or falls together. When it fails by something that one member may have brought in, each member
is tried once more by itself, so that nobody is refused for another's sake.
Source: DeWitt et al., "Implementation Techniques for Main Memory Database Systems" (SIGMOD 1984), section 5.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST_MEMBERS = 64


class _Ticket(Generic[T, R]):
    """A member: what it wants written, and what became of it."""

    __slots__ = ("error", "result", "settled", "wanted", "woken")

    def __init__(self, wanted: T) -> None:
        self.wanted = wanted
        self.result: R | None = None
        self.error: BaseException | None = None
        self.settled = False
        self.woken = threading.Event()

    def outcome(self) -> R:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # a settled ticket without an error has a result


class GroupCommit(Generic[T, R]):
    """Groups what threads want written.

    Args:
        write: writes what several members want in one transaction and returns a result for each, in order;
            when it raises, nothing was written, or nobody knows.
        after: called with the results of a group once it is committed, before its members go on; the next
            group is written meanwhile. It must not raise.
        shared: errors that are nobody's own: every member of the group gets them, and none is tried again.
        lanes: how many groups may be written at the same time.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Sequence[R]],
        after: Callable[[Sequence[R]], object],
        shared: tuple[type[BaseException], ...],
        lanes: int = 1,
    ) -> None:
        self._write = write
        self._after = after
        self._shared = shared
        self._lock = threading.Lock()
        self._free_lanes = lanes
        self._waiting: deque[_Ticket[T, R]] = deque()

    def submit(self, wanted: T) -> R:
        """Have something written, alone or with others.

        Returns:
            The member's own result, committed.

        Raises:
            BaseException: whatever ``write`` raised for this member.
        """
        ticket: _Ticket[T, R] = _Ticket(wanted)
        with self._lock:
            leads = self._free_lanes > 0
            if leads:
                self._free_lanes -= 1
            else:
                self._waiting.append(ticket)
        if not leads:
            ticket.woken.wait()
        if not ticket.settled:
            self._lead(ticket)
        return ticket.outcome()

    def _lead(self, ticket: _Ticket[T, R]) -> None:
        with self._lock:
            others = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_MEMBERS - 1))]
        group = [ticket, *others]
        try:
            self._settle(group)
        finally:
            self._hand_over()
            try:
                self._after([one.outcome() for one in group if one.error is None and one.settled])
            finally:
                for one in others:
                    one.woken.set()

    def _hand_over(self) -> None:
        """Let the first of those who came meanwhile lead the next group."""
        with self._lock:
            following = self._waiting.popleft() if self._waiting else None
            self._free_lanes += following is None
        if following is not None:
            following.woken.set()

    def _settle(self, group: Sequence[_Ticket[T, R]]) -> None:
        try:
            results = self._write([one.wanted for one in group])
        except BaseException as error:
            if len(group) > 1 and isinstance(error, Exception) and not isinstance(error, self._shared):
                for one in group:
                    self._settle([one])
                return
            for one in group:
                one.error, one.settled = error, True
            if not isinstance(error, Exception):
                raise
            return
        for one, result in zip(group, results, strict=True):
            one.result, one.settled = result, True
