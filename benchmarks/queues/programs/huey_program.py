"""Huey on Redis, or on SQLite with every commit synchronised; the consumer is ``huey_consumer``."""

from __future__ import annotations

import asyncio
import os

import commands
import workloads
from huey import RedisHuey, SqliteHuey

if workloads.SQLITE:
    huey = SqliteHuey("bench", filename=f"{workloads.SQLITE}.huey", fsync=True, results=False)
else:
    huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"], results=False)
TASKS = {name: huey.task()(getattr(workloads, name)) for name in ("noop", "row")}


def send(workload: str, number: int) -> None:
    TASKS[workload](number)


if __name__ == "__main__":
    asyncio.run(commands.serve(send))
