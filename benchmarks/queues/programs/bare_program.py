"""The limit: claim a batch in one commit, complete it in one commit. ``enqueue N``, ``work BATCH``."""

from __future__ import annotations

import sys

import durable

CLAIM = """UPDATE bench_jobs SET state = 'in_progress' WHERE id IN (
    SELECT id FROM bench_jobs WHERE state = 'pending' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id"""
COMPLETE = "UPDATE bench_jobs SET state = 'completed' WHERE id = ANY(%s)"


def main() -> None:
    if sys.argv[1] == "enqueue":
        durable.insert(int(sys.argv[2]))
        return
    connection = durable.connection()
    while claimed := [row[0] for row in connection.execute(CLAIM, (int(sys.argv[2]),)).fetchall()]:
        connection.execute(COMPLETE, (claimed,))


if __name__ == "__main__":
    main()
