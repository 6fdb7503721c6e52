"""Forks a work horse that stays, sees its end, and lets it go."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from jobs.horse_link import HorseLink
from jobs.warm_horse import telling_exit

# How long a horse that was let go may take to end.
_GOODBYE_SECONDS = 2.0


class HorseKeeper:
    """The one warm horse of a worker.

    Args:
        live: what the horse does, in the forked process, with its end of the link; the process ends with it.

    Attributes:
        pid: its process; 0 while there is none.
    """

    def __init__(self, live: Callable[[HorseLink], None]) -> None:
        self._live = live
        self._link: HorseLink | None = None
        self.pid = 0

    @property
    def link(self) -> HorseLink:
        """The link to the horse that was forked last.

        Raises:
            RuntimeError: none was.
        """
        if self._link is None:
            raise RuntimeError("no horse was forked yet")
        return self._link

    def fork(self) -> None:
        """Make a new horse, while this process has one thread and no connection to a database."""
        self.leave()
        link = self._link = HorseLink()
        pid = os.fork()
        if pid == 0:
            with telling_exit():
                # A group of its own, so that what it started is killed with it.
                os.setpgrp()
                self._link = None
                link.close_workers_end()
                self._live(link)
        link.close_horses_end()
        self.pid = pid

    def is_alive(self) -> bool:
        """Tell whether there is a horse; one that has ended is forgotten."""
        if not self.pid:
            return False
        try:
            if os.wait4(self.pid, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            pass
        self.forget()
        return False

    def reap(self) -> tuple[int | None, Any]:
        """Wait for the horse's end.

        Returns:
            Its status as of ``wait4`` and what it used; ``None`` for both when somebody else has seen it.
        """
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            return None, None
        return status, usage

    def forget(self) -> None:
        """Be ready for another one."""
        self.leave()
        self.pid = 0

    def leave(self) -> None:
        """Give the link up; also for another process that was forked from the worker."""
        if self._link is not None:
            self._link.close()

    def begin_nothing_more(self) -> None:
        """Let the horse finish what it is at, and begin nothing; may be called by a signal handler."""
        if self._link is not None:
            self._link.stop()

    def let_go(self) -> None:
        """End the horse: by itself when it has nothing to do, by force otherwise."""
        if self._link is None:
            return
        self._link.stop()
        self._link.close()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while self.is_alive():
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                self.reap()
                self.forget()
                return
            time.sleep(0.005)
