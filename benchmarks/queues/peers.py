"""Who is compared, how each is installed and started, and what one must know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

_ROWS_LEFT = "SELECT count(*) FROM bench_jobs WHERE state <> 'completed'"
# As kept by the triggers, for the rows themselves are asked while the drain lasts.
_OURS_LEFT = """SELECT sum(amount) FROM (
    SELECT bucket, amount FROM item_counts UNION ALL SELECT bucket, amount FROM item_count_changes) AS kept
    WHERE bucket IN ('waiting', 'scheduled', 'retrying', 'in_progress')"""
_YES = "yes"
_NO = "no"


@dataclass(frozen=True, slots=True)
class Peer:
    """One system in one configuration.

    Attributes:
        name: as in the table.
        program: the script under ``programs/`` that sends, and often works.
        workers: the commands of its worker processes; the first word is a program of its environment.
        kind: ``"peer"``, ``"ours"``, or ``"limit"`` for a loop without a queue.
        environment: the file under ``requirements/`` that it is installed from; ours when empty.
        python: the oldest Python that it runs on.
        database: ``"postgresql"`` or ``"sqlite"``: where the durable rows are.
        noop_jobs: how many jobs of workload A make a run of some seconds; 0: it has no such workload.
        row_jobs: the same for workload B.
        own_rows: whether its own rows are the durable state, so that B is its A.
        left: SQL that counts the jobs that are not durably settled.
        stamps: whether its jobs note when they start; a job without any code cannot.
        singles: how many single calls are timed; 0: none.
        bulks: how many jobs are queued in batches; 0: it has no such call.
        latency: whether it is measured.
        supervised: whether a job that kills its process is noticed, and its neighbours go on: ``"yes"``,
            ``"no"``, or what else.
        durable: whether what a killed worker had in hand is run again: the same.
        note: what one must know to compare it.
        environ: further variables.
    """

    name: str
    program: str
    workers: tuple[tuple[str, ...], ...]
    kind: str = "peer"
    environment: str = ""
    python: tuple[int, int] = (3, 11)
    database: str = "postgresql"
    noop_jobs: int = 0
    row_jobs: int = 1_000
    own_rows: bool = False
    left: str = _ROWS_LEFT
    stamps: bool = True
    singles: int = 1_500
    bulks: int = 0
    latency: bool = True
    supervised: str = _NO
    durable: str = _YES
    note: str = ""
    environ: dict[str, str] = field(default_factory=dict)


def ours(name: str, *, database: str = "postgresql", stages: bool = False, **others: object) -> Peer:
    """Describe this service in one configuration."""
    return Peer(
        name, "ours_program.py", (("python", "ours_program.py", "pool"),), kind="ours", database=database,
        own_rows=True,
        left=_OURS_LEFT, stamps=stages,
        supervised=_YES, environ={"WORKERS": "2", "BENCH_STAGES": str(int(stages))}, **others,  # type: ignore[arg-type]  # passed on
    )  # fmt: skip


def _pgqueuer(name: str, batch: int, jobs: int) -> Peer:
    return Peer(
        name, "pgqueuer_program.py", 2 * (("python", "pgqueuer_program.py", "work", str(batch)),),
        environment="pgqueuer",
        row_jobs=jobs, own_rows=True, left="SELECT count(*) FROM pgqueuer", bulks=20_000,
        note=f"uvloop, batches of {batch}; a heartbeat that stops gives its jobs back after 30 s",
    )  # fmt: skip


BARE = Peer(
    "bare loop, one at a time", "bare_program.py", 2 * (("python", "bare_program.py", "work", "1"),), "limit",
    noop_jobs=16_000, row_jobs=6_000, singles=5_000, bulks=50_000, durable=_NO,
    note="no queue: a list in Redis (A), two commits (B)",
)  # fmt: skip
OURS = ours(
    "Document Queue Service", row_jobs=40_000, singles=400, bulks=10_000,
    note="a queue item, an attempt and its events for each job; no stage",
)  # fmt: skip

PEERS = (
    OURS,
    ours("Document Queue Service, with a stage", stages=True, row_jobs=800, singles=0, latency=False,
         note="also a document's bytes, an artifact and a result"),
    ours("Document Queue Service, SQLite", database="sqlite", row_jobs=6_000, singles=400, bulks=5_000,
         note="as the first, synchronous=FULL"),
    Peer("rq", "rq_program.py", 2 * (("rq", "worker", "--url", "REDIS", "bench"),), environment="rq",
         noop_jobs=200, row_jobs=40, bulks=5_000, supervised=_YES, durable="as failed",
         note="as shipped: a fork for each job, which imports what the job needs"),
    Peer("rq, loaded before the fork", "rq_program.py", 2 * (("python", "rq_program.py", "work"),),
         environment="rq",
         noop_jobs=200, row_jobs=100, singles=0, supervised=_YES, durable="as failed",
         note="a worker that has imported what the job needs"),
    Peer("rq, SimpleWorker", "rq_program.py",
         2 * (("rq", "worker", "--worker-class", "rq.SimpleWorker", "--url", "REDIS", "bench"),),
         environment="rq",
         noop_jobs=1_500, row_jobs=1_200, singles=0, durable="as failed", note="no fork"),
    Peer("celery", "celery_program.py",
         (("celery", "-A", "celery_program", "worker", "-c", "2", "-l", "ERROR", "--without-gossip",
           "--without-mingle", "--without-heartbeat"),), environment="celery",
         noop_jobs=2_000, row_jobs=2_000, supervised=_YES,
         note="prefork, acknowledged late, prefetch 1; a killed main process is noticed after an hour"),
    Peer("dramatiq", "dramatiq_program.py", (("dramatiq", "dramatiq_program", "-p", "2", "-t", "8"),),
         environment="dramatiq", noop_jobs=12_000, row_jobs=6_000, singles=3_000,
         note="2 processes of 8 threads; when one is killed all stop, its jobs come back after a minute"),
    Peer("huey", "huey_program.py", (("huey_consumer", "huey_program.huey", "-k", "process", "-w", "2"),),
         environment="huey", noop_jobs=14_000, row_jobs=4_000, singles=3_000, durable=_NO,
         note="a killed worker is replaced, its job is lost"),
    Peer("huey:sqlite", "huey_program.py",
         (("huey_consumer", "huey_program.huey", "-k", "process", "-w", "2"),),
         environment="huey", database="sqlite",
         noop_jobs=2_000, row_jobs=600, singles=600, durable=_NO,
         note="synchronous=FULL for its queue and for the rows; polls every 0.1 s or less often"),
    Peer("taskiq", "taskiq_program.py",
         (("taskiq", "worker", "taskiq_program:broker", "-w", "2", "--log-level", "ERROR"),),
         environment="taskiq",
         noop_jobs=14_000, row_jobs=6_000, singles=3_000, supervised="in part",
         note="Redis streams, uvloop; a killed process is replaced, all it had in hand waits ten minutes"),
    Peer("saq", "saq_program.py", 2 * (("python", "saq_program.py", "work"),), environment="saq",
         noop_jobs=6_000, row_jobs=4_000, singles=2_000,
         note="10 at once, uvloop, three tries; a sweep finds lost jobs after a minute"),
    Peer("procrastinate", "procrastinate_program.py", 2 * (("python", "procrastinate_program.py", "work"),),
         environment="procrastinate", row_jobs=800, own_rows=True, singles=800, bulks=10_000,
         durable="by hand",
         left="SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'",
         note="10 at once; stalled jobs are listed, to be put back by a task of one's own"),
    _pgqueuer("pgqueuer", 10, 16_000),
    _pgqueuer("pgqueuer, batches of 100", 100, 30_000),
    Peer("oban", "oban_program.py", 2 * (("python", "oban_program.py", "work"),),
         environment="oban", python=(3, 12),
         row_jobs=12_000, own_rows=True, bulks=10_000,
         left="SELECT count(*) FROM oban_jobs WHERE state <> 'completed'",
         note="20 at once, uvloop; orphans are looked for every minute"),
    BARE,
    Peer("bare loop, batches of 100", "bare_program.py", 2 * (("python", "bare_program.py", "work", "100"),),
         "limit", row_jobs=100_000, singles=0, bulks=0, latency=False, durable=_NO,
         note="no queue: a commit for 100 claims, a commit for 100 ends"),
)  # fmt: skip
BASE = "rq"
