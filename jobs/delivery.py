"""The bell: tells RQ and rq-scheduler which row to look at, by ids only.

Losing or doubling what is sent here changes nothing but latency: the claim in the database decides.
Nothing is ever unpickled: jobs are JSON, and only the functions named in :data:`ALLOWED` are run.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import utcformat
from rq_scheduler import Scheduler

from jobs.errors import DeliveryError
from jobs.model import QueueItem
from jobs.settings import Settings

PROCESS = "jobs.tasks.process_document"
SWEEP = "jobs.tasks.sweep"
ALLOWED = frozenset({PROCESS, SWEEP})
SWEEP_JOB_ID = "sweep"

# RQ's own record of a job is of no use once it ended; the database keeps what matters.
RESULT_SECONDS = 60
FAILURE_SECONDS = 86_400


class DocumentJob(Job):
    """An RQ job that is JSON whatever it is told, and runs allow-listed functions only.

    It drops callbacks and dependencies that a hand-written job could name.
    """

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:  # noqa: A002  # RQ's name
        del serializer
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    def restore(self, raw_data: Any) -> Any:
        """Read the hash, and forget every callback and webhook that stands in it."""
        restored = super().restore(raw_data)
        self.webhooks = []
        for name in ("_success_callback_name", "_failure_callback_name", "_stopped_callback_name"):
            setattr(self, name, None)
        return restored

    def perform(self) -> Any:
        """Run the function if it is one of ours.

        Raises:
            PermissionError: the job names any other function.
        """
        if self.func_name not in ALLOWED:
            raise PermissionError("this job names a function that is not on the list")
        return super().perform()


def web_connection(settings: Settings) -> redis.Redis:
    """Connect for a web process: gives up after a second, never sends a command twice."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=1.0,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


def worker_connection(settings: Settings) -> redis.Redis:
    """Connect for an RQ worker or scheduler; RQ sets the timeouts it needs for blocking commands."""
    return redis.Redis.from_url(
        settings.redis_url, socket_connect_timeout=5.0, retry=Retry(NoBackoff(), 0), health_check_interval=0
    )


IS_BELL = re.compile(r"[0-9a-f]+(?:-[0-9a-f]+){4}-[a-z]+-[0-9a-f]+-[0-9]+")


def rq_job_id(item: QueueItem) -> str:
    """Name the RQ job of an item's next attempt.

    Keyed by the document; the item's tail and the attempt keep it from ever being the id of a run
    that is just ending, which RQ would swallow.
    """
    return f"{item.document_id}-{item.operation}-{item.id[-8:]}-{item.attempt + 1}"


def _packed(call: str) -> bytes:
    """Compress as RQ does, with a window of 512 bytes: to set up the usual one takes longer than all else."""
    packer = zlib.compressobj(wbits=9, memLevel=1)
    return packer.compress(call.encode()) + packer.flush()


def _list_key(queue: str) -> str:
    """Return where RQ keeps a queue's list."""
    return f"{Queue.redis_queue_namespace_prefix}{queue}"


class Delivery:
    """Rings RQ for queue items.

    Args:
        connection: to the Redis-compatible server.
        settings: the queue's name and RQ's time limit for a job.
    """

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        self.connection = connection
        self._settings = settings
        self._queues = {
            name: Queue(
                name,
                connection=connection,
                serializer=JSONSerializer,
                job_class=DocumentJob,
                default_timeout=settings.longest_timeout_seconds,
            )
            for name in settings.queue_names
        }
        self.queue = self._queues[settings.queue_name]
        self._usual: dict[str, dict[str, Any]] = {}

    def announce(self, items: Sequence[QueueItem]) -> None:
        """Ring for items that are due, all in one round trip; those above priority 0 go to the front.

        A job's hash stands before its id does in the list, so that nobody needs a transaction: a worker finds
        both, and what a broken connection leaves behind is written once more by the sweep.

        Args:
            items: pending items, of any queues.

        Raises:
            DeliveryError: Redis did not take the message.
        """
        pipeline = self.connection.pipeline(transaction=False)
        for name, queue in self._queues.items():
            mine = [item for item in items if item.queue == name]
            if mine:
                self._push(pipeline, queue, mine)
        try:
            pipeline.execute()
        except (redis.RedisError, OSError) as error:
            raise DeliveryError("Redis is not reachable; the sweep will ring later.") from error

    def announce_missing(self, items: Sequence[QueueItem]) -> int:
        """Ring for those of the items whose job does not already stand in the list.

        Args:
            items: pending items that are due.

        Returns:
            For how many the bell was rung.

        Raises:
            DeliveryError: Redis did not answer.
        """
        try:
            pipeline = self.connection.pipeline(transaction=False)
            for item in items:
                pipeline.lpos(_list_key(item.queue), rq_job_id(item))
            missing = [item for item, place in zip(items, pipeline.execute(), strict=True) if place is None]
        except (redis.RedisError, OSError) as error:
            raise DeliveryError("Redis is not reachable; the sweep will ring later.") from error
        self.announce(missing)
        return len(missing)

    def announce_later(self, item: QueueItem) -> None:
        """Hand the bell for an item's next attempt to rq-scheduler, for the item's due time.

        Args:
            item: a pending item that is due in the future.

        Raises:
            DeliveryError: Redis did not take the message.
        """
        # rq-scheduler counts whole seconds and may fire up to one early; a bell before the due time is deaf.
        due = datetime.fromtimestamp(math.ceil(item.due_at.timestamp()), UTC)
        if due - item.due_at < timedelta(milliseconds=100):
            due += timedelta(seconds=1)
        scheduler = Scheduler(queue_name=item.queue, connection=self.connection, job_class=DocumentJob)
        try:
            scheduler.enqueue_at(
                due.replace(tzinfo=None),
                PROCESS,
                item.document_id,
                item.id,
                job_id=rq_job_id(item),
                timeout=self._settings.longest_timeout_seconds,
                job_result_ttl=RESULT_SECONDS,
                job_description=rq_job_id(item),
            )
        except (redis.RedisError, OSError) as error:
            raise DeliveryError("Redis is not reachable; the sweep will ring later.") from error

    def ping(self) -> bool:
        """Tell whether Redis answers."""
        try:
            return bool(self.connection.ping())
        except (redis.RedisError, OSError):
            return False

    def queue_length(self, queue: str | None = None) -> int:
        """Return how many bells wait.

        Args:
            queue: the queue's name; the usual one when ``None``.

        Raises:
            DeliveryError: Redis did not answer.
        """
        try:
            return int(self.connection.llen(_list_key(queue or self._settings.queue_name)))
        except (redis.RedisError, OSError) as error:
            raise DeliveryError("Redis is not reachable.") from error

    def _push(self, pipeline: Any, queue: Queue, items: Sequence[QueueItem]) -> None:
        """Write what ``Queue.enqueue_many`` writes, without making a job of each item first."""
        usual = self._usual_hash(queue)
        now = utcformat(datetime.now(UTC))
        pipeline.sadd(queue.redis_queues_keys, queue.key)
        for item in items:
            job_id = rq_job_id(item)
            mapping = {
                **usual,
                "created_at": now,
                "enqueued_at": now,
                "data": _packed(json.dumps((PROCESS, None, [item.document_id, item.id], {}))),
                # RQ would otherwise write repr(args) here; an id is all that a dashboard needs.
                "description": job_id,
            }
            pipeline.hset(DocumentJob.key_for(job_id), mapping=mapping)
        urgent = [rq_job_id(item) for item in items if item.priority > 0]
        others = [rq_job_id(item) for item in items if item.priority <= 0]
        if urgent:
            pipeline.lpush(queue.key, *urgent)
        if others:
            pipeline.rpush(queue.key, *others)

    def _usual_hash(self, queue: Queue) -> dict[str, Any]:
        """Return what RQ itself would write for a job of this queue; made once, it is the same for all."""
        known = self._usual.get(queue.name)
        if known is None:
            job = queue.create_job(
                PROCESS,
                # Whoever answers takes the best item of the line; the runner knows the limit of that one.
                timeout=self._settings.longest_timeout_seconds,
                result_ttl=RESULT_SECONDS,
                failure_ttl=FAILURE_SECONDS,
            )
            known = self._usual[queue.name] = job.to_dict()
        return known
