"""The commands that every program has.

``fill WORKLOAD COUNT`` queues jobs. ``single COUNT`` and ``bulk COUNT`` print how many were queued in a
second. ``latency COUNT`` sends one after the other to idle workers.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import sys
import time
from collections.abc import Awaitable, Callable

import stamps
import workloads

BATCH = 500
_PAUSE_SECONDS = (0.02, 0.05)
_LOOK_SECONDS = 0.005
# The first one waits for the workers to be up.
_LONGEST_SECONDS = 60.0

Send = Callable[[str, int], Awaitable[None] | None]
SendMany = Callable[[str, range], Awaitable[None] | None]


async def serve(send: Send, send_many: SendMany | None = None) -> None:
    """Carry out the command line.

    Args:
        send: queues job NUMBER of WORKLOAD.
        send_many: queues several in one call, where the library has one.
    """
    command, *words = sys.argv[1:]
    if command == "fill":
        await _fill(send, send_many, words[0], int(words[1]))
    elif command == "single":
        await _time_single(send, int(words[0]))
    elif command == "bulk" and send_many is not None:
        await _time_bulk(send_many, int(words[0]))
    elif command == "latency":
        await _send_slowly(send, int(words[0]))
    else:
        raise SystemExit(f"There is no command {command!r} here.")


async def _fill(send: Send, send_many: SendMany | None, workload: str, count: int) -> None:
    if workload == "row":
        workloads.insert(count)
    if send_many is None:
        for number in range(1, count + 1):
            await _finish(send(workload, number))
        return
    for numbers in _batches(count):
        await _finish(send_many(workload, numbers))


async def _time_single(send: Send, count: int) -> None:
    began = time.perf_counter()
    for number in range(1, count + 1):
        await _finish(send("noop", number))
    print(count / (time.perf_counter() - began))


async def _time_bulk(send_many: SendMany, count: int) -> None:
    began = time.perf_counter()
    for numbers in _batches(count):
        await _finish(send_many("noop", numbers))
    print(count / (time.perf_counter() - began))


async def _send_slowly(send: Send, count: int) -> None:
    """Send a job when the one before has begun, and a little later: the workers are idle."""
    for number in range(1, count + 1):
        stamps.called(number)
        await _finish(send("noop", number))
        # Uneven, so that no poller falls into step.
        await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
        give_up_at = time.monotonic() + _LONGEST_SECONDS
        while not stamps.has_started(number):
            if time.monotonic() > give_up_at:
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def _finish(sending: Awaitable[None] | None) -> None:
    if inspect.isawaitable(sending):
        await sending


def _batches(count: int) -> list[range]:
    return [range(first, min(first + BATCH, count + 1)) for first in range(1, count + 1, BATCH)]
