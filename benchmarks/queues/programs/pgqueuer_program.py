"""PgQueuer, whose own rows are the durable ones: ``enqueue N``, ``work BATCH``."""

from __future__ import annotations

import os
import sys

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, PgQueuer, Queries


async def main() -> None:
    connection = await asyncpg.connect(os.environ["BENCH_URL"])
    driver = AsyncpgDriver(connection)
    if sys.argv[1] == "enqueue":
        queries = Queries(driver)
        await queries.install()
        count = int(sys.argv[2])
        for _ in range(0, count, 500):
            await queries.enqueue(["work"] * 500, [None] * 500, [0] * 500)
        return
    queue = PgQueuer(driver)

    @queue.entrypoint("work")
    async def work(job: object) -> None:
        del job

    await queue.run(batch_size=int(sys.argv[2]))


if __name__ == "__main__":
    uvloop.run(main())
