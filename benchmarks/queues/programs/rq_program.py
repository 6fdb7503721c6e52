"""RQ: workers are ``rq worker``, or ``work``, which has loaded what the jobs need before it forks."""

from __future__ import annotations

import asyncio
import os
import sys

import redis
import rq


def noop(number: int) -> None:
    import workloads

    workloads.noop(number)


def row(number: int) -> None:
    import workloads

    workloads.row(number)


def main() -> None:
    queue = rq.Queue("bench", connection=redis.Redis.from_url(os.environ["BENCH_REDIS"]))
    if sys.argv[1] == "work":
        import psycopg
        import workloads

        del psycopg, workloads
        rq.Worker([queue]).work(logging_level="ERROR")
        return
    import commands

    def send(workload: str, number: int) -> None:
        queue.enqueue(f"rq_program.{workload}", number)

    def send_many(workload: str, numbers: range) -> None:
        queue.enqueue_many([rq.Queue.prepare_data(f"rq_program.{workload}", (n,)) for n in numbers])

    asyncio.run(commands.serve(send, send_many))


if __name__ == "__main__":
    main()
