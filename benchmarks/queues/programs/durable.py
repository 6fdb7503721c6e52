"""What every peer's job does: its row goes to in_progress and to completed, each in a commit of its own."""

from __future__ import annotations

import os

import psycopg

_connections: dict[int, psycopg.Connection] = {}


def connection() -> psycopg.Connection:
    """The process's connection; one that came with a fork belongs to the parent."""
    if os.getpid() not in _connections:
        _connections[os.getpid()] = psycopg.connect(os.environ["BENCH_DSN"], autocommit=True)
    return _connections[os.getpid()]


def insert(count: int) -> None:
    """Write the pending rows, as whoever accepts the work does before anything is sent."""
    connection().execute("INSERT INTO bench_jobs (id) SELECT generate_series(1, %s)", (count,))


def work(number: int) -> None:
    """Do job ``number``."""
    for state in ("in_progress", "completed"):
        connection().execute("UPDATE bench_jobs SET state = %s WHERE id = %s", (state, number))
