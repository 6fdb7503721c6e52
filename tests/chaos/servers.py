"""What a chaos run stands on: fresh servers, a data folder, and settings with short times."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Self

from tests.chaos.plan import Size
from tests.support.servers import PostgresServer, ValkeyServer

TIMINGS = {
    "LEASE_SECONDS": "3",
    "HEARTBEAT_SECONDS": "0.75",
    "SWEEP_SECONDS": "0.5",
    "ANNOUNCE_AGAIN_SECONDS": "0.5",
    "BACKOFF_BASE_SECONDS": "0.05",
    "BACKOFF_CAP_SECONDS": "0.5",
}
# What invariant I4 promises: one lease, one heartbeat, two sweeps.
BOUND_SECONDS = 3 + 0.75 + 2 * 0.5
# The sweep and the report of a dead horse are processes like all others: on a machine that is busy starting
# interpreters they run late. While the database takes no writes nothing can be rescued: that does not count.
BOUND_FACTOR = 3.0


class Servers:
    """Redis and, if asked for, PostgreSQL, with a fresh database and a data folder.

    Args:
        kind: ``"sqlite"`` or ``"postgresql"``.
    """

    def __init__(self, kind: str) -> None:
        # kill -9 loses nothing that was written, so a memory file system proves as much, and spares the disk.
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="dq-c-", dir=memory if memory.is_dir() else None))
        self.valkey = ValkeyServer()
        self.postgres = PostgresServer() if kind == "postgresql" else None
        self.name = ""

    def __enter__(self) -> Self:
        self.valkey.start()
        if self.postgres is not None:
            self.postgres.start()
            self.name = self.postgres.create_database()
        return self

    def __exit__(self, *_: object) -> None:
        self.valkey.__exit__()
        if self.postgres is not None:
            self.postgres.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def environ(self, size: Size) -> dict[str, str]:
        """Return the settings of a run."""
        url = f"sqlite:///{self.folder / 'docqueue.db'}"
        if self.postgres is not None:
            url = self.postgres.url(self.name)
        return {
            **TIMINGS, "DATABASE_URL": url, "DATA_DIR": str(self.folder), "REDIS_URL": self.valkey.url,
            "WORKERS": str(max(1, size.workers // size.machines)), "WEB_THREADS": "8",
            "SECRET_KEY": "only-for-tests", "LOG_FORMAT": "json",
        }  # fmt: skip
