"""RQ's worker, hardened, and the small pool that keeps several of them running.

Three generations of processes: the pool, its workers, and each worker's horse, a fork that runs
one job. The pool starts a worker again however it ended. A worker tells the database at once
when its horse dies, and of what; the pool tells it when a worker dies. Neither trusts Redis with
anything but bells: Redis may go away, be flushed, or hold garbage at any moment.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

import redis
import sqlalchemy as sa
import structlog
from rq import Queue, Worker, worker_registration
from rq.exceptions import NoSuchJobError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.utils import as_text, now

from jobs import database, logs
from jobs.delivery import PROCESS, DocumentJob, web_connection, worker_connection
from jobs.horse_death import describe_death, oom_kills, peak_memory_bytes, prefer_as_oom_victim
from jobs.operations import make_stages
from jobs.parent_death import die_with_parent
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings

log = structlog.get_logger()

SEEN_EVERY_SECONDS = 9.0
# A terminal, a platform and a supervisor may each send the first signal; RQ takes these for one as well.
_ECHO_SECONDS = 1.0
# How a horse tells its parent that the job ended by an exception that the runner let through.
_EXIT_RAISED = 70
_EXIT_TIMED_OUT = 71
_EXIT_DATABASE_AWAY = 72
_EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (JobTimeoutException, _EXIT_TIMED_OUT),
    (sa.exc.OperationalError, _EXIT_DATABASE_AWAY),
    (BaseException, _EXIT_RAISED),
)
_MONITOR_SECONDS = 10
_LONGEST_REPORT_WAIT = 4.0
_REDIS_AWAY = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)


class DocumentWorker(Worker):
    """One RQ worker on one queue: JSON only, allow-listed functions only.

    Args:
        settings: the queues, the database, time limits.
        name: unique, as it will stand in leases and in the table of workers.
        connection: to Redis; RQ sets its time limit.
        queue: the queue it listens to; the usual one when ``None``.
    """

    # The longest wait between two looks whether Redis is back.
    max_connection_wait_time = 4.0
    log_result_lifespan = False
    # A job that is told that its time is up may take so long to write that down; then its horse is killed.
    overdue_seconds = 15

    def __init__(
        self, settings: Settings, name: str, connection: redis.Redis, queue: str | None = None
    ) -> None:
        self._settings = settings
        self._queue_name = queue or settings.queue_name
        self._limit_seconds = settings.longest_timeout_seconds
        self._overdue_at = float("inf")
        self._was_overdue = False
        self._oom_kills: int | None = None
        self._seen_at = float("-inf")
        self._parent_pid = os.getppid()
        self._raised: type[BaseException] | None = None
        self._being_stopped = False
        self._database_was_away = False
        self._redis_was_away = False
        super().__init__(
            [self._queue_name],
            name=name,
            connection=connection,
            job_class=DocumentJob,
            serializer=JSONSerializer,
            worker_ttl=30,
            maintenance_interval=15,
            job_monitoring_interval=_MONITOR_SECONDS,
            log_job_description=False,
        )

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that one blocking wait for a job takes; the worker is seen in between."""
        return 10

    # The horse.

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run one job in the forked horse, which dies with this worker."""
        # self.pid is still the parent's here; RQ reads it once, in the constructor.
        die_with_parent(signal.SIGKILL, int(self.pid or 0))
        prefer_as_oom_victim()
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """Let the horse finish when everything is told to stop; the worker decides when to end it.

        Platforms send SIGTERM to every process of a machine. A handler that does nothing, because an
        ignored signal would stay ignored in the programs that a job starts.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run the job; end the horse with a telling code if an exception got through."""
        if not super().perform_job(job, queue, execution):
            raised = self._raised or Exception
            os._exit(next(code for kind, code in _EXIT_CODES if issubclass(raised, kind)))
        return True

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Remember what the job raised; called in the horse."""
        self._raised = exc_info[0]
        super().handle_exception(job, *exc_info)

    # The parent of the horse.

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Fork a horse for the job and wait for it, with or without Redis."""
        if not job.timeout or job.timeout < 0:
            job.timeout = self._settings.longest_timeout_seconds
        self._limit_seconds = int(job.timeout)
        longest = self._limit_seconds + self.overdue_seconds
        self._overdue_at = time.monotonic() + longest
        self._was_overdue = False
        self.job_monitoring_interval = min(_MONITOR_SECONDS, longest)
        self._oom_kills = oom_kills()
        with self._redis_may_be_away():
            super().execute_job(job, queue)
        # If Redis went away, RQ left these as they were.
        self._horse_pid = 0
        self.executions.clear()
        self.set_state("idle")

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        """Wait for the horse; when it died, tell the database before anything else."""
        pid, status, usage = super().wait_for_horse()
        # RQ's monitor set an alarm for its next heartbeat; it must not strike into what follows.
        signal.alarm(0)
        if status != os.EX_OK:
            self._database_was_away = _exit_code(status) == _EXIT_DATABASE_AWAY
            self._report_death(self._reason(status, usage), peak_memory_bytes(usage))
        return pid, status, usage

    def _reason(self, status: int | None, usage: Any) -> str:
        code, cause = _exit_code(status), ""
        if self._was_overdue:
            cause = f"the work ran longer than {self._limit_seconds} seconds and had to be killed"
        elif code == _EXIT_TIMED_OUT:
            cause = f"the work ran longer than {self._limit_seconds} seconds"
        elif code == _EXIT_RAISED:
            cause = "the work process could not write down how the work ended"
        # The count is looked at with every heartbeat, so that it did not rise long before this death.
        before, after = self._oom_kills, oom_kills()
        rose = before is not None and after is not None and after > before
        return describe_death(status, usage, ran_out_of_memory=rose, cause=cause)

    def _report_death(self, reason: str, peak: int | None) -> None:
        """Tell the database, again while it is away; when the lease has run out the sweep has taken over.

        Until it is told nothing else is taken: what is reported is whatever this worker holds.
        """
        wait, give_up_at = 0.25, time.monotonic() + self._settings.lease_seconds
        while not self._tell_database(reason, peak):
            if self._stop_requested or time.monotonic() + wait > give_up_at:
                return
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_REPORT_WAIT)

    def _tell_database(self, reason: str, peak: int | None) -> bool:
        with _service(self._settings) as service:
            if self._being_stopped:
                item = service.release_held(self.name, "the worker was stopped")
            elif self._database_was_away:
                item = service.release_held(self.name, "the database could not be written")
            else:
                item = service.report_horse_death(self.name, reason, peak_memory_bytes=peak)
            log.warning("horse_died", worker=self.name, reason=reason, item_id=item and item.id)
            return True
        return False

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """End at once: the job in hand goes back to the queue uncounted."""
        asked_at = self._shutdown_requested_date
        echo = asked_at is not None and now() - asked_at < timedelta(seconds=_ECHO_SECONDS)
        # A third signal must not come in between while the second one is being obeyed.
        if echo or self._being_stopped:
            return
        self._being_stopped = True
        super().request_force_stop(signum, frame)

    def handle_warm_shutdown_request(self) -> None:
        """Say that the stop was heard."""
        log.info("worker_stopping", worker=self.name, busy=bool(self.horse_pid))

    def _shutdown(self) -> None:
        """Stop now if idle, after the running job otherwise."""
        self._stop_requested = True
        super()._shutdown()  # type: ignore[no-untyped-call]  # RQ is only partly typed

    def set_shutdown_requested_date(self) -> None:
        """Write nothing: this is called in a signal handler, maybe amid another Redis command."""

    # Redis may be away, be flushed, or hold garbage.

    @contextlib.contextmanager
    def _redis_may_be_away(self) -> Iterator[None]:
        try:
            yield
        except _REDIS_AWAY as error:
            # Said once for each time that it goes away; the next heartbeat that lands resets it.
            if not self._redis_was_away:
                log.warning("redis_away", worker=self.name, error=str(error))
            self._redis_was_away = True

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a job; one that cannot be read is thrown away, the sweep rings for it again."""
        while True:
            try:
                found: tuple[Job, Queue] | None = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
            except (*_REDIS_AWAY, StopRequested):
                raise
            except Exception:
                log.exception("job_unreadable", worker=self.name)
                if not self._drop_unreadable():
                    raise
            else:
                return found

    def run_maintenance_tasks(self) -> None:
        """Tidy RQ's registries; what cannot be read there is thrown away."""
        with self._redis_may_be_away():
            try:
                super().run_maintenance_tasks()  # type: ignore[no-untyped-call]  # RQ is only partly typed
            except (*_REDIS_AWAY, StopRequested):
                raise
            except Exception:
                log.exception("rq_maintenance_failed", worker=self.name)
                self._drop_unreadable()
                for queue in self.queues:
                    queue.release_maintenance_lock()  # type: ignore[no-untyped-call]  # the same

    def _drop_unreadable(self) -> int:
        """Remove every job whose hash cannot be read from wherever RQ would meet it.

        Returns:
            How many were removed.
        """
        queue = self.queues[0]
        listed = {*queue.intermediate_queue.get_job_ids(), *queue.get_job_ids()}
        registries = (
            queue.started_job_registry, queue.finished_job_registry, queue.failed_job_registry,
            queue.deferred_job_registry,
        )  # fmt: skip
        for registry in registries:
            # Every index of an entry, without its score: bytes, whatever the client's types say.
            entries = self.connection.zrange(registry.key, 0, -1)
            listed.update(as_text(entry) for entry in entries)  # type: ignore[arg-type]  # see above
        return sum(self._drop_if_unreadable(entry, registries) for entry in listed)

    def _drop_if_unreadable(self, entry: str, registries: tuple[Any, ...]) -> bool:
        # The registry of started jobs holds "job:execution".
        job_id = entry.partition(":")[0]
        try:
            DocumentJob.fetch(job_id, connection=self.connection)
        except NoSuchJobError:
            return False
        except _REDIS_AWAY:
            raise
        except Exception as error:  # noqa: BLE001  # garbage in a hash may raise anything
            log.warning("unreadable_job_dropped", job_id=job_id, error=repr(error)[:200])
        else:
            return False
        queue = self.queues[0]
        with self.connection.pipeline() as pipeline:
            pipeline.lrem(queue.intermediate_queue.key, 0, job_id)
            pipeline.lrem(queue.key, 0, job_id)
            for registry in registries:
                pipeline.zrem(registry.key, entry)
            pipeline.delete(DocumentJob.key_for(job_id))
            pipeline.execute()
        return True

    def check_for_suspension(self, burst: bool) -> None:
        """Wait while ``rq suspend`` is in force, as far as Redis can tell."""
        with self._redis_may_be_away():
            super().check_for_suspension(burst)

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Write the worker's state to Redis, for RQ's dashboard."""
        with self._redis_may_be_away():
            super().set_state(state, pipeline)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell Redis and the database that this worker lives; register again after a flush."""
        if pipeline is not None or self.is_horse:
            super().heartbeat(timeout, pipeline)
            return
        if os.getppid() != self._parent_pid:
            log.warning("pool_gone", worker=self.name)
            os.kill(os.getpid(), signal.SIGTERM)
        with self._redis_may_be_away(), self.connection.pipeline() as own:
            super().heartbeat(timeout, own)
            worker_registration.register(self, own)
            was_forgotten = own.execute()[0] == 1
            self._redis_was_away = False
            if was_forgotten and self.birth_date is not None:
                own.hset(self.key, mapping={**self.serialize(), "state": self.get_state()})
                own.execute()
        self._be_seen()

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Keep RQ's record of the running job alive, and this worker's; end a job that is overdue."""
        self._oom_kills = oom_kills()
        if time.monotonic() >= self._overdue_at and not self._was_overdue:
            log.warning("horse_overdue", worker=self.name, job_id=job.id)
            self._was_overdue = True
            self.kill_horse()
            return
        with self._redis_may_be_away():
            super().maintain_heartbeats(job, execution)
        self.heartbeat()

    def _be_seen(self) -> None:
        if time.monotonic() - self._seen_at < SEEN_EVERY_SECONDS:
            return
        self._seen_at = time.monotonic()
        with _service(self._settings) as service:
            state = "busy" if self.horse_pid else "idle"
            service.worker_seen(self.name, self.hostname or "", os.getpid(), state, self._queue_name)

    def subscribe(self) -> None:
        """Take no commands over Redis: they could stop jobs, and their thread would be forked."""

    def unsubscribe(self) -> None:
        """Undo nothing, see :meth:`subscribe`."""

    def teardown(self) -> None:
        """Sign off from Redis and the database."""
        if self.is_horse:
            return
        with self._redis_may_be_away():
            super().teardown()  # type: ignore[no-untyped-call]  # RQ is only partly typed
        with _service(self._settings) as service:
            service.worker_gone(self.name)


def _exit_code(status: int | None) -> int | None:
    return None if status is None else os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def _service(settings: Settings) -> Iterator[DocumentQueueService]:
    """Lend the queue service for one call; its connection is closed before any fork.

    Trouble with the database is logged only: the lease brings back what could not be reported.
    """
    engine = database.make_engine(settings, pooled=False)
    try:
        yield DocumentQueueService(engine, settings)
    except StopRequested:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the worker must go on
        log.warning("report_failed", error=repr(error)[:300])
    finally:
        engine.dispose()


def new_worker_name() -> str:
    """Return ``<host>-<pool's pid>-<random>``, short enough for its column."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{os.urandom(4).hex()}"


def report_dead_worker(settings: Settings, name: str, reason: str) -> None:
    """Give back what a worker held that can no longer do so itself.

    Args:
        settings: which database.
        name: the dead worker.
        reason: how it ended, for people.
    """
    with _service(settings) as service:
        item = service.report_horse_death(name, reason)
        service.worker_gone(name)
        if item is not None:
            log.warning("worker_died_holding", worker=name, item_id=item.id, reason=reason)


def run_worker(settings: Settings, name: str, queue: str | None = None) -> None:
    """Run one worker until it is told to stop; waits for Redis first.

    Args:
        settings: the validated settings.
        name: this worker's unique name.
        queue: the queue it listens to; the usual one when ``None``.
    """
    _load_what_horses_need(settings)
    _wait_for_redis(settings)
    worker = DocumentWorker(settings, name, worker_connection(settings), queue)
    log.info("worker_started", worker=name, queues=worker.queue_names())
    worker.work(logging_level=None)
    log.info("worker_stopped", worker=name)


def _load_what_horses_need(settings: Settings) -> None:
    # Every horse is forked with it already there, instead of loading it for each job.
    importlib.import_module(PROCESS.rpartition(".")[0])
    make_stages(settings)
    # A horse would look through all that it inherited, for 70 ms, when its first collection is due.
    gc.collect()
    gc.freeze()


def _wait_for_redis(settings: Settings) -> None:
    # A connection of its own: one made before RQ sets its time limits would keep shorter ones.
    wait = 0.1
    with web_connection(settings) as connection:
        while True:
            try:
                connection.ping()
            except (redis.RedisError, OSError) as error:
                if wait >= 1.0:
                    log.warning("redis_away", error=str(error))
                time.sleep(wait)
                wait = min(wait * 2, 2.0)
            else:
                return


def run_pool(settings: Settings) -> None:
    """Keep ``WORKERS`` workers of each queue running until SIGTERM; see :mod:`jobs.worker_pool`."""
    from jobs.worker_pool import WorkerPool

    WorkerPool(settings).run()


def main() -> None:
    """Run one worker: ``python -m jobs.rq_worker NAME [QUEUE]``, started by the pool."""
    import sys

    die_with_parent(signal.SIGTERM, os.getppid())
    settings = load_settings()
    logs.configure(settings)
    run_worker(settings, *sys.argv[1:3])


if __name__ == "__main__":
    main()
