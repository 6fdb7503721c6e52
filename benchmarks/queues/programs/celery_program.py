"""Celery on Redis, acknowledged late; the worker is ``celery -A celery_program worker``."""

from __future__ import annotations

import asyncio
import os

import commands
import workloads
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"].replace("unix://", "redis+socket://"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
TASKS = {name: app.task(getattr(workloads, name), name=name) for name in ("noop", "row")}


def send(workload: str, number: int) -> None:
    TASKS[workload].delay(number)


if __name__ == "__main__":
    asyncio.run(commands.serve(send))
