"""Procrastinate, whose own rows are the durable ones; ``work`` is a worker."""

from __future__ import annotations

import asyncio
import os
import sys

import commands
import procrastinate
import workloads

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_DSN"]))


@app.task(name="noop", queue="bench")
async def noop(number: int) -> None:
    workloads.noop(number)


async def send(_workload: str, number: int) -> None:
    await noop.defer_async(number=number)


async def send_many(_workload: str, numbers: range) -> None:
    await noop.batch_defer_async(*({"number": number} for number in numbers))


async def main() -> None:
    async with app.open_async():
        if sys.argv[1] == "install":
            await app.schema_manager.apply_schema_async()
        elif sys.argv[1] == "work":
            await app.run_worker_async(concurrency=10, install_signal_handlers=False)
        else:
            await commands.serve(send, send_many)


if __name__ == "__main__":
    asyncio.run(main())
