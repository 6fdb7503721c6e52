"""rq-scheduler made safe, and the loop that sweeps.

rq-scheduler 0.14 loses a periodic job when it is killed at the wrong moment, delivers twice when
killed at another, ends when Redis goes away, and never gets past an entry that it cannot read. Each of
these is answered here. The sweep itself runs in this loop, so that rescue and announcing depend neither
on Redis nor on a free worker; the periodic RQ job does the same once more where workers are idle.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from types import FrameType

import redis
import structlog
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.scripts import acquire_or_refresh_lock, release_lock
from rq_scheduler import Scheduler
from rq_scheduler.utils import get_next_scheduled_time, to_unix

from jobs import database, sweep
from jobs.delivery import SWEEP, SWEEP_JOB_ID, Delivery, DocumentJob, web_connection
from jobs.embedded_redis import EmbeddedRedis
from jobs.settings import Settings

log = structlog.get_logger()

LOCK_SECONDS = 15
# The lock is made to last again after so many entries, long before it runs out.
_RENEW_EVERY = 50
# How long the hash of a job may lie around that nothing points to any more.
_ORPHAN_SECONDS = 86_400
_SWEEP_RESULT_SECONDS = 60
_LONGEST_TICK_SECONDS = 1.0
_LONGEST_REDIS_WAIT_SECONDS = 10.0


class LockLostError(Exception):
    """Another scheduler took over in the middle of a pass; this one leaves the rest to it."""


class SafeScheduler(Scheduler):  # type: ignore[misc]  # rq-scheduler is not typed
    """A scheduler of which several may run, and any may be killed at any moment.

    Args:
        settings: the queue's name and the sweep's interval.
        connection: to Redis, with time limits.
    """

    def __init__(self, settings: Settings, connection: redis.Redis) -> None:
        super().__init__(
            queue_name=settings.queue_name, connection=connection, interval=1, job_class=DocumentJob
        )
        self._sweep_seconds = max(1, round(settings.sweep_seconds))
        self._job_timeout = settings.job_timeout_seconds

    def one_pass(self) -> int:
        """Re-register the sweep, then move every due job to its queue, unless another scheduler does.

        Returns:
            How many jobs were moved.

        Raises:
            redis.RedisError: Redis went away; whatever was not moved is still scheduled.
        """
        if not self.acquire_lock():
            return 0
        try:
            self._be_seen()
            self.ensure_sweep()
            return self.enqueue_due()
        except LockLostError:
            log.warning("scheduler_lock_lost", scheduler=self.name)
            return 0
        finally:
            with contextlib.suppress(redis.RedisError, OSError):
                self.remove_lock()

    def acquire_lock(self) -> bool:
        """Take the lock; it carries this scheduler's name and runs out by itself."""
        self._lock_acquired = self._ask_for_lock() != "taken"
        return bool(self._lock_acquired)

    def _ask_for_lock(self) -> str:
        return acquire_or_refresh_lock(self.connection, self.scheduler_lock_key, self.name, LOCK_SECONDS)

    def remove_lock(self) -> None:
        """Give the lock back if it is still this scheduler's."""
        if self._lock_acquired:
            release_lock(self.connection, self.scheduler_lock_key, self.name)
            self._lock_acquired = False

    def ensure_sweep(self) -> None:
        """Put the sweep into the schedule if it, or its hash, is not there."""
        exists = self.connection.exists(DocumentJob.key_for(SWEEP_JOB_ID))
        if exists and SWEEP_JOB_ID in self:
            return
        job = self._create_job(
            SWEEP,
            commit=False,
            id=SWEEP_JOB_ID,
            description=SWEEP_JOB_ID,
            timeout=self._job_timeout,
            result_ttl=_SWEEP_RESULT_SECONDS,
        )
        job.meta["interval"] = self._sweep_seconds
        job.failure_ttl = _SWEEP_RESULT_SECONDS
        job.enqueue_at_front = True
        with self.connection.pipeline() as pipeline:
            job.save(pipeline=pipeline)
            pipeline.persist(job.key)
            # An entry that is waiting for its time keeps it.
            pipeline.zadd(self.scheduled_jobs_key, {job.id: time.time()}, nx=True)
            pipeline.execute()

    def enqueue_due(self) -> int:
        """Move the jobs whose time has come; drop what cannot be read.

        Raises:
            LockLostError: another scheduler holds the lock now.
        """
        moved = 0
        due = self.connection.zrangebyscore(self.scheduled_jobs_key, 0, time.time())
        for count, raw_id in enumerate(due, start=1):
            # Taken anew is as bad as lost: in between, another may have moved what stands in this list.
            if count % _RENEW_EVERY == 0 and self._ask_for_lock() != "refreshed":
                raise LockLostError
            job = self._read(raw_id)
            if job is not None:
                self.enqueue_job(job)
                moved += 1
        return moved

    def _read(self, raw_id: bytes) -> Job | None:
        job_id = raw_id.decode("utf-8", "replace")
        try:
            job = self.job_class.fetch(job_id, connection=self.connection)
            # Unreadable arguments show only when they are first looked at.
            _ = job.func_name, job.args, job.meta.get("interval")
        except NoSuchJobError:
            self.connection.zrem(self.scheduled_jobs_key, raw_id)
        except (redis.RedisError, OSError):
            raise
        except Exception as error:  # noqa: BLE001  # garbage in a hash may raise anything
            log.warning("unreadable_entry_dropped", job_id=job_id, error=repr(error)[:200])
            with self.connection.pipeline() as pipeline:
                pipeline.zrem(self.scheduled_jobs_key, raw_id)
                pipeline.delete(self.job_class.key_for(job_id))
                pipeline.execute()
        else:
            return job  # type: ignore[no-any-return]  # rq-scheduler is not typed
        return None

    def enqueue_job(self, job: Job) -> None:
        """Push one job and set its next time, or none, in a single transaction guarded by the lock.

        Killed before it, nothing has happened; killed after it, everything has.

        Raises:
            LockLostError: another scheduler holds the lock now.
        """
        queue: Queue = self.get_queue_for_job(job)
        next_time = self._next_time(job)
        # Counted down only after _next_time has looked at it, and saved with the push.
        if job.meta.get("repeat"):
            job.meta["repeat"] = int(job.meta["repeat"]) - 1
        # Asked for outside of the transaction, where RQ would ask for it.
        queue.get_redis_server_version()
        waits_already = next_time is not None and self.connection.lpos(queue.key, job.id) is not None
        with self.connection.pipeline() as pipeline:
            pipeline.watch(self.scheduler_lock_key)
            if pipeline.get(self.scheduler_lock_key) != self.name.encode():
                raise LockLostError
            pipeline.multi()
            if not waits_already:
                queue.enqueue_job(job, pipeline=pipeline, at_front=bool(job.enqueue_at_front))
                # A hash that waited with an earlier run's end in it would vanish in the line.
                pipeline.expire(job.key, _ORPHAN_SECONDS)
            if next_time is None:
                pipeline.zrem(self.scheduled_jobs_key, job.id)
            else:
                pipeline.zadd(self.scheduled_jobs_key, {job.id: next_time})
            try:
                pipeline.execute()
            except redis.WatchError as error:
                raise LockLostError from error

    def _next_time(self, job: Job) -> float | None:
        """Return when a periodic job is due again, ``None`` for one that is not or ends now."""
        repeat = job.meta.get("repeat")
        if repeat is not None and int(repeat) <= 1:
            return None
        if job.meta.get("interval"):
            return time.time() + int(job.meta["interval"])
        if job.meta.get("cron_string"):
            local = job.meta.get("use_local_timezone")
            return float(to_unix(get_next_scheduled_time(job.meta["cron_string"], use_local_timezone=local)))
        return None

    def cancel(self, job: Job | str) -> None:
        """Take a job off the schedule; its hash is not left behind for ever."""
        job_id = job if isinstance(job, str) else job.id
        with self.connection.pipeline() as pipeline:
            pipeline.zrem(self.scheduled_jobs_key, job_id)
            pipeline.expire(self.job_class.key_for(job_id), _ORPHAN_SECONDS)
            pipeline.execute()

    def _be_seen(self) -> None:
        """Write this scheduler's key, as rq-scheduler does, but again after a flush."""
        with self.connection.pipeline() as pipeline:
            pipeline.hsetnx(self.key, "birth", str(time.time()))
            pipeline.expire(self.key, LOCK_SECONDS)
            pipeline.execute()


class SchedulerLoop:
    """Alternates the sweep on the database and the passes over the schedule until SIGTERM.

    Args:
        settings: the intervals.
        connection: to Redis, with time limits.
    """

    def __init__(self, settings: Settings, connection: redis.Redis) -> None:
        self._settings = settings
        self._engine = database.make_engine(settings)
        self._delivery = Delivery(connection, settings)
        self._scheduler = SafeScheduler(settings, connection)
        self._stopping = False
        self._sweep_due = 0.0
        self._pass_due = 0.0
        self._redis_wait = 0.0
        self._last_trouble = ""
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)

    def run(self) -> None:
        """Run until :meth:`stop`; no trouble with the database or Redis ends it."""
        while not self._stopping:
            now = time.monotonic()
            if now >= self._sweep_due:
                self.sweep_once()
                self._sweep_due = now + self._settings.sweep_seconds
            if now >= self._pass_due:
                self.pass_once()
                tick = min(_LONGEST_TICK_SECONDS, self._settings.sweep_seconds)
                self._pass_due = now + max(tick, self._redis_wait)
            pause = min(self._sweep_due, self._pass_due) - time.monotonic()
            select.select([self._wake_reader], [], [], max(0.0, pause))
        with contextlib.suppress(redis.RedisError, OSError):
            self._scheduler.remove_lock()
            self._scheduler.register_death()
        self._engine.dispose()

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """End the loop after the step it is in. May be called from a signal handler."""
        self._stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def sweep_once(self) -> None:
        """Rescue, announce and prune in this process; trouble is logged and tried again next time."""
        try:
            sweep.run(self._settings, self._engine, self._delivery)
        except Exception as error:
            # Whatever it is, the loop that rescues must not be what ends.
            trouble = repr(error)[:300]
            if trouble != self._last_trouble:
                log.exception("sweep_failed")
            else:
                log.warning("sweep_failed_again", error=trouble)
            self._last_trouble = trouble
        else:
            self._last_trouble = ""

    def pass_once(self) -> None:
        """Move what is due to the queue; wait longer and longer while Redis is away."""
        try:
            self._scheduler.one_pass()
        except (redis.RedisError, OSError) as error:
            self._redis_wait = min(max(0.5, self._redis_wait * 2), _LONGEST_REDIS_WAIT_SECONDS)
            log.warning("redis_away", error=str(error), retry_in_seconds=self._redis_wait)
        except Exception:
            log.exception("scheduler_pass_failed")
            self._redis_wait = _LONGEST_REDIS_WAIT_SECONDS
        else:
            self._redis_wait = 0.0


def run(settings: Settings) -> None:
    """Run the scheduler of this machine until SIGTERM or SIGINT.

    When no REDIS_URL was given this process also keeps the private Redis running, unless another
    (the launcher) does already.

    Args:
        settings: the validated settings.

    Raises:
        ConfigurationError: the private Redis cannot be started.
    """
    server = EmbeddedRedis(settings.data_dir) if settings.uses_embedded_redis else None
    try:
        if server is not None:
            server.start()
            server.watch()
        loop = SchedulerLoop(settings, web_connection(settings))
        signal.signal(signal.SIGTERM, loop.stop)
        signal.signal(signal.SIGINT, loop.stop)
        log.info("scheduler_started")
        loop.run()
        log.info("scheduler_stopped")
    finally:
        if server is not None:
            server.stop()
