"""Procrastinate, whose own rows are the durable ones: ``enqueue N``, ``work``."""

from __future__ import annotations

import asyncio
import os
import sys

import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_DSN"]))


@app.task(name="work", queue="bench")
async def work(number: int) -> None:
    del number


async def main() -> None:
    async with app.open_async():
        if sys.argv[1] == "enqueue":
            await app.schema_manager.apply_schema_async()
            await work.batch_defer_async(*({"number": n} for n in range(1, int(sys.argv[2]) + 1)))
        else:
            await app.run_worker_async(concurrency=10, install_signal_handlers=False)


if __name__ == "__main__":
    asyncio.run(main())
