"""SAQ on Redis; ``work`` is a worker."""

from __future__ import annotations

import os
import sys
from typing import Any

import commands
import uvloop
import workloads
from redis import asyncio as redis
from saq import Worker
from saq.queue.redis import RedisQueue


async def noop(_context: Any, *, number: int) -> None:
    workloads.noop(number)


async def row(_context: Any, *, number: int) -> None:
    await workloads.row_async(number)


async def main(address: str) -> None:
    queue = RedisQueue(redis.Redis.from_url(address), name="bench")
    await queue.connect()
    if sys.argv[1] == "work":
        await Worker(queue, functions=[noop, row], concurrency=10).start()
        return

    async def send(workload: str, number: int) -> None:
        # One try, its default, would give up what a killed worker had in hand.
        await queue.enqueue(workload, number=number, retries=3)

    await commands.serve(send)
    await queue.disconnect()


if __name__ == "__main__":
    uvloop.run(main(os.environ["BENCH_REDIS"]))
