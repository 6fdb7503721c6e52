"""RQ's record of many jobs at once, in one way to Redis and back.

RQ writes some sixty commands for each job. Here a script does the same for as many as there are: it takes
bells off the list, notes which jobs have begun and which have ended, and says how much is left. The dashboard
shows what it would show otherwise; when more end than anybody could look at, the oldest are shown and the
rest is forgotten at once. Nothing depends on any of it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from rq import Queue
from rq.job import Job
from rq.utils import current_timestamp, now, utcformat
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from jobs.delivery import FAILURE_SECONDS, RESULT_SECONDS
from jobs.horse_link import CLAIMED, IDLE, SETTLED, Message

# How long RQ believes that a job runs of which nothing more is heard.
STARTED_SECONDS = 90
_MOST_SHOWN_FINISHED = 1_000

# So long a job runs before it is noted as begun; most have ended by then.
_NOTED_AFTER_SECONDS = 0.15

# KEYS: list, intermediate list, started registry, finished registry, workers of the queue, worker's hash,
# worker's executions. ARGV: prefix of a job's key, worker, instant, clock, execution, bells to take, seconds
# that a started, a finished, a forgotten job is kept, most finished; then ids, separated by blanks: of those
# that ended and had been noted as begun, of the others that ended, of those that begin.
_SCRIPT = """
local prefix, worker, instant, clock, execution = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local bells = tonumber(ARGV[6])
local others, ended, over, begun, over_now, gone = {}, {}, {}, {}, {}, {}
for id in string.gmatch(ARGV[11], '%S+') do over[#over + 1] = id; ended[#ended + 1] = id end
for id in string.gmatch(ARGV[12], '%S+') do ended[#ended + 1] = id end
for id in string.gmatch(ARGV[13], '%S+') do begun[#begun + 1] = id end
local function forget_gone()
    if #gone > 0 then redis.call('DEL', unpack(gone)) end
    gone = {}
end
if bells > 0 then
    for _, id in ipairs(ended) do over_now[id] = true end
    local taken = redis.call('LPOP', KEYS[1], bells) or {}
    for _, id in ipairs(taken) do
        -- What is not a document's bell stays where RQ's own worker will find it.
        if string.find(id, '^%x+%-%x+%-%x+%-%x+%-%x+%-%a+%-%x+%-%d+$') then
            if not over_now[id] then redis.call('EXPIRE', prefix .. id, ARGV[9]) end
        else
            others[#others + 1] = id
        end
    end
    for i = #others, 1, -1 do redis.call('LPUSH', KEYS[1], others[i]) end
end
local shown = tonumber(ARGV[10]) - redis.call('ZCARD', KEYS[4])
for _, id in ipairs(ended) do
    local key = prefix .. id
    if shown > 0 and redis.call('EXISTS', key) == 1 then
        shown = shown - 1
        redis.call('HSET', key, 'status', 'finished', 'ended_at', instant, 'worker_name', worker)
        redis.call('HSETNX', key, 'started_at', instant)
        redis.call('EXPIRE', key, ARGV[8])
        redis.call('ZADD', KEYS[4], clock + ARGV[8], id)
    else
        gone[#gone + 1] = key
        if #gone == 1000 then forget_gone() end
    end
end
forget_gone()
for _, id in ipairs(over) do
    local run = id .. ':' .. execution
    redis.call('ZREM', KEYS[3], run)
    redis.call('SREM', KEYS[7], run)
    redis.call('DEL', 'rq:execution:' .. run)
end
if redis.call('LLEN', KEYS[2]) > 0 then
    for _, ids in ipairs({ended, begun}) do
        for _, id in ipairs(ids) do redis.call('LREM', KEYS[2], 1, id) end
    end
end
for _, id in ipairs(begun) do
    local key = prefix .. id
    if redis.call('EXISTS', key) == 1 then
        redis.call('HSET', key, 'status', 'started', 'started_at', instant, 'last_heartbeat', instant,
            'worker_name', worker)
        redis.call('PERSIST', key)
        redis.call('ZADD', KEYS[3], clock + ARGV[7], id .. ':' .. execution)
        redis.call('SADD', KEYS[7], id .. ':' .. execution)
        redis.call('HSET', 'rq:execution:' .. id .. ':' .. execution, 'id', execution, 'job_id', id,
            'created_at', clock, 'last_heartbeat', clock, 'worker_name', worker)
        redis.call('EXPIRE', 'rq:execution:' .. id .. ':' .. execution, ARGV[7])
    end
end
if #ended > 0 then redis.call('HINCRBY', KEYS[6], 'successful_job_count', #ended) end
return {redis.call('LLEN', KEYS[1]), redis.call('SCARD', KEYS[5]), #others}
"""


@dataclass(frozen=True, slots=True)
class Left:
    """What is left in a queue's list.

    Attributes:
        bells: how many bells hang in it.
        workers: how many workers listen to it.
        others: whether jobs of another kind wait among those that were looked at.
    """

    bells: int
    workers: int
    others: bool


class Notes:
    """What a horse says, summed up; of a job that is over at once RQ is told its end alone."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def take(self, messages: Sequence[Message]) -> tuple[bool, list[str], list[str]]:
        """Take in what was said.

        Returns:
            Whether the horse is idle, which jobs have been running for a while, each once, and which ended.
        """
        now_ = time.monotonic()
        ended: list[str] = []
        for message in messages:
            if message.word == CLAIMED:
                self._since.update(dict.fromkeys(message.job_ids, now_))
            elif message.word == SETTLED:
                ended += message.job_ids
        for job_id in ended:
            self._since.pop(job_id, None)
        lasting = [job_id for job_id, since in self._since.items() if now_ - since >= _NOTED_AFTER_SECONDS]
        for job_id in lasting:
            del self._since[job_id]
        return bool(messages) and messages[-1].word == IDLE, lasting, ended

    def clear(self) -> None:
        """Forget what runs: the horse is dead."""
        self._since.clear()


class Books:
    """Keeps RQ's records for one worker.

    Args:
        queue: the queue that it listens to.
        worker_key: of RQ's record of the worker.
        executions_key: of RQ's index of what the worker runs.
        worker: its name.
    """

    def __init__(self, queue: Queue, worker_key: str, executions_key: str, worker: str) -> None:
        self._connection: redis.Redis = queue.connection
        self._script = self._connection.register_script(_SCRIPT)
        self._worker = worker
        # One name for all that this worker runs; RQ tells executions of the same job apart by it.
        self._execution = uuid.uuid4().hex
        self._started_key = queue.started_job_registry.key
        self._keys = [
            queue.key,
            queue.intermediate_queue_key,
            self._started_key,
            queue.finished_job_registry.key,
            WORKERS_BY_QUEUE_KEY % queue.name,
            worker_key,
            executions_key,
        ]
        self.started: set[str] = set()

    def keep(self, bells: int, began: Sequence[str] = (), ended: Sequence[str] = ()) -> Left:
        """Take bells off the list and note what began and what ended.

        Args:
            bells: how many bells to take.
            began: ids of RQ's jobs; those that have ended by now as well need not be among them.
            ended: the same.

        Raises:
            redis.RedisError: Redis did not answer; whether it has acted is unknown and does not matter.
        """
        known = [job_id for job_id in ended if job_id in self.started]
        new = [job_id for job_id in ended if job_id not in self.started]
        arguments: list[Any] = [
            Job.redis_job_namespace_prefix, self._worker, utcformat(now()), current_timestamp(),
            self._execution, bells, STARTED_SECONDS, RESULT_SECONDS, FAILURE_SECONDS, _MOST_SHOWN_FINISHED,
            " ".join(known), " ".join(new), " ".join(began),
        ]  # fmt: skip
        self.started.update(began)
        self.started.difference_update(ended)
        left, workers, others = self._script(keys=self._keys, args=arguments)
        return Left(int(left), int(workers), bool(others))

    def beat(self) -> None:
        """Let RQ believe for some more time that what was started runs."""
        if not self.started:
            return
        until = current_timestamp() + STARTED_SECONDS
        with self._connection.pipeline(transaction=False) as pipeline:
            for job_id in self.started:
                pipeline.expire(f"rq:execution:{job_id}:{self._execution}", STARTED_SECONDS)
            pipeline.zadd(
                self._started_key, {f"{job_id}:{self._execution}": until for job_id in self.started}, xx=True
            )
            pipeline.execute()

    def forget(self) -> list[str]:
        """Return the jobs that were started and have not ended, and forget them."""
        left, self.started = sorted(self.started), set()
        return left
