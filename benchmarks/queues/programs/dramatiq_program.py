"""Dramatiq on Redis; the workers are ``dramatiq dramatiq_program``."""

from __future__ import annotations

import asyncio
import os

import commands
import dramatiq
import workloads
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS"]))
ACTORS = {name: dramatiq.actor(getattr(workloads, name), actor_name=name) for name in ("noop", "row")}


def send(workload: str, number: int) -> None:
    ACTORS[workload].send(number)


if __name__ == "__main__":
    asyncio.run(commands.serve(send))
