"""Whether the database and Redis are what the promises need."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from jobs.database import check_revision, head_revision, is_wal_safe, reading
from jobs.doctor.report import Finding, Level, Subject, times
from jobs.model import JSON, OPERATION_NAMES, Status
from jobs.tables import events, queue_items, queues

_MOST_BELLS = 20_000
_FAST_BELLS = 1_000
_SKEW_SECONDS = 5.0
_BELL = re.compile(
    rf"(?P<document>[0-9a-f-]{{36}})-(?:{'|'.join(OPERATION_NAMES)})-(?P<tail>[0-9a-f]{{8}})-[0-9]+"
)
# What stands in the lists besides bells: the sweep that rq-scheduler hands out.
_OTHER_JOBS = frozenset({"sweep"})


def check_database(subject: Subject) -> Finding:
    """Look whether the database answers at all."""
    if subject.settings.uses_sqlite and not _file_of(subject).exists():
        return Finding(
            "database", Level.FAIL, "There is no database file.", "Run the service once: make run."
        )
    try:
        with reading(subject.engine) as connection:
            connection.execute(sa.select(1)).scalar_one()
    except sa.exc.SQLAlchemyError as error:
        return Finding(
            "database",
            Level.FAIL,
            f"The database does not answer ({type(error).__name__}).",
            "Check DATABASE_URL and that the server runs.",
        )
    return Finding("database", Level.OK, f"{subject.engine.dialect.name} answers.")


def check_migrations(subject: Subject) -> Finding:
    """Look whether the schema is the one that this code expects."""
    if check_revision(subject.engine):
        return Finding("migrations", Level.OK, f"The schema is at {head_revision()}.")
    return Finding(
        "migrations",
        Level.FAIL,
        f"The schema is not at {head_revision()}.",
        "Restart the service: every process brings the schema up to date. A newer schema needs newer code.",
    )


def check_sqlite(subject: Subject) -> Finding:
    """Look at the SQLite library, the journal, and (not when fast) at every page of the file."""
    version: tuple[int, ...] = subject.engine.dialect.dbapi.sqlite_version_info  # type: ignore[union-attr]
    try:
        with reading(subject.engine) as connection:
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            verdict = (
                "ok" if subject.fast else connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            )
    except sa.exc.DatabaseError as error:
        journal, verdict = "unknown", type(error.orig).__name__
    return judge_sqlite(version, journal, verdict, checked=not subject.fast)


def judge_sqlite(version: tuple[int, ...], journal: str, verdict: str, *, checked: bool) -> Finding:
    """Say what a SQLite library and file are worth.

    Args:
        version: the library's, e.g. ``(3, 51, 3)``.
        journal: the file's journal mode.
        verdict: what the integrity check said, ``"ok"`` when all is well.
        checked: whether there was one.
    """
    name = ".".join(map(str, version))
    figures: dict[str, JSON] = {
        "version": name,
        "journal_mode": journal,
        "integrity": verdict if checked else None,
    }
    if verdict != "ok":
        return Finding(
            "sqlite",
            Level.FAIL,
            "The database file is damaged.",
            "Stop the service, keep a copy of the file, and restore a backup (or try sqlite3's .recover).",
            figures,
        )
    if not is_wal_safe(version):
        return Finding(
            "sqlite",
            Level.FAIL,
            f"SQLite {name} can lose committed writes in WAL mode.",
            "Install the pysqlite3 package, or set DATABASE_URL to a PostgreSQL database.",
            figures,
        )
    if journal != "wal":
        return Finding(
            "sqlite",
            Level.FAIL,
            f"The journal mode is {journal}, not WAL: readers and the writer block each other.",
            "Keep DATA_DIR on a local disk; network file systems cannot hold a WAL.",
            figures,
        )
    return Finding("sqlite", Level.OK, f"SQLite {name}, WAL{', whole' if checked else ''}.", figures=figures)


def check_postgresql(subject: Subject) -> Finding:
    """Look whether a commit that was answered survives a power cut."""
    names = ("synchronous_commit", "fsync", "full_page_writes")
    with reading(subject.engine) as connection:
        found: dict[str, JSON] = {
            name: str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names
        }
    off = [name for name in names if found[name] == "off"]
    if off:
        return Finding(
            "postgresql",
            Level.FAIL,
            f"{', '.join(off)} {'is' if len(off) == 1 else 'are'} off: accepted documents can be lost at a "
            "power cut.",
            "Turn it on in postgresql.conf, or where ALTER DATABASE or ALTER ROLE has set it.",
            found,
        )
    return Finding("postgresql", Level.OK, "Commits are durable.", figures=found)


def check_clocks(subject: Subject) -> Finding:
    """Compare the database's time with this host's, and with the newest event's."""
    newest = sa.select(events.c.at).order_by(events.c.seq.desc()).limit(1)
    with reading(subject.engine) as connection:
        event_at: datetime | None = connection.execute(newest).scalar()
        before = datetime.now(UTC)
        now = subject.clock.read(connection)
        after = datetime.now(UTC)
    # Only what the time of asking cannot explain.
    skew = max((now - after).total_seconds(), (before - now).total_seconds(), 0.0)
    ahead = 0.0 if event_at is None else max(0.0, (event_at - now).total_seconds())
    figures: dict[str, JSON] = {"skew_seconds": round(skew, 3), "newest_event_ahead_seconds": round(ahead, 3)}
    if skew > _SKEW_SECONDS:
        message = f"The database's clock and this host's are {skew:,.1f} s apart."
    elif ahead > _SKEW_SECONDS:
        message = f"The newest event lies {ahead:,.1f} s in the future: the clock was set back."
    else:
        return Finding("clocks", Level.OK, "Database and host agree on the time.", figures=figures)
    return Finding(
        "clocks",
        Level.WARN,
        message,
        "Run a time service (chrony, systemd-timesyncd) on every host.",
        figures,
    )


def check_redis(subject: Subject) -> Finding:
    """Look whether Redis answers."""
    if subject.delivery.ping():
        return Finding("redis", Level.OK, "Redis answers.")
    return Finding(
        "redis",
        Level.WARN,
        "Redis does not answer: new jobs are accepted and start when it is back.",
        "Check REDIS_URL and that the server runs. Nothing is lost; the database has everything.",
    )


def check_drift(subject: Subject) -> Finding:
    """Compare Redis's lists with the lines: a bell too many is deaf, a line without any bell stands still."""
    patience = subject.settings.announce_again_seconds + subject.sweeps_seconds
    figures: dict[str, JSON] = {}
    silent = []
    with reading(subject.engine) as connection:
        for name in subject.settings.queue_names:
            due = sa.select(sa.func.count()).where(
                queue_items.c.queue == name,
                queue_items.c.status == Status.PENDING,
                ~queue_items.c.deferred,
                queue_items.c.due_at <= subject.clock.after(-patience),
                ~sa.exists().where(queues.c.name == name, queues.c.paused_at.is_not(None)),
            )
            waiting = connection.execute(due).scalar_one()
            bells = subject.delivery.queue_length(name)
            figures[name] = {"bells": bells, "due_for_long": waiting}
            if waiting and not bells:
                silent.append(name)
    if silent:
        return Finding(
            "drift",
            Level.WARN,
            f"Jobs on {', '.join(silent)} have been due for {patience:.0f} s and more without a bell.",
            "The next sweep rings. If this stays, nobody sweeps: start scheduler.py.",
            figures,
        )
    return Finding("drift", Level.OK, "Redis has bells wherever jobs have been waiting.", figures=figures)


def check_unknown_bells(subject: Subject) -> Finding:
    """Look for RQ jobs that name no item of this database."""
    bells = [bell for name in subject.settings.queue_names for bell in _bells(subject, name)]
    tails: dict[str, set[str]] = {}
    strange = 0
    for bell in bells:
        match = _BELL.fullmatch(bell)
        if match is not None:
            tails.setdefault(match["document"], set()).add(match["tail"])
        elif bell not in _OTHER_JOBS:
            strange += 1
    known = list(tails)
    with reading(subject.engine) as connection:
        for first in range(0, len(known), 500):
            statement = sa.select(queue_items.c.document_id, queue_items.c.id).where(
                queue_items.c.document_id.in_(known[first : first + 500])
            )
            for document_id, item_id in connection.execute(statement):
                tails[document_id].discard(item_id[-8:])
    strange += sum(map(len, tails.values()))
    figures: dict[str, JSON] = {"looked_at": len(bells), "unknown": strange}
    if strange:
        return Finding(
            "unknown_bells",
            Level.WARN,
            f"{times(strange, 'RQ job')} in Redis belong to no job of this database.",
            "Harmless: workers drop them. Many mean that REDIS_URL is another installation's, or that "
            "the database was restored from a backup.",
            figures,
        )
    return Finding("unknown_bells", Level.OK, "Every RQ job belongs to a job here.", figures=figures)


def _bells(subject: Subject, queue: str) -> list[str]:
    """Return the ids of a queue's first bells."""
    key = f"{subject.delivery.queue.redis_queue_namespace_prefix}{queue}"
    last = (_FAST_BELLS if subject.fast else _MOST_BELLS) - 1
    found = cast("list[bytes]", subject.delivery.connection.lrange(key, 0, last))
    return [one.decode(errors="replace") for one in found]


def _file_of(subject: Subject) -> Path:
    return Path(subject.settings.database_url.removeprefix("sqlite:///"))
