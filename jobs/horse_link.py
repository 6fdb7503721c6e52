"""What a worker and its warm work horse tell each other.

Two ways, each for what it is good at. A page of shared memory says what runs now and until when: writing it
costs the horse nothing, the worker may look at any time, and it outlives the horse. A pair of sockets carries
what has to be noticed: the bell on the way in; batches, ends and silence on the way out. Only ids pass.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_DEADLINE = struct.Struct("d")
_SHARE = struct.Struct("I")
_ITEM = slice(16, 52)
_SHARE_AT, _ORDER_AT = 8, 12
_RECEIVED_AT_ONCE = 65_536

CLAIMED, SETTLED, IDLE = "claimed", "settled", "idle"
_GO_ON, _PAUSE, _STOP = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Running:
    """What a horse is at: the item, and until when it may be, on the monotonic clock."""

    item_id: str
    until: float


@dataclass(frozen=True, slots=True)
class Message:
    """What a horse says: one of the words above, with the names of RQ's jobs."""

    word: str
    job_ids: tuple[str, ...] = ()


class HorseLink:
    """Both ends; made before the fork, after which each side closes the other's."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._ours, self._horses = socket.socketpair()
        self._unread = b""
        self.share = 1

    # The worker's end.

    def close_horses_end(self) -> None:
        """Keep the worker's end only, so that the horse's end closes with the horse."""
        self._horses.close()

    def close(self) -> None:
        """Let the horse go: it ends when it has nothing to do."""
        self._ours.close()

    def ring(self) -> bool:
        """Tell the horse to look at the line.

        Returns:
            Whether it could be told; not when it is dead.
        """
        self._page[_ORDER_AT] = _GO_ON
        try:
            self._ours.sendall(b"!")
        except OSError:
            return False
        return True

    def pause(self) -> None:
        """Let the horse come back after its batch."""
        if self._page[_ORDER_AT] == _GO_ON:
            self._page[_ORDER_AT] = _PAUSE

    def stop(self) -> None:
        """Let the horse begin nothing more."""
        self._page[_ORDER_AT] = _STOP

    def wait(self, seconds: float) -> list[Message] | None:
        """Return what the horse has said, as soon as it says something.

        Args:
            seconds: how long to wait at most.

        Returns:
            Its messages, none when it was silent; ``None`` when it is dead.
        """
        if not select.select([self._ours], [], [], seconds)[0]:
            return []
        try:
            received = self._ours.recv(_RECEIVED_AT_ONCE)
        except OSError:
            received = b""
        if not received:
            return None
        *lines, self._unread = (self._unread + received).split(b"\n")
        return [Message(word, tuple(ids)) for word, *ids in (line.decode("ascii").split() for line in lines)]

    @property
    def running(self) -> Running | None:
        """What runs now, or ran when the horse died."""
        (until,) = _DEADLINE.unpack_from(self._page)
        if not until:
            return None
        return Running(bytes(self._page[_ITEM]).decode("ascii"), until)

    @property
    def share(self) -> int:
        """How many items the horse may take at once."""
        return int(_SHARE.unpack_from(self._page, _SHARE_AT)[0])

    @share.setter
    def share(self, items: int) -> None:
        _SHARE.pack_into(self._page, _SHARE_AT, items)

    # The horse's end.

    def close_workers_end(self) -> None:
        """Keep the horse's end only, so that the worker's end closes with the worker."""
        self._ours.close()

    def rings(self) -> Iterator[None]:
        """Wait for bells; several that came together are one. Ends when the worker is gone or lets go."""
        while True:
            try:
                if not self._horses.recv(_RECEIVED_AT_ONCE):
                    return
            except OSError:
                return
            yield

    def say(self, word: str, job_ids: Sequence[str] = ()) -> None:
        """Tell the worker; a worker that is dead hears nothing."""
        try:
            self._horses.sendall(" ".join((word, *job_ids)).encode("ascii") + b"\n")
        except OSError:
            return

    def begins(self, item_id: str, seconds: float) -> None:
        """Write down what runs from now on, and for how long it may."""
        self._page[_ITEM] = item_id.encode("ascii")
        _DEADLINE.pack_into(self._page, 0, time.monotonic() + seconds)

    def ends(self) -> None:
        """Write down that nothing runs."""
        _DEADLINE.pack_into(self._page, 0, 0.0)

    @property
    def stopping(self) -> bool:
        """Whether the horse shall begin nothing more."""
        return self._page[_ORDER_AT] == _STOP

    @property
    def pausing(self) -> bool:
        """Whether the horse shall come back after its batch."""
        return self._page[_ORDER_AT] != _GO_ON
