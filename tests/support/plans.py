"""Watches what a program asks of its database: the plan of every statement, and how much it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

_STEPS_AT_ONCE = 10


@dataclass
class Watched:
    """What was seen.

    Attributes:
        plans: each statement with its plan, one line for each step of it.
        rows: PostgreSQL: the most rows that one statement looked at.
        steps: SQLite: how many steps its machine made for everything together.
    """

    plans: list[tuple[str, list[str]]] = field(default_factory=list)
    rows: int = 0
    steps: int = 0

    def scans(self, tables: frozenset[str]) -> list[tuple[str, str]]:
        """Return the steps that read one of these tables without an index, each with its statement."""
        found = []
        for statement, plan in self.plans:
            for step in plan:
                words = step.split()
                sqlite = words[0] == "SCAN" and "INDEX" not in words and words[1] in tables
                postgresql = step.startswith("Seq Scan on ") and words[3] in tables
                if sqlite or postgresql:
                    found.append((step, statement))
        return found


@contextmanager
def watching(engine: sa.Engine) -> Iterator[Watched]:
    """Watch everything that goes through an engine, statement by statement, right before it runs."""
    watched = Watched()
    explain = _explain_sqlite if engine.dialect.name == "sqlite" else _explain_postgresql

    def before(connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.split(maxsplit=1)[0] not in {"SELECT", "UPDATE", "INSERT", "DELETE", "WITH"}:
            return
        explain(connection.connection.driver_connection, statement, parameters, watched)
        if engine.dialect.name == "sqlite":
            _count_steps(connection.connection.driver_connection, watched)

    sa.event.listen(engine, "before_cursor_execute", before)
    try:
        yield watched
    finally:
        sa.event.remove(engine, "before_cursor_execute", before)
        engine.dispose()


def _explain_sqlite(connection: Any, statement: str, parameters: Any, watched: Watched) -> None:
    connection.set_progress_handler(None, 0)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    watched.plans.append((statement, [row[3] for row in rows]))


def _count_steps(connection: Any, watched: Watched) -> None:
    def tick() -> int:
        watched.steps += _STEPS_AT_ONCE
        return 0

    connection.set_progress_handler(tick, _STEPS_AT_ONCE)


def _explain_postgresql(connection: Any, statement: str, parameters: Any, watched: Watched) -> None:
    # It runs for real, for only so does it tell how many rows it read; what changes any is undone.
    changes = not statement.startswith("SELECT") or not connection.autocommit
    begin, undo = ("BEGIN", "ROLLBACK") if connection.autocommit else ("SAVEPOINT here", "ROLLBACK TO here")
    with connection.cursor() as cursor:
        if changes:
            cursor.execute(begin)
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters)
        (answer,) = cursor.fetchone()
        if changes:
            cursor.execute(undo)
    plan = answer if isinstance(answer, list) else json.loads(answer)
    steps: list[str] = []
    read = _walk(plan[0]["Plan"], steps)
    watched.plans.append((statement, steps))
    watched.rows = max(watched.rows, read)


def _walk(node: dict[str, Any], steps: list[str]) -> int:
    """Note a plan's steps, and return how many rows its scans looked at."""
    on = f" on {node['Relation Name']}" if "Relation Name" in node else ""
    by = f" by {node['Index Name']}" if "Index Name" in node else ""
    steps.append(f"{node['Node Type']}{on}{by}")
    read = 0
    if "Scan" in node["Node Type"] and "Subquery" not in node["Node Type"]:
        passed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        read = round((node["Actual Rows"] + passed) * node["Actual Loops"])
    return read + sum(_walk(one, steps) for one in node.get("Plans", ()))
