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
from pathlib import Path

import sqlalchemy as sa

from jobs import batch_runner, horse_death, logs, rq_worker, tasks, warm_horse
from jobs.errors import Permanent
from jobs.runner import Runner
from jobs.settings import Settings, load_settings
from jobs.tables import attempts
from jobs.worker_pool import WorkerPool

COMMAND = [sys.executable, "-m", "tests.support.worker_program"]


class BehavingRunner(Runner):
    """Does what the test wrote down instead of the stages."""

    def __init__(self, engine, *arguments, **options) -> None:
        super().__init__(engine, *arguments, **options)
        self._engine = engine
        self._seen = {}

    def _run_stages(self, lease, heartbeat) -> None:
        word = self._word(lease)
        data_dir = self._settings.data_dir
        if word not in {"complete", "die-in-a-batch"}:
            (data_dir / f"started-{lease.attempt}").write_text(str(os.getpid()))
        if word == "segfault":
            memory = bytearray(b"x") * 64_000_000
            os.kill(os.getpid(), signal.SIGSEGV if memory else 0)
        elif word == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "oom":
            kernel_killed(data_dir / "kernel", 4)
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "exit":
            os._exit(3)
        elif word in {"raise", "database"}:
            raise Permanent("Its settlement fails.", code="test")
        elif word == "hang":
            time.sleep(60)
        elif word == "stuck":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(60)
        elif word == "die-in-a-batch":
            self._die_in_a_batch(lease)
        elif word == "wait":
            while not (data_dir / "go").exists():
                time.sleep(0.02)

    def _die_in_a_batch(self, lease) -> None:
        """Kill this process when a batch of a hundred and more is half done."""
        batch = self._seen.setdefault(lease.lease_id, [])
        batch.append(lease.item.id)
        victim = self._settings.data_dir / "victim"
        if len(batch) == 50 and not victim.exists() and self._size_of(lease) >= 100:
            victim.write_text(lease.item.id)
            os.kill(os.getpid(), signal.SIGKILL)

    def _size_of(self, lease) -> int:
        statement = sa.select(sa.func.count()).where(attempts.c.lease_id == lease.lease_id)
        with self._engine.connect() as connection:
            return connection.execute(statement).scalar_one()

    def settle(self, lease, outcome):
        word = self._word(lease)
        if word == "raise":
            raise RuntimeError("let through")
        if word == "database":
            raise sa.exc.OperationalError("SELECT 1", {}, OSError("the server is gone"))
        return super().settle(lease, outcome)

    def _word(self, lease) -> str:
        words = _behaviour(self._settings)
        return words[min(lease.attempt, len(words)) - 1]


def _behaviour(settings: Settings) -> list[str]:
    path = settings.data_dir / "behaviour"
    return path.read_text().split() if path.exists() else []


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
    tasks.sweep = sweep
    tasks.Runner = warm_horse.Runner = BehavingRunner
    settings = load_settings()
    logs.configure(settings)
    rq_worker.DocumentWorker.overdue_seconds = 1
    if _behaviour(settings)[:1] == ["die-in-a-batch"]:
        # On a busy machine too a batch grows to a hundred.
        batch_runner._BATCH_SECONDS = 5.0
    kernel = settings.data_dir / "kernel"
    if kernel.exists():
        rq_worker.oom_kills = functools.partial(horse_death.oom_kills, kernel)
    if sys.argv[1] == "pool":
        WorkerPool(settings, stop_seconds=float(sys.argv[2]), command=COMMAND).run()
    else:
        rq_worker.run_worker(settings, *sys.argv[1:3])


if __name__ == "__main__":
    main()
