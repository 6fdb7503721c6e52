"""No room: how much a folder's disk has left, and a database's word that its own is full."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from jobs.errors import StorageFull

# Sources: SQLite, "Result and Error Codes"; PostgreSQL, appendix A "Error Codes", disk_full.
_SQLITE_FULL = "SQLITE_FULL"
_POSTGRESQL_FULL = "53100"


def require_free_bytes(folder: Path, floor: int, wanted: int = 0) -> None:
    """Refuse to begin what would not fit.

    Args:
        folder: an existing folder on the disk in question.
        floor: bytes that must stay free; 0 for no look at all.
        wanted: bytes that are about to be written.

    Raises:
        StorageFull: there is less.
    """
    if floor and shutil.disk_usage(folder).free < floor + wanted:
        raise StorageFull(
            "The server has too little disk space left for this. Nothing was stored; send it again later. "
            "Its operator can free space on the disk of DATA_DIR, or lower MIN_FREE_BYTES."
        )


@contextlib.contextmanager
def telling_full_database() -> Iterator[None]:
    """Turn a database's complaint about its full disk into our own error; its transaction is void.

    Raises:
        StorageFull: the database could not write.
    """
    try:
        yield
    except sa.exc.OperationalError as error:
        if _tells_of_full_disk(error):
            raise StorageFull(
                "The database's disk is full. Nothing was stored; send it again later. "
                "Its operator must free space there."
            ) from error
        raise


def _tells_of_full_disk(error: sa.exc.OperationalError) -> bool:
    raised = error.orig
    return (
        getattr(raised, "sqlite_errorname", None) == _SQLITE_FULL
        or getattr(raised, "sqlstate", None) == _POSTGRESQL_FULL
    )
