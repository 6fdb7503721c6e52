"""Huey on Redis: ``enqueue N``; the consumer is ``huey_consumer``."""

from __future__ import annotations

import os
import sys

import durable
from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"], results=False)


@huey.task()
def work(number: int) -> None:
    durable.work(number)


if __name__ == "__main__":
    # The consumer knows the task by this module's name.
    import huey_program

    durable.insert(int(sys.argv[2]))
    for job in range(1, int(sys.argv[2]) + 1):
        huey_program.work(job)
