"""PgQueuer, whose own rows are the durable ones; ``work BATCH`` is a worker."""

from __future__ import annotations

import os
import sys

import asyncpg
import commands
import uvloop
import workloads
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.models import Job


async def main() -> None:
    driver = AsyncpgDriver(await asyncpg.connect(os.environ["BENCH_URL"]))
    if sys.argv[1] == "work":
        await _work(driver, int(sys.argv[2]))
        return
    queries = Queries(driver)
    if sys.argv[1] == "install":
        await queries.install()
        return

    async def send(_workload: str, number: int) -> None:
        await queries.enqueue("noop", b"%d" % number)

    async def send_many(_workload: str, numbers: range) -> None:
        many = len(numbers)
        await queries.enqueue(["noop"] * many, [b"%d" % number for number in numbers], [0] * many)

    await commands.serve(send, send_many)


async def _work(driver: AsyncpgDriver, batch: int) -> None:
    queue = PgQueuer(driver)

    @queue.entrypoint("noop")
    async def noop(job: Job) -> None:
        workloads.noop(int(job.payload or 0))

    await queue.run(batch_size=batch)


if __name__ == "__main__":
    uvloop.run(main())
