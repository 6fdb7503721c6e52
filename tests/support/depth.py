"""Fills a database with as many items as anybody could have, quickly and with the worst mixture.

What is rare is the oldest, so that a list that reads on until it has found it reads everything: twenty
quarantined among the failed, twenty scheduled among the retrying, one member with forty documents; and a
member who owns the older half of everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from jobs import accounts
from jobs.model import Role

RARE = 20
RUNNING = 4
WORKERS = 8
_PREFIX = "01900000-0000-7000-8000-"


@dataclass(frozen=True, slots=True)
class Depth:
    """What was filled in.

    Attributes:
        total: how many items there are.
        ended: how many of them have ended.
        big: the owner of the older half of what has ended, and of what is pending.
        small: an owner of twenty ended and twenty pending items, the oldest of all.
    """

    total: int
    ended: int
    big: str
    small: str

    def item_id(self, number: int) -> str:
        """Return the id of an item, and of its document unless it is superseded."""
        return f"{_PREFIX}{number:012x}"

    @property
    def last_waiting(self) -> str:
        """The id of an item in line that thousands go before."""
        numbers = range(self.total - RUNNING, self.ended, -1)
        return self.item_id(next(i for i in numbers if i % 7 == 0 and i % 5 >= 2))


def fill(engine: sa.Engine, pending: int, ended: int, *, batch: int = 200_000) -> Depth:
    """Fill a migrated, empty database.

    Args:
        engine: of the database.
        pending: how many items wait; the last few of them run.
        ended: how many items have ended.
        batch: how many rows a statement adds.
    """
    accounts.ensure_admin(engine)
    big, small, other = (
        accounts.create_user(engine, name, None, Role.MEMBER).id for name in ("big", "small", "other")
    )
    depth = Depth(pending + ended, ended, big, small)
    sqlite = engine.dialect.name == "sqlite"
    words = {name: text.replace("TOTAL", str(depth.total)).replace("ENDED", str(ended))
             for name, text in (_SQLITE if sqlite else _POSTGRESQL).items()}  # fmt: skip
    literals = [f"'{owner.replace('-', '') if sqlite else owner}'" for owner in (small, big, other)]
    words["OWNER"] = _cast(
        f"CASE WHEN i BETWEEN 21 AND 40 OR i BETWEEN {ended + 21} AND {ended + 40} THEN {literals[0]} "
        f"WHEN i <= {ended // 2} OR i BETWEEN {ended} AND {ended + pending // 2} THEN {literals[1]} "
        f"ELSE {literals[2]} END",
        sqlite=sqlite,
    )
    words |= {"KIND": _KIND.replace("TOTAL", str(depth.total)).replace("ENDED", str(ended))}
    words |= {"TOTAL": str(depth.total), "ENDED": str(ended)}
    with _patient(engine) as filling, filling.connect() as plain:
        connection = plain.execution_options(no_parameters=True)
        triggers = _prepare(connection, sqlite=sqlite)
        for first in range(1, depth.total + 1, batch):
            numbers = _numbers(first, min(first + batch - 1, depth.total), sqlite=sqlite)
            for statement in (_DOCUMENTS, _ITEMS, _ATTEMPTS, _EVENTS, _ARTIFACTS, _RESULTS):
                connection.exec_driver_sql(_filled(statement, {**words, "NUMBERS": numbers}))
        _finish(connection, triggers, words, sqlite=sqlite)
        connection.commit()
    return depth


# Words in capitals are replaced; i is the number of an item, the first ENDED of which have ended.

_KIND = f"""CASE
    WHEN i <= {RARE} THEN 'quarantined'
    WHEN i <= ENDED AND i % 10 = 0 THEN 'failed'
    WHEN i <= ENDED AND i % 20 = 1 THEN 'cancelled'
    WHEN i <= ENDED THEN 'completed'
    WHEN i <= ENDED + {RARE} THEN 'scheduled'
    WHEN i > TOTAL - {RUNNING} THEN 'in_progress'
    WHEN i % 5 < 2 THEN 'retrying'
    ELSE 'waiting' END"""
_DOCUMENTS = """INSERT INTO documents (id, owner_id, sha256, size, filename, media_type, created_at)
    SELECT ID, OWNER, HASH, 1000, 'report-' || i || '.txt', 'text/plain', CREATED FROM NUMBERS"""
_ITEMS = """INSERT INTO queue_items (id, document_id, owner_id, operation, status, priority, fresh, due_at,
        created_at, updated_at, finished_at, attempt, failures, crashes, max_failures, stage, progress,
        error_code, error_message, worker, lease_id, lease_expires_at, lease_boot, queue, turn, deferred,
        superseded)
    SELECT ID, CASE WHEN i % 25 = 3 AND i < ENDED THEN NEXT ELSE ID END, OWNER, 'process',
        CASE WHEN kind = 'quarantined' THEN 'failed'
            WHEN kind IN ('waiting', 'retrying', 'scheduled') THEN 'pending' ELSE kind END,
        i % 7, FALSE, CASE WHEN kind IN ('retrying', 'scheduled') THEN LATER ELSE CREATED END,
        CREATED, CREATED, CASE WHEN i <= ENDED THEN FINISHED END,
        CASE WHEN kind IN ('waiting', 'scheduled') THEN 0 WHEN kind = 'quarantined' THEN 3 ELSE 1 END,
        CASE WHEN kind IN ('failed', 'retrying') THEN 1 ELSE 0 END,
        CASE WHEN kind = 'quarantined' THEN 3 ELSE 0 END, 5, 'extract', 0,
        CASE WHEN kind = 'quarantined' THEN kind WHEN kind IN ('failed', 'retrying') THEN 'unreadable' END,
        CASE WHEN kind IN ('failed', 'retrying', 'quarantined') THEN 'It broke.' END,
        CASE WHEN kind = 'in_progress' THEN 'w-' || (TOTAL - i) END,
        CASE WHEN kind = 'in_progress' THEN 'lease' END,
        CASE WHEN kind = 'in_progress' THEN STEADY END, CASE WHEN kind = 'in_progress' THEN BOOT END,
        'documents', i, kind IN ('retrying', 'scheduled'), i % 25 = 3 AND i < ENDED
    FROM (SELECT i, KIND AS kind FROM NUMBERS) AS numbered"""
_ATTEMPTS = f"""INSERT INTO attempts (item_id, attempt, lease_id, worker, host, pid, started_at, ended_at,
        outcome)
    SELECT ID, 1, 'lease', 'w-1', 'host', 1, CREATED, CASE WHEN i <= ENDED THEN FINISHED END,
        CASE WHEN i <= ENDED THEN 'completed' END
    FROM NUMBERS WHERE i <= ENDED OR i > TOTAL - {RUNNING}"""
_EVENTS = """INSERT INTO events (item_id, document_id, owner_id, kind, attempt, at, data)
    SELECT ID, ID, OWNER, 'accepted', 0, CREATED, '{"status": "pending"}' FROM NUMBERS"""
_ARTIFACTS = """INSERT INTO artifacts (id, stage, cache_key, engine, engine_version, meta, body, created_at)
    SELECT ID, 'extract', HASH, 'e', '1', '{"title": "Report", "page_count": 1}', BODY, CREATED
    FROM NUMBERS WHERE i % 1000 = 1"""
_RESULTS = """INSERT INTO results (item_id, stage, document_id, artifact_id, attempt, lease_id, reused,
        created_at)
    SELECT ID, 'extract', ID, ARTIFACT, 1, 'lease', FALSE, CREATED
    FROM NUMBERS WHERE i <= ENDED AND i % 4 = 0"""
_WORKERS = """INSERT INTO workers (name, host, pid, state, started_at, seen_at, queue)
    SELECT 'w-' || (i - 1), 'host', i, 'idle', NOW, NOW, 'documents' FROM NUMBERS"""

_HEX = _PREFIX.replace("-", "")
_SQLITE = {
    "ID": f"printf('{_HEX}%012x', i)",
    "NEXT": f"printf('{_HEX}%012x', i + 1)",
    "ARTIFACT": f"printf('{_HEX}%012x', (i - 1) / 1000 * 1000 + 1)",
    "HASH": "printf('%064x', i)",
    "BODY": "x'789cabae050001750079'",
    "NOW": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "CREATED": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ((TOTAL - i) * 6 + 9000) || ' seconds')",
    "FINISHED": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ((ENDED - i) * 5) || ' seconds')",
    "LATER": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+' || (9000 + TOTAL - i) || ' seconds')",
    "STEADY": "1e12",
    "BOOT": "'boot'",
    "FALSE": "0",
}
_POSTGRESQL = {
    "ID": f"('{_PREFIX}' || lpad(to_hex(i), 12, '0'))::uuid",
    "NEXT": f"('{_PREFIX}' || lpad(to_hex(i + 1), 12, '0'))::uuid",
    "ARTIFACT": f"('{_PREFIX}' || lpad(to_hex((i - 1) / 1000 * 1000 + 1), 12, '0'))::uuid",
    "HASH": "lpad(to_hex(i), 64, '0')",
    "BODY": r"'\x789cabae050001750079'::bytea",
    "NOW": "now()",
    "CREATED": "now() - make_interval(secs => (TOTAL - i) * 6 + 9000)",
    "FINISHED": "now() - make_interval(secs => (ENDED - i) * 5)",
    "LATER": "now() + make_interval(secs => 9000 + TOTAL - i)",
    "STEADY": "extract(epoch FROM now()) + 40",
    "BOOT": "'server'",
    "FALSE": "false",
}


def _filled(statement: str, words: dict[str, str]) -> str:
    # What a word stands for may contain others, so the longer texts come first.
    for name in ("KIND", "NUMBERS", "OWNER", *words):
        statement = statement.replace(name, words[name])
    return statement


def _cast(owner: str, *, sqlite: bool) -> str:
    return owner if sqlite else f"({owner})::uuid"


def _numbers(first: int, last: int, *, sqlite: bool) -> str:
    if sqlite:
        return (
            f"(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
            "SELECT i FROM n) AS n"
        )
    return f"generate_series({first}, {last}) AS n(i)"


@contextmanager
def _patient(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Give an engine that waits for as long as it takes, unlike the program's."""
    if engine.dialect.name == "sqlite":
        yield engine
        return
    # VACUUM runs outside of transactions only.
    patient = sa.create_engine(engine.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    yield patient
    patient.dispose()


def _prepare(connection: sa.Connection, *, sqlite: bool) -> str | None:
    """Lift what would make it slow: SQLite's triggers run for each row."""
    if not sqlite:
        return None
    trigger = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE name = 'docqueue_count_insert'"
    ).scalar_one()
    connection.exec_driver_sql("DROP TRIGGER docqueue_count_insert")
    return str(trigger)


def _finish(connection: sa.Connection, trigger: str | None, words: dict[str, str], *, sqlite: bool) -> None:
    """Do what triggers and autovacuum would have done; nobody gathers statistics on SQLite."""
    workers = {**words, "NUMBERS": _numbers(1, WORKERS, sqlite=sqlite)}
    connection.exec_driver_sql(_filled(_WORKERS, workers))
    every = "json_group_array(id)" if sqlite else "array_agg(id)"
    connection.exec_driver_sql(
        f"INSERT INTO claims (lease_id, worker, item_ids, claimed_at) "
        f"SELECT 'lease', min(worker), {every}, min(created_at) FROM queue_items "
        "WHERE status = 'in_progress' HAVING count(*) > 0"
    )
    if trigger is not None:
        counted = {**words, "NUMBERS": _numbers(1, int(words["TOTAL"]), sqlite=sqlite)}
        connection.exec_driver_sql("DELETE FROM item_counts")
        connection.exec_driver_sql(
            _filled("INSERT INTO item_counts SELECT KIND, count(*) FROM NUMBERS GROUP BY 1", counted)
        )
        connection.exec_driver_sql(
            "INSERT INTO item_counts VALUES ('purged', 0), ('accepted', " + words["TOTAL"] + ")"
        )
        connection.exec_driver_sql(trigger)
    if not sqlite:
        connection.exec_driver_sql("VACUUM ANALYZE")
