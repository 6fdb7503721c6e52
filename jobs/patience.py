"""How long a process waits for a PostgreSQL server that says nothing.

The server's own time limits hold while it lives and is heard. A network that swallows packets, or a
proxy that takes them and says nothing, silences those as well, and psycopg then waits for ever: its
waits have no time limit, and the kernel's (``tcp_user_timeout``, keepalives) only see a peer that is
gone. So every wait of a connection is bounded here, and a silent one is closed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen

# The server answers a ping at once; one that does not within this is given up for a new connection.
_PING_SECONDS = 0.8
# A connection that was heard so lately is used without a ping, which doubles the way to a far database.
_FRESH_SECONDS = 0.25
# However long a thread has waited before, it gives a healthy server this long; such a wait costs nothing.
_LEAST_SECONDS = 0.5
# psycopg lets a connection take 2 seconds at least; whoever has less patience than this left begins none.
_ENOUGH_TO_CONNECT_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits, in seconds.

    Attributes:
        connect: for a new connection; psycopg makes at least 2 of it.
        pool: for a connection that another thread has to give back first.
        lock: for a lock that somebody else holds; told to the server.
        statement: for a statement, its locks included; told to the server.
        idle_transaction: how long the server lets a transaction, and what it locks, wait for its client.
        silence: for an answer. More than ``statement``, so that a server that lives can say what it was.
        rationed: whether a thread's long waits count together: what one of them has used up is given back by
            time in which the thread does something else. A request that waits again and again for a silent
            server then ends as soon as one that waits once.
    """

    connect: int = 5
    pool: float = 5.0
    lock: float = 5.0
    statement: float = 15.0
    idle_transaction: float = 10.0
    silence: float = 20.0
    rationed: bool = False

    @property
    def server_options(self) -> str:
        """The limits that the server is told, as libpq's ``options``, and that instants are wanted in UTC.

        The last three let it notice a client that is gone without a word.
        """
        limits = {
            "statement_timeout": round(self.statement * 1000),
            "lock_timeout": round(self.lock * 1000),
            "idle_in_transaction_session_timeout": round(self.idle_transaction * 1000),
            "tcp_keepalives_idle": 30,
            "tcp_keepalives_interval": 10,
            "tcp_keepalives_count": 3,
        }
        return " ".join(f"-c {name}={value}" for name, value in limits.items()) + " -c timezone=UTC"


WORKING = Patience()
"""For workers, schedulers and commands, where nobody looks at the clock."""

ANSWERING = Patience(
    connect=2, pool=1.0, lock=2.0, statement=2.5, idle_transaction=5.0, silence=3.0, rationed=True
)
"""For a web process: whoever asks has an answer, if only that there is none now, within five seconds."""

UPGRADING = Patience(statement=900.0, idle_transaction=900.0, silence=930.0)
"""For changes of the schema, which may rewrite large tables."""


def bound_waits(engine: sa.Engine, patience: Patience) -> None:
    """Bound every wait of an engine's connections, and look whether a kept one still stands; psycopg only.

    Args:
        engine: before its first connection.
        patience: the limits.
    """
    ration = _Ration(patience)

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> psycopg.Connection[Any]:
        with ration.wait() as left:
            if left < _ENOUGH_TO_CONNECT_SECONDS:
                raise psycopg.OperationalError("the database has just been silent; not waited for again")
            connection = _BoundedConnection.connect(*arguments, **options)
        connection.ration = ration
        connection.heard_at = time.monotonic()
        return connection

    # SQLAlchemy's own ping would wait as long as for a statement.
    @sa.event.listens_for(engine, "checkout")
    def _look(connection: _BoundedConnection, _record: Any, _proxy: Any) -> None:
        try:
            connection.look()
        except psycopg.Error as error:
            raise sa.exc.InvalidatePoolError from error


@contextlib.contextmanager
def longer(connection: sa.Connection, seconds: float) -> Iterator[None]:
    """Let the block's statements take longer than the engine's patience, in a transaction of PostgreSQL's.

    Args:
        connection: in a transaction; nothing is done for SQLite.
        seconds: for each statement.
    """
    bounded = connection.connection.dbapi_connection
    if not isinstance(bounded, _BoundedConnection):
        yield
        return
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")
    bounded.longest = seconds + _LEAST_SECONDS
    try:
        yield
    finally:
        bounded.longest = None


class _Ration(threading.local):
    """What is left of a thread's patience."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._left = patience.silence
        self._ended_at = time.monotonic()

    @contextlib.contextmanager
    def wait(self) -> Iterator[float]:
        """Count the time that the block takes.

        Yields:
            How long it may take, in seconds.
        """
        left = whole = self._patience.silence
        began = time.monotonic()
        if self._patience.rationed:
            left = min(whole, self._left + began - self._ended_at)
        try:
            yield left
        finally:
            self._ended_at = time.monotonic()
            taken = self._ended_at - began
            self._left = max(0.0, left - taken) if taken > _LEAST_SECONDS else left


class _BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server is silent for too long."""

    ration: _Ration
    heard_at: float
    longest: float | None = None

    def look(self) -> None:
        """Ask the server whether it is there, unless it was heard a moment ago.

        Raises:
            psycopg.Error: it does not answer.
        """
        if time.monotonic() - self.heard_at < _FRESH_SECONDS:
            return
        self.longest = _PING_SECONDS
        self.autocommit = True
        try:
            self.execute("")
        finally:
            self.longest = None
            if not self.closed:
                self.autocommit = False

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait for an answer.

        Raises:
            psycopg.OperationalError: there is none in time; whether the server has acted is unknown.
        """
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: PQGen[RV]) -> Generator[Any, Any, RV]:
        with self.ration.wait() as left:
            limit = left if self.longest is None else self.longest
            until = time.monotonic() + max(_LEAST_SECONDS, limit)
            try:
                wanted = next(gen)
                while True:
                    # Nothing is ready when psycopg looks up in between, ten times a second.
                    ready = yield wanted
                    if not ready and time.monotonic() >= until:
                        self.pgconn.finish()
                        raise psycopg.OperationalError("the database is silent; its connection was closed")
                    if ready:
                        self.heard_at = time.monotonic()
                    wanted = gen.send(ready)
            except StopIteration as end:
                result: RV = end.value
                return result
