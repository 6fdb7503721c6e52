"""Who is compared, how each is installed, filled and started."""

from __future__ import annotations

from dataclasses import dataclass, field

DURABLE = "SELECT count(*) FROM bench_jobs WHERE state = 'completed'"
_PSYCOPG = "psycopg[binary]==3.3.9"


@dataclass(frozen=True, slots=True)
class Peer:
    """One system in one configuration.

    Attributes:
        name: as in the table.
        program: the script under ``programs/`` that fills it.
        workers: the commands of its worker processes; the first word is a program of its environment.
        requirements: what pip installs; this project's own environment when empty.
        jobs: how many jobs, so that a repetition takes some seconds.
        done: SQL that counts the jobs that are settled durably.
        supervised: whether a job that kills its process is noticed, and its neighbours go on.
        note: what one must know to compare it.
    """

    name: str
    program: str
    workers: tuple[tuple[str, ...], ...]
    requirements: tuple[str, ...] = ()
    jobs: int = 1_000
    done: str = DURABLE
    supervised: bool = False
    note: str = ""
    environ: dict[str, str] = field(default_factory=dict)


_RQ = ("rq==3.0.0", _PSYCOPG)
_BARE = (_PSYCOPG,)
_PGQUEUER = ("pgqueuer[asyncpg]==1.6.0", "uvloop==0.23.0")

PEERS = (
    Peer("Document Queue Service", "ours_program.py", (("python", "ours_program.py", "pool"),), jobs=150,
         done="SELECT count(*) FROM queue_items WHERE status = 'completed'", supervised=True,
         note="a document, a queue item, an attempt, a result and six events for each job",
         environ={"WORKERS": "2"}),
    Peer("rq", "rq_program.py", 2 * (("rq", "worker", "--url", "REDIS", "bench"),), _RQ, jobs=60,
         supervised=True),
    Peer("rq, SimpleWorker", "rq_program.py",
         2 * (("rq", "worker", "--worker-class", "rq.SimpleWorker", "--url", "REDIS", "bench"),),
         _RQ, jobs=1_500),
    Peer("huey", "huey_program.py", (("huey_consumer", "huey_program.huey", "-k", "process", "-w", "2"),),
         ("huey==3.5.4", "redis==8.1.0", _PSYCOPG), jobs=4_000, note="a killed worker loses its job"),
    Peer("dramatiq", "dramatiq_program.py", (("dramatiq", "dramatiq_program", "-p", "2", "-t", "8"),),
         ("dramatiq[redis]==2.2.1", _PSYCOPG), jobs=4_000, supervised=True),
    Peer("procrastinate", "procrastinate_program.py", 2 * (("python", "procrastinate_program.py", "work"),),
         ("procrastinate==3.10.0", _PSYCOPG), jobs=800,
         done="SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'", note="own rows"),
    Peer("pgqueuer", "pgqueuer_program.py", 2 * (("python", "pgqueuer_program.py", "work", "10"),), _PGQUEUER,
         jobs=20_000, done="SELECT 20000 - count(*) FROM pgqueuer", note="own rows, batches of 10"),
    Peer("pgqueuer, batches of 100", "pgqueuer_program.py",
         2 * (("python", "pgqueuer_program.py", "work", "100"),), _PGQUEUER, jobs=30_000,
         done="SELECT 30000 - count(*) FROM pgqueuer", note="own rows"),
    Peer("bare loop, one at a time", "bare_program.py", 2 * (("python", "bare_program.py", "work", "1"),),
         _BARE, jobs=8_000, note="no queue: the limit"),
    Peer("bare loop, batches of 100", "bare_program.py", 2 * (("python", "bare_program.py", "work", "100"),),
         _BARE, jobs=100_000, note="no queue: the limit"),
)  # fmt: skip
