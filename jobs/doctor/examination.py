"""The looks, in the order in which one explains the next."""

from __future__ import annotations

from collections.abc import Callable

import redis
import sqlalchemy as sa

from jobs.blobs import BlobStore
from jobs.delivery import Delivery
from jobs.doctor import cage, flow, ledger, servers, storage
from jobs.doctor.report import Finding, Level, Report, Subject
from jobs.errors import DeliveryError
from jobs.settings import Settings

Look = Callable[[Subject], Finding]

_ROWS: tuple[Look, ...] = (
    servers.check_clocks,
    ledger.check_ledger,
    ledger.check_triggers,
    ledger.check_attempts,
    ledger.check_feed,
    flow.check_leases,
    flow.check_lines,
    flow.check_workers,
    flow.check_sweep,
    storage.check_rows_without_bytes,
    storage.check_bytes_without_rows,
)
_BELLS: tuple[Look, ...] = (servers.check_drift, servers.check_unknown_bells)


def examine(
    settings: Settings, engine: sa.Engine, delivery: Delivery, blobs: BlobStore, *, fast: bool = False
) -> Report:
    """Look everything over; nothing is changed.

    Args:
        settings: what should be.
        engine: the database.
        delivery: Redis.
        blobs: the bytes.
        fast: look at the newest thousand where a full look takes long, and do not read the whole SQLite file.

    Returns:
        Every finding. What could not be looked at is a failure of its own; what hangs on it is left out.
    """
    subject = Subject(settings, engine, delivery, blobs, fast)
    findings = [storage.check_disk(subject), cage.check_cage(subject), servers.check_database(subject)]
    if findings[-1].level is Level.OK:
        own = servers.check_sqlite if settings.uses_sqlite else servers.check_postgresql
        findings += [_look(own, subject), _look(servers.check_migrations, subject)]
        if findings[-1].level is Level.OK:
            findings += [_look(look, subject) for look in _ROWS]
            findings.append(servers.check_redis(subject))
            if findings[-1].level is Level.OK:
                findings += [_look(look, subject) for look in _BELLS]
    return Report(tuple(findings))


def _look(look: Look, subject: Subject) -> Finding:
    """Look, and turn a server that cannot answer into a finding: the other looks go on."""
    name: str = look.__name__.removeprefix("check_")
    try:
        return look(subject)
    except sa.exc.DatabaseError as error:
        cause = type(error.orig).__name__
        return Finding(
            name, Level.FAIL, f"The database could not tell ({cause}).", "Its log says why; try again."
        )
    except (DeliveryError, redis.RedisError):
        return Finding(name, Level.WARN, "Redis stopped answering.", "Its log says why; try again.")
