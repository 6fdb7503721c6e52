"""What a job does: ``noop`` nothing; ``row`` takes its row to in_progress and to completed, a commit each.

The rows lie in PostgreSQL, or in an SQLite file of their own where a peer needs no server.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from typing import Any

import stamps

SQLITE = os.environ.get("BENCH_SQLITE")
_POSTGRESQL = os.environ["BENCH_DSN"]
_UPDATE = "UPDATE bench_jobs SET state = %s WHERE id = %s"
_STATES = ("in_progress", "completed")
_connections: dict[tuple[int, int], Any] = {}


def insert(count: int) -> None:
    """Write the pending rows, as whoever accepts the work does before anything is sent."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    connection().execute(f"{numbers} INSERT INTO bench_jobs (id, state) SELECT i, 'pending' FROM n")


def noop(number: int) -> None:
    """Do nothing."""
    stamps.started(number)


def row(number: int) -> None:
    """Move a durable row."""
    stamps.started(number)
    update = _UPDATE.replace("%s", "?") if SQLITE else _UPDATE
    for state in _STATES:
        connection().execute(update, (state, number))


def connection() -> Any:
    """Return this thread's connection; one that came with a fork belongs to the parent."""
    mine = (os.getpid(), threading.get_ident())
    if mine not in _connections:
        _connections[mine] = _connect_to_sqlite() if SQLITE else _connect_to_postgresql()
    return _connections[mine]


async def row_async(number: int) -> None:
    """Move a durable row, in an event loop: each running job borrows a connection."""
    stamps.started(number)
    for state in _STATES:
        async with (await _open_pool()).connection() as borrowed:
            await borrowed.execute(_UPDATE, (state, number))


def _connect_to_sqlite() -> sqlite3.Connection:
    opened = sqlite3.connect(str(SQLITE), isolation_level=None, timeout=30)
    opened.execute("PRAGMA synchronous = FULL")
    return opened


def _connect_to_postgresql() -> Any:
    import psycopg

    return psycopg.connect(_POSTGRESQL, autocommit=True)


_pools: list[Any] = []
_opening = asyncio.Lock()


async def _open_pool() -> Any:
    async with _opening:
        if not _pools:
            from psycopg_pool import AsyncConnectionPool

            pool = AsyncConnectionPool(_POSTGRESQL, min_size=10, kwargs={"autocommit": True}, open=False)
            await pool.open()
            _pools.append(pool)
    return _pools[0]
