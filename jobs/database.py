"""Engines, transactions and the database's clock.

The two databases differ in three things, and all three live here: how a write transaction
begins (SQLite: ``BEGIN IMMEDIATE``, so that a read that turns into a write waits its turn instead
of failing), what time it is, and how the schema is brought up to date.

Wall time is for due times and display. Leases are measured on a steady clock: PostgreSQL's server
clock, and on SQLite the host's boot-time clock together with the boot's id; after a reboot
every lease of the boot before is void at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import NullPool

from jobs.errors import ConfigurationError
from jobs.patience import UPGRADING, WORKING, Patience, bound_waits, longer
from jobs.settings import Settings
from jobs.tables import UtcDateTime

MIGRATIONS = Path(__file__).with_name("migrations")

# Lost connections, rollbacks for others' sake, locks, the server's system; a full disk, too many connections,
# and a server that stops or starts. Sources: PostgreSQL, appendix A; SQLite, "Result and Error Codes".
_PASSING_CLASSES = frozenset({"08", "40", "55", "58"})
_PASSING_STATES = frozenset({"53100", "53300", "57P01", "57P02", "57P03", "57P05"})
_PASSING_SQLITE = (
    "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY",
    "SQLITE_PROTOCOL",
)  # fmt: skip

# The lock that serialises concurrent upgrades on PostgreSQL; any constant of our own will do.
_UPGRADE_LOCK = 0x646F_6371

# SQLite 3.7.0 to 3.51.2 can lose committed writes in WAL mode with several connections, apart from
# two back-ported branches; 3.52.0 was withdrawn. Source: https://sqlite.org/wal.html, "The WAL-reset bug".
_WAL_SAFE_FROM = (3, 51, 3)
_WAL_SAFE_BACKPORTS = ((3, 50, 7), (3, 44, 6))
_WITHDRAWN = (3, 52, 0)


def make_engine(settings: Settings, *, pooled: bool = True, patience: Patience = WORKING) -> sa.Engine:
    """Make an engine for this process. Never carry one across a fork.

    Args:
        settings: says which database.
        pooled: whether connections are kept; ``False`` closes each after use.
        patience: how long to wait for a PostgreSQL server.

    Raises:
        ConfigurationError: the address cannot be read, or no SQLite library that is safe for WAL is
            to be had.
    """
    try:
        sa.make_url(settings.database_url)
    except (ValueError, sa.exc.ArgumentError) as error:
        raise ConfigurationError(
            "DATABASE_URL cannot be read; it looks like postgresql://user:password@host/name."
        ) from error
    if settings.uses_sqlite:
        return _make_sqlite_engine(settings, pooled=pooled)
    arguments: dict[str, Any] = (
        # The connection used last has its statements prepared, and its server process is warm.
        {"pool_size": 5, "max_overflow": 10, "pool_timeout": patience.pool, "pool_use_lifo": True}
        if pooled
        else {"poolclass": NullPool}
    )
    engine = sa.create_engine(
        settings.database_url,
        isolation_level="READ COMMITTED",
        # An error's text must not carry file names or hashes into logs.
        hide_parameters=True,
        connect_args={
            "connect_timeout": patience.connect,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "application_name": "docqueue",
            "options": patience.server_options,
        },
        **arguments,
    )
    bound_waits(engine, patience)
    return engine


def _make_sqlite_engine(settings: Settings, *, pooled: bool) -> sa.Engine:
    arguments: dict[str, Any] = {} if pooled else {"poolclass": NullPool}
    engine = sa.create_engine(
        settings.database_url,
        module=_sqlite_module(),
        hide_parameters=True,
        connect_args={"timeout": 15, "check_same_thread": False},
        **arguments,
    )

    engine.dialect.statement_compiler = _SqliteCompiler

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself; the begin event below does.
        connection.isolation_level = None
        # SQLite's own lower() knows ASCII only; a search for "ä" should find "Ä".
        connection.create_function("lower", 1, _lower, deterministic=True)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=15000",
            "foreign_keys=ON",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reading = connection.get_execution_options().get("docqueue_read_only", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


class _SqliteCompiler(SQLiteCompiler):
    """Writes hints; SQLAlchemy's own drops them silently for SQLite."""

    def get_from_hint_text(self, _table: sa.FromClause, text: str | None) -> str | None:
        """Return what stands behind the table's name, e.g. ``INDEXED BY ix_…``."""
        return text


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


@functools.cache
def _sqlite_module() -> ModuleType:
    """Return the first SQLite driver whose library is safe for WAL."""
    candidates: list[ModuleType] = [sqlite3]
    with contextlib.suppress(ImportError):
        from pysqlite3 import dbapi2

        candidates.insert(0, dbapi2)
    for module in candidates:
        if is_wal_safe(module.sqlite_version_info):
            return module
    raise ConfigurationError(
        f"SQLite {candidates[0].sqlite_version} can lose committed writes in WAL mode. "
        "Install the pysqlite3 package, or set DATABASE_URL to a PostgreSQL database."
    )


def is_wal_safe(version: tuple[int, ...]) -> bool:
    """Tell whether a SQLite version is free of the WAL-reset bug.

    Args:
        version: e.g. ``(3, 51, 3)``.
    """
    if version[:3] == _WITHDRAWN:
        return False
    if version >= _WAL_SAFE_FROM:
        return True
    return any(version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_SAFE_BACKPORTS)


@contextlib.contextmanager
def reading(engine: sa.Engine, *, statement_seconds: float | None = None) -> Iterator[sa.Connection]:
    """Read: on SQLite in a transaction, which never waits for a writer; on PostgreSQL without one.

    There each statement would see a moment of its own in a transaction too, and beginning and ending it
    are two more ways to the server and back.

    Args:
        engine: the database.
        statement_seconds: how long a statement may take; what the engine's patience says when ``None``.
    """
    options: dict[str, Any] = {"docqueue_read_only": True}
    if engine.dialect.name == "postgresql" and statement_seconds is None:
        options["isolation_level"] = "AUTOCOMMIT"
    with engine.connect().execution_options(**options) as connection, connection.begin():
        if statement_seconds is None:
            yield connection
        else:
            with longer(connection, statement_seconds):
                yield connection


@dataclass(frozen=True, slots=True)
class Clock:
    """The database's time as SQL expressions.

    Attributes:
        dialect: ``"sqlite"`` or ``"postgresql"``.
    """

    dialect: str

    @property
    def now(self) -> sa.ColumnElement[datetime]:
        """The present instant, taken when the statement runs (never the transaction's start)."""
        if self.dialect == "postgresql":
            return sa.func.clock_timestamp(type_=UtcDateTime())
        return sa.literal(datetime.now(UTC), UtcDateTime())

    def after(self, seconds: float) -> sa.ColumnElement[datetime]:
        """The instant this many seconds from now."""
        if self.dialect == "postgresql":
            delta = sa.literal(timedelta(seconds=seconds), sa.Interval())
            return sa.type_coerce(sa.func.clock_timestamp() + delta, UtcDateTime())
        return sa.literal(datetime.now(UTC) + timedelta(seconds=seconds), UtcDateTime())

    @property
    def steady(self) -> sa.ColumnElement[float]:
        """Seconds on the clock that leases are measured with."""
        if self.dialect == "postgresql":
            return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double())
        return sa.literal(steady_seconds(), sa.Double())

    @property
    def boot(self) -> str:
        """The id of the boot that :attr:`steady` counts from; constant on PostgreSQL."""
        return boot_id() if self.dialect == "sqlite" else "server"

    def read(self, connection: sa.Connection) -> datetime:
        """Ask for the present instant."""
        if self.dialect == "sqlite":
            return datetime.now(UTC)
        return connection.execute(sa.select(self.now)).scalar_one()


def steady_seconds() -> float:
    """Return seconds since boot, sleep included where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@functools.cache
def boot_id() -> str:
    """Return a string that differs between two boots of this host."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text("ascii").strip()
    if sys.platform == "darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            return answer.stdout.strip()[:40]
    return "unknown"


def is_passing(error: sa.exc.OperationalError) -> bool:
    """Tell whether it is the database's own trouble, which passes, whatever was asked of it.

    Not so: a statement that took too long or was too large, which it may be every time.
    """
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES
    name = getattr(error.orig, "sqlite_errorname", None)
    # Without any code the connection was lost.
    return name is None or name.startswith(_PASSING_SQLITE)


def upgrade(settings: Settings) -> None:
    """Bring the schema up to date; several processes may call it at once.

    Raises:
        ConfigurationError: the database cannot be reached, or does not let us make our tables.
    """
    engine = make_engine(settings, pooled=False, patience=UPGRADING)
    try:
        with _upgrade_lock(settings, engine), engine.connect() as connection:
            if _revision_of(connection) == head_revision():
                return
            connection.rollback()
            # A sixth of what a process would load at its start, and few ever need it.
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            config.attributes["connection"] = connection
            with connection.begin():
                command.upgrade(config, "head")
    except sa.exc.OperationalError as error:
        raise ConfigurationError(
            f"The database at {engine.url.render_as_string(hide_password=True)} does not answer. "
            "Check DATABASE_URL and that the server is running."
        ) from error
    except sa.exc.ProgrammingError as error:
        raise ConfigurationError(
            "The database does not let this user make its tables. "
            "Give the user of DATABASE_URL the right to create in its schema."
        ) from error
    finally:
        engine.dispose()


@contextlib.contextmanager
def _upgrade_lock(settings: Settings, engine: sa.Engine) -> Iterator[None]:
    if settings.uses_sqlite:
        path = Path(settings.database_url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(path.name + ".upgrade-lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with engine.connect() as connection:
        connection.exec_driver_sql("SET lock_timeout = '120s'; SET statement_timeout = '120s'")
        connection.execute(sa.select(sa.func.pg_advisory_lock(_UPGRADE_LOCK)))
        connection.commit()
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(_UPGRADE_LOCK)))
            connection.commit()


@functools.cache
def head_revision() -> str:
    """Return the newest migration's id; the names of their files begin with it, in order."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def check_revision(engine: sa.Engine) -> bool:
    """Tell whether the schema is the one that this code expects."""
    with engine.connect() as connection:
        return _revision_of(connection) == head_revision()


def _revision_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
