"""taskiq on Redis streams, which are acknowledged; the worker is ``taskiq worker taskiq_program:broker``."""

from __future__ import annotations

import asyncio
import os

import commands
import workloads
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(os.environ["BENCH_REDIS"])


@broker.task(task_name="noop")
async def noop(number: int) -> None:
    workloads.noop(number)


@broker.task(task_name="row")
async def row(number: int) -> None:
    await workloads.row_async(number)


async def send(workload: str, number: int) -> None:
    await (noop if workload == "noop" else row).kiq(number)


async def main() -> None:
    await broker.startup()
    await commands.serve(send)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
