"""An RQ worker, or a pool of them, whose jobs do what the test wrote into ``DATA_DIR/behaviour``.

One word for each attempt of an item, the last one for all later attempts. A file system's root in
``DATA_DIR/kernel`` stands in for what the kernel tells of the processes that it killed for want of memory.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
import types
from pathlib import Path

import sqlalchemy as sa
from rq import get_current_job

from jobs import database, horse_death, logs, rq_worker
from jobs.model import Completed
from jobs.queue_service import DocumentQueueService
from jobs.settings import load_settings
from jobs.worker_pool import WorkerPool

COMMAND = [sys.executable, "-m", "tests.support.worker_program"]


def process_document(document_id: str, item_id: str) -> None:
    settings = load_settings()
    engine = database.make_engine(settings)
    service = DocumentQueueService(engine, settings)
    lease = service.claim(item_id, get_current_job().worker_name)
    if lease is None:
        return
    words = (settings.data_dir / "behaviour").read_text().split()
    word = words[min(lease.attempt, len(words)) - 1]
    (settings.data_dir / f"started-{lease.attempt}").write_text(str(os.getpid()))
    if word == "segfault":
        memory = bytearray(b"x") * 64_000_000
        os.kill(os.getpid(), signal.SIGSEGV if memory else 0)
    elif word == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "oom":
        kernel_killed(settings.data_dir / "kernel", 4)
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "exit":
        os._exit(3)
    elif word == "raise":
        raise RuntimeError("let through")
    elif word == "database":
        raise sa.exc.OperationalError("SELECT 1", {}, OSError("the server is gone"))
    elif word == "hang":
        time.sleep(60)
    elif word == "stuck":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        time.sleep(60)
    elif word == "wait":
        while not (settings.data_dir / "go").exists():
            time.sleep(0.02)
    service.settle(lease, Completed())
    engine.dispose()


def kernel_killed(root: Path, processes: int) -> None:
    """Pretend that the kernel has killed so many processes of our control group."""
    for path, text in (
        ("proc/self/cgroup", "0::/ours\n"),
        ("sys/fs/cgroup/ours/memory.events", f"low 0\nhigh 9\noom 7\noom_kill {processes}\n"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def sweep() -> None:
    (load_settings().data_dir / "swept").touch()


def main() -> None:
    tasks = types.ModuleType("jobs.tasks")
    tasks.process_document = process_document
    tasks.sweep = sweep
    sys.modules["jobs.tasks"] = tasks
    settings = load_settings()
    logs.configure(settings)
    rq_worker.DocumentWorker.overdue_seconds = 1
    kernel = settings.data_dir / "kernel"
    if kernel.exists():
        rq_worker.oom_kills = functools.partial(horse_death.oom_kills, kernel)
    if sys.argv[1] == "pool":
        WorkerPool(settings, stop_seconds=float(sys.argv[2]), command=COMMAND).run()
    else:
        rq_worker.run_worker(settings, *sys.argv[1:3])


if __name__ == "__main__":
    main()
