"""Dramatiq on Redis: ``enqueue N``; the workers are ``dramatiq dramatiq_program``."""

from __future__ import annotations

import os
import sys

import dramatiq
import durable
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS"]))


@dramatiq.actor
def work(number: int) -> None:
    durable.work(number)


if __name__ == "__main__":
    durable.insert(int(sys.argv[2]))
    for job in range(1, int(sys.argv[2]) + 1):
        work.send(job)
