"""Oban, whose own rows are the durable ones; ``work`` is a worker."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import commands
import uvloop
import workloads
from oban import Oban, worker
from oban.schema import install


@worker(queue="bench")
class Noop:
    async def process(self, job: Any) -> None:
        workloads.noop(job.args["number"])


async def send(_workload: str, number: int) -> None:
    await Noop.enqueue({"number": number})


async def send_many(_workload: str, numbers: range) -> None:
    await Oban.get_instance().enqueue_many(Noop.new({"number": number}) for number in numbers)


async def main() -> None:
    pool = await Oban.create_pool(os.environ["BENCH_URL"])
    if sys.argv[1] == "install":
        await install(pool)
    elif sys.argv[1] == "work":
        async with Oban(pool=pool, queues={"bench": 20}):
            await asyncio.Event().wait()
    else:
        async with Oban(pool=pool):
            await commands.serve(send, send_many)
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main())
