"""The worker: takes bells from RQ, keeps one warm work horse at work, and tells when it dies.

Three generations of processes: the pool, its workers, and their horses. The warm horse works documents
off, many in its life; whatever else stands in the list, like the periodic sweep, gets a horse of its own, as
RQ has it. The pool starts a worker again however it ended. A worker tells the database at once when its horse
dies, and of what; the pool tells it when a worker dies.
"""

from __future__ import annotations

import gc
import importlib
import math
import os
import signal
import time
from datetime import timedelta
from types import FrameType
from typing import Any

import redis
import structlog
from rq import Queue
from rq.executions import Execution
from rq.job import Job
from rq.timeouts import JobTimeoutException
from rq.utils import now
from rq.worker import WorkerStatus

from jobs import logs
from jobs.death_reports import lend_service
from jobs.delivery import IS_BELL, PROCESS, web_connection, worker_connection
from jobs.horse_death import describe_death, oom_kills, peak_memory_bytes, prefer_as_oom_victim
from jobs.horse_keeper import HorseKeeper
from jobs.horse_link import CLAIMED, HorseLink
from jobs.operations import make_stages
from jobs.parent_death import die_with_parent
from jobs.rq_books import Books, Left, Notes
from jobs.settings import Settings, load_settings
from jobs.tolerant_worker import MONITOR_SECONDS, TolerantWorker, alert_queue
from jobs.warm_horse import EXIT_DATABASE_AWAY, EXIT_RAISED, EXIT_TIMED_OUT, WarmHorse

log = structlog.get_logger()

SEEN_EVERY_SECONDS = 9.0
# A terminal, a platform and a supervisor may each send the first signal; RQ takes these for one as well.
_ECHO_SECONDS = 1.0
_LONGEST_REPORT_WAIT = 4.0
# How often a busy horse is looked at when it says nothing.
_HEAD_START_SECONDS = 0.005
_LOOK_SECONDS = 0.2
# After so long at documents, RQ's other duties have their turn.
_LONGEST_DRAIN_SECONDS = 15.0
# Bells for what was worked off already are taken so many at a time.
_SPENT_BELLS = 100


class DocumentWorker(TolerantWorker):
    """One RQ worker on one queue: JSON only, allow-listed functions only.

    Args:
        settings: the queues, the database, time limits.
        name: unique, as it will stand in leases and in the table of workers.
        connection: to Redis; RQ sets its time limit.
        queue: the queue it listens to; the usual one when ``None``.
    """

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
        self._beaten_at = float("-inf")
        self._parent_pid = os.getppid()
        self._raised: BaseException | None = None
        self._being_stopped = False
        self._warm = HorseKeeper(self._live_as_warm_horse)
        super().__init__(self._queue_name, name, connection)
        self._books = Books(self.queues[0], self.key, self.executions_key, name)
        self._notes = Notes()
        self._has_rung = False
        self.queue_class = alert_queue(self.queue_class, self._before_waiting, self._heard)

    # The horse of a job that is no document's.

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run one job in the forked horse, which dies with this worker."""
        self._begin_as_horse()
        super().main_work_horse(job, queue)

    def _begin_as_horse(self) -> None:
        # self.pid is still the parent's here; RQ reads it once, in the constructor.
        die_with_parent(signal.SIGKILL, int(self.pid or 0))
        prefer_as_oom_victim()
        self._warm.leave()

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
            timed_out = isinstance(self._raised, JobTimeoutException)
            os._exit(EXIT_TIMED_OUT if timed_out else EXIT_RAISED)
        return True

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Remember what the job raised; called in the horse."""
        self._raised = exc_info[1]
        super().handle_exception(job, *exc_info)

    def _live_as_warm_horse(self, link: HorseLink) -> None:
        self._begin_as_horse()
        self.setup_work_horse_signals()
        WarmHorse(self._settings, self.name, self._queue_name, link).run()

    def _warm_horse(self) -> HorseLink:
        """Return the link to a living warm horse."""
        if not self._warm.is_alive():
            self._warm.fork()
            self._oom_kills = oom_kills()
        return self._warm.link

    # The parent of the horse.

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Wait for a job, with a horse at hand."""
        self._warm_horse()
        try:
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        except BaseException:
            # Told to stop just after a bell was heard: the horse is at work.
            self._before_waiting()
            raise

    def _heard(self, job_id: str) -> None:
        """Let the horse look at the line before RQ has read the bell's record, which takes a millisecond."""
        if IS_BELL.fullmatch(job_id) and self._warm.is_alive():
            self._has_rung = True
            self._warm.link.ring()
            # The horse goes first; the books can wait.
            time.sleep(_HEAD_START_SECONDS)

    def _before_waiting(self) -> None:
        """Attend a horse whose bell came to nothing: its record was gone, or could not be read."""
        if self._has_rung:
            self._work_documents(None)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Answer a bell with the warm horse; run anything else in a horse of its own."""
        if job.data and job.func_name == PROCESS:
            self._work_documents(job.id)
        else:
            self._before_waiting()
            self._run_apart(job, queue)
        # If Redis went away, RQ left these as they were.
        self._horse_pid = 0
        self.executions.clear()
        self.set_state(WorkerStatus.IDLE)

    def _run_apart(self, job: Job, queue: Queue) -> None:
        if not job.timeout or job.timeout < 0:
            job.timeout = self._settings.longest_timeout_seconds
        self._limit_seconds = int(job.timeout)
        longest = self._limit_seconds + self.overdue_seconds
        self._overdue_at = time.monotonic() + longest
        self._was_overdue = False
        self.job_monitoring_interval = min(MONITOR_SECONDS, longest)
        self._oom_kills = oom_kills()
        with self.redis_may_be_away():
            super().execute_job(job, queue)

    def _work_documents(self, bell: str | None) -> None:
        """Let the horse work the line off, whoever's bell it was; keep RQ's books meanwhile."""
        link = self._warm.link if self._has_rung else self._warm_horse()
        self._horse_pid = self._warm.pid
        if not self._has_rung:
            link.ring()
        self._has_rung = False
        self.set_state(WorkerStatus.BUSY)
        # The bell in hand is taken already; whichever item it leads to.
        spent, owed = ({bell} if bell else set()), -1
        if bell:
            with self.redis_may_be_away():
                self.connection.lrem(self.queues[0].intermediate_queue_key, 1, bell)
        left = self._keep_books(0)
        pause_at = time.monotonic() + _LONGEST_DRAIN_SECONDS
        while True:
            messages = link.wait(_LOOK_SECONDS)
            if messages is None:
                self._horse_ended()
                if self._stop_requested or self._being_stopped:
                    return
                link = self._warm_horse()
                self._horse_pid = self._warm.pid
                link.ring()
                continue
            idle, began, ended = self._notes.take(messages)
            owed += sum(len(message.job_ids) for message in messages if message.word == CLAIMED)
            spent.difference_update(began, ended)
            if idle:
                ended += spent
                spent.clear()
            if began or ended:
                left = self._keep_books(max(0, owed), began, ended)
                owed = min(0, owed)
                link.share = math.ceil((left.bells + len(self._books.started) + 1) / max(1, left.workers))
            if idle:
                if self._stop_requested or not left.bells or left.others or time.monotonic() > pause_at:
                    return
                # Taken before the look, so that whatever they were rung for is found by it.
                left = self._keep_books(_SPENT_BELLS)
                link.ring()
            elif self._stop_requested:
                link.stop()
            elif left.others or time.monotonic() > pause_at:
                link.pause()
            self._watch(link)

    def _keep_books(self, bells: int, began: list[str] | None = None, ended: list[str] | None = None) -> Left:
        with self.redis_may_be_away():
            return self._books.keep(bells, began or [], ended or [])
        return Left(0, 1, others=False)

    def _watch(self, link: HorseLink) -> None:
        """Kill a horse whose item is overdue; show that both live."""
        running = link.running
        if running is not None and time.monotonic() > running.until + self.overdue_seconds:
            log.warning("horse_overdue", worker=self.name, item_id=running.item_id)
            self._was_overdue = True
            self.kill_horse()
        if time.monotonic() - self._beaten_at > MONITOR_SECONDS:
            self._oom_kills = oom_kills()
            self.heartbeat()
            with self.redis_may_be_away():
                self._books.beat()

    def _horse_ended(self) -> None:
        """Find out how the warm horse ended, and tell the database before anything else."""
        status, usage = self._warm.reap()
        running = self._warm.link.running
        item_id = None if running is None else running.item_id
        if status != os.EX_OK:
            if running is not None:
                self._limit_seconds = self._limit_of(item_id)
            self._report_death(status, self._reason(status, usage), peak_memory_bytes(usage), item_id)
        self._was_overdue = False
        self._warm.forget()
        self._notes.clear()
        self._horse_pid = 0
        with self.redis_may_be_away():
            self._books.keep(0, ended=self._books.forget())

    def _limit_of(self, item_id: str | None) -> int:
        with lend_service(self._settings) as service:
            if item_id is not None:
                return self._settings.policy(service.read_item(item_id).operation).timeout_seconds
        return self._settings.longest_timeout_seconds

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        """Wait for the end of a horse; when it died, tell the database before anything else."""
        if self._horse_pid == self._warm.pid:
            self._horse_ended()
            return None, None, None
        pid, status, usage = super().wait_for_horse()
        # RQ's monitor set an alarm for its next heartbeat; it must not strike into what follows.
        signal.alarm(0)
        if status != os.EX_OK:
            log.warning("horse_died", worker=self.name, reason=self._reason(status, usage))
        return pid, status, usage

    def _reason(self, status: int | None, usage: Any) -> str:
        code, cause = _exit_code(status), ""
        if self._was_overdue:
            cause = f"the work ran longer than {self._limit_seconds} seconds and had to be killed"
        elif code == EXIT_TIMED_OUT:
            cause = f"the work ran longer than {self._limit_seconds} seconds"
        elif code == EXIT_RAISED:
            cause = "the work process could not write down how the work ended"
        # The count is looked at with every heartbeat, so that it did not rise long before this death.
        before, after = self._oom_kills, oom_kills()
        rose = before is not None and after is not None and after > before
        return describe_death(status, usage, ran_out_of_memory=rose, cause=cause)

    def _report_death(self, status: int | None, reason: str, peak: int | None, running: str | None) -> None:
        """Tell the database, again while it is away; when the lease has run out the sweep has taken over.

        Until it is told nothing else is taken: what is reported is whatever this worker holds.
        """
        wait, give_up_at = 0.25, time.monotonic() + self._settings.lease_seconds
        while not self._tell_database(status, reason, peak, running):
            if self._stop_requested or time.monotonic() + wait > give_up_at:
                return
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_REPORT_WAIT)

    def _tell_database(self, status: int | None, reason: str, peak: int | None, running: str | None) -> bool:
        with lend_service(self._settings) as service:
            if self._being_stopped:
                items = service.release_held(self.name, "the worker was stopped")
            elif _exit_code(status) == EXIT_DATABASE_AWAY:
                items = service.release_held(self.name, "the database could not be written")
            else:
                items = service.report_horse_death(
                    self.name, reason, running=running or "", peak_memory_bytes=peak
                )
            log.warning("horse_died", worker=self.name, reason=reason, item_id=running, items=len(items))
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
        # At once: in the time of a look the horse could finish its item and begin another.
        self._warm.begin_nothing_more()
        super()._shutdown()  # type: ignore[no-untyped-call]  # RQ is only partly typed

    def set_shutdown_requested_date(self) -> None:
        """Write nothing: this is called in a signal handler, maybe amid another Redis command."""

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell Redis and the database that this worker lives."""
        if pipeline is not None or self.is_horse:
            super().heartbeat(timeout, pipeline)
            return
        if os.getppid() != self._parent_pid:
            log.warning("pool_gone", worker=self.name)
            os.kill(os.getpid(), signal.SIGTERM)
        self._beaten_at = time.monotonic()
        self.beat(timeout)
        self._be_seen()

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Keep RQ's record of the running job alive, and this worker's; end a job that is overdue."""
        self._oom_kills = oom_kills()
        if time.monotonic() >= self._overdue_at and not self._was_overdue:
            log.warning("horse_overdue", worker=self.name, job_id=job.id)
            self._was_overdue = True
            self.kill_horse()
            return
        with self.redis_may_be_away():
            super().maintain_heartbeats(job, execution)
        self.heartbeat()

    def _be_seen(self) -> None:
        if time.monotonic() - self._seen_at < SEEN_EVERY_SECONDS:
            return
        self._seen_at = time.monotonic()
        with lend_service(self._settings) as service:
            state = "busy" if self.horse_pid else "idle"
            service.worker_seen(self.name, self.hostname or "", os.getpid(), state, self._queue_name)

    def teardown(self) -> None:
        """Let the horse go; sign off from Redis and the database."""
        if self.is_horse:
            return
        self._warm.let_go()
        with self.redis_may_be_away():
            super().teardown()  # type: ignore[no-untyped-call]  # RQ is only partly typed
        with lend_service(self._settings) as service:
            service.worker_gone(self.name)


def _exit_code(status: int | None) -> int | None:
    return None if status is None else os.waitstatus_to_exitcode(status)


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
    """Keep ``WORKERS`` workers of each queue running until SIGTERM; see :mod:`jobs.worker_pool`.

    Raises:
        ConfigurationError: this machine does not let documents be shut in as ``CAGE_LEVEL`` demands.
    """
    from jobs.worker_pool import WorkerPool, require_cage

    require_cage(settings)
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
