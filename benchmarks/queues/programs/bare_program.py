"""The limit: no queue, only what one must ask of the servers. ``work BATCH`` is a worker.

Rows: claim a batch in one commit, complete it in one commit. Without rows: take a job from a list in Redis,
keep it in another while it runs, remove it there.
"""

from __future__ import annotations

import asyncio
import os
import sys

import commands
import redis
import stamps
import workloads

CLAIM = """UPDATE bench_jobs SET state = 'in_progress' WHERE id IN (
    SELECT id FROM bench_jobs WHERE state = 'pending' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id"""
COMPLETE = "UPDATE bench_jobs SET state = 'completed' WHERE id = ANY(%s)"
client = redis.Redis.from_url(os.environ["BENCH_REDIS"])


def send(workload: str, number: int) -> None:
    send_many(workload, range(number, number + 1))


def send_many(workload: str, numbers: range) -> None:
    if workload == "noop":
        client.rpush("bench", *numbers)


def work_rows(batch: int) -> None:
    connection = workloads.connection()
    while claimed := [row[0] for row in connection.execute(CLAIM, (batch,)).fetchall()]:
        for number in claimed:
            stamps.started(number)
        connection.execute(COMPLETE, (claimed,))


def work_list() -> None:
    while True:
        job = client.blmove("bench", "taken", 2, "LEFT", "RIGHT")
        if job is not None:
            workloads.noop(int(job))
            client.lrem("taken", 1, job)


if __name__ == "__main__":
    if sys.argv[1] != "work":
        asyncio.run(commands.serve(send, send_many))
    elif os.environ["BENCH_WORKLOAD"] == "row":
        work_rows(int(sys.argv[2]))
    else:
        work_list()
