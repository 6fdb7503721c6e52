"""RQ's worker, hardened against Redis: it may go away, be flushed, or hold garbage at any moment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import redis
import structlog
from rq import Queue, Worker, worker_registration
from rq.exceptions import NoSuchJobError, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import as_text

from jobs.delivery import DocumentJob

log = structlog.get_logger()

REDIS_AWAY = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
MONITOR_SECONDS = 10


def alert_queue(
    base: type[Queue], before_waiting: Callable[[], None], heard: Callable[[str], None]
) -> type[Queue]:
    """Make a queue that tells at once when it has taken a job from its list.

    Args:
        base: RQ's own.
        before_waiting: called before each wait for a job.
        heard: called with the id of the job, before anything of it is read.
    """

    class AlertQueue(base):  # type: ignore[misc, valid-type]  # the class is chosen when the program runs
        @classmethod
        def lmove(cls, connection: redis.Redis, queue_key: str, timeout: int | None) -> Any:
            before_waiting()
            result = super().lmove(connection, queue_key, timeout)
            if result is not None:
                heard(as_text(result[1]))
            return result

    return AlertQueue


class TolerantWorker(Worker):
    """A worker on one queue that trusts Redis with nothing but bells, all of them JSON.

    Args:
        queue: the queue it listens to.
        name: unique.
        connection: to Redis; RQ sets its time limit.
    """

    # The longest wait between two looks whether Redis is back.
    max_connection_wait_time = 4.0
    log_result_lifespan = False

    def __init__(self, queue: str, name: str, connection: redis.Redis) -> None:
        self._redis_was_away = False
        super().__init__(
            [queue],
            name=name,
            connection=connection,
            job_class=DocumentJob,
            serializer=JSONSerializer,
            worker_ttl=30,
            maintenance_interval=15,
            job_monitoring_interval=MONITOR_SECONDS,
            log_job_description=False,
        )

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that one blocking wait for a job takes; the worker is seen in between."""
        return 10

    @contextlib.contextmanager
    def redis_may_be_away(self) -> Iterator[None]:
        """Log that Redis is away, and go on behind the block."""
        try:
            yield
        except REDIS_AWAY as error:
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
            except (*REDIS_AWAY, StopRequested):
                raise
            except Exception:
                log.exception("job_unreadable", worker=self.name)
                if not self._drop_unreadable():
                    raise
            else:
                return found

    def run_maintenance_tasks(self) -> None:
        """Tidy RQ's registries; what cannot be read there is thrown away."""
        with self.redis_may_be_away():
            try:
                super().run_maintenance_tasks()  # type: ignore[no-untyped-call]  # RQ is only partly typed
            except (*REDIS_AWAY, StopRequested):
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
        except REDIS_AWAY:
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
        with self.redis_may_be_away():
            super().check_for_suspension(burst)

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Write the worker's state to Redis, for RQ's dashboard."""
        with self.redis_may_be_away():
            super().set_state(state, pipeline)

    def beat(self, timeout: int | None = None) -> None:
        """Tell Redis that this worker lives; register again after a flush."""
        with self.redis_may_be_away(), self.connection.pipeline() as own:
            super().heartbeat(timeout, own)
            worker_registration.register(self, own)
            was_forgotten = own.execute()[0] == 1
            self._redis_was_away = False
            if was_forgotten and self.birth_date is not None:
                own.hset(self.key, mapping={**self.serialize(), "state": self.get_state()})
                own.execute()

    def subscribe(self) -> None:
        """Take no commands over Redis: they could stop jobs, and their thread would be forked."""

    def unsubscribe(self) -> None:
        """Undo nothing, see :meth:`subscribe`."""
