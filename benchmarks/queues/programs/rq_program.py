"""RQ as shipped: ``enqueue N``; workers are ``rq worker``."""

from __future__ import annotations

import os
import sys

import durable
import redis
from rq import Queue


def work(number: int) -> None:
    durable.work(number)


def main() -> None:
    count = int(sys.argv[2])
    durable.insert(count)
    queue = Queue("bench", connection=redis.Redis.from_url(os.environ["BENCH_REDIS"]))
    for first in range(1, count + 1, 500):
        queue.enqueue_many(
            [
                Queue.prepare_data("rq_program.work", (number,))
                for number in range(first, min(first + 500, count + 1))
            ]
        )


if __name__ == "__main__":
    main()
