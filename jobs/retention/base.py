"""What the duties of a pass share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jobs.blobs import BlobStore
from jobs.database import Clock, reading
from jobs.model import JSON
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings

DAY_SECONDS = 86_400.0
MOST_AT_ONCE = 500


@dataclass(slots=True)
class PruneStatistics:
    """What one pass deleted.

    Attributes:
        items: ended queue items that had their own time; not those that went with a document.
        documents: documents with everything that was known of them.
        artifacts: products of stages that no result names.
        bytes_files: files of bytes that no document names.
        keys: answers kept for an Idempotency-Key.
    """

    items: int = 0
    documents: int = 0
    artifacts: int = 0
    bytes_files: int = 0
    keys: int = 0

    def to_json(self) -> dict[str, JSON]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Duties:
    """The means of a pass; each duty is told where to add up what it did, and when to stop.

    Args:
        engine: the database.
        settings: how long what is kept.
        service: the queue.
        blobs: the bytes.
        batch: rows of one transaction, 1 to 500.
    """

    def __init__(
        self,
        engine: sa.Engine,
        settings: Settings,
        service: DocumentQueueService,
        blobs: BlobStore,
        batch: int = MOST_AT_ONCE,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._service = service
        self._blobs = blobs
        self._batch = min(batch, MOST_AT_ONCE)
        self._clock = Clock(engine.dialect.name)
        self._grace_seconds = settings.bytes_grace_hours * 3600

    def _locked(self, statement: sa.Select[Any], *, wait: bool) -> sa.Select[Any]:
        """Lock the selected rows, or those that nobody else has; on SQLite the transaction is the lock."""
        if self._clock.dialect == "sqlite":
            return statement
        return statement.with_for_update(skip_locked=not wait)

    def _insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self._clock.dialect == "postgresql" else sqlite.insert(table)

    def _column(self, statement: sa.Select[Any]) -> list[str]:
        with reading(self._engine) as connection:
            return list(connection.execute(statement).scalars())


def slices(values: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the values in lists of at most this size."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
