"""A process that dies at a chosen commit, as by kill -9, and the processes that find what it left.

The processes are forked, not started: a case then costs milliseconds. Nothing of the parent's
connections may cross the fork, so that every process makes its own engine and the parent holds none.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

KILLED = 137


def run_in_child(work: Callable[[], int | None]) -> int:
    """Run a function in a forked process.

    Returns:
        What it returned, 0 for ``None``; :data:`KILLED` when it died at its commit, 70 when it raised.
    """
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = work() or 0
        except BaseException:  # noqa: BLE001  # nothing may go on in a copy of the test
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at_commit(engine: sa.Engine, number: int, *, before: bool) -> None:
    """End this process at a commit of a writing transaction.

    Args:
        engine: of this process.
        number: which commit, from 1.
        before: right before the COMMIT, with everything written; otherwise right after its answer.
    """
    commit = engine.dialect.do_commit
    counted = 0
    dies_now = False

    @sa.event.listens_for(engine, "commit")
    def _count(connection: sa.Connection) -> None:
        nonlocal counted, dies_now
        if connection.get_execution_options().get("docqueue_read_only"):
            return
        counted += 1
        dies_now = counted == number
        if dies_now and before:
            os._exit(KILLED)

    def _commit(connection: Any) -> None:
        commit(connection)
        if dies_now:
            os._exit(KILLED)

    engine.dialect.do_commit = _commit  # type: ignore[method-assign]
