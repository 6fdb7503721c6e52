"""Bytes: the files that no document names any more, or never did."""

from __future__ import annotations

import time

import sqlalchemy as sa
import structlog

from jobs.bytes_lock import hold_bytes, try_to_hold_bytes
from jobs.retention.base import DAY_SECONDS, MOST_AT_ONCE, Duties, PruneStatistics, slices
from jobs.tables import documents, sweeps, unreferenced_bytes

# A folder of the store is looked through once a day for files that no row names.
WALK_PREFIX = "bytes/"

log = structlog.get_logger()


class ByteDuties(Duties):
    """Finds, notes and deletes files."""

    def note_unnamed_bytes(self, _done: PruneStatistics, deadline: float) -> None:
        """Look through a few folders of the store for files that no document names, and note them.

        They are left by a crash between a file's storing and its document's commit. An upload that is just
        between the two is noted as well, and takes the note away itself.
        """
        lately = sa.select(sweeps.c.name).where(
            sweeps.c.name.startswith(WALK_PREFIX), sweeps.c.swept_at > self._clock.after(-DAY_SECONDS)
        )
        walked = set(self._column(lately))
        for folder in self._blobs.folders():
            name = f"{WALK_PREFIX}{folder}"
            if name in walked or not self._service.begin_sweep(name, DAY_SECONDS):
                continue
            for some in slices(self._blobs.hashes_in(folder), MOST_AT_ONCE):
                named = sa.select(documents.c.sha256).where(documents.c.sha256.in_(some))
                unnamed = set(some) - set(self._column(named))
                if unnamed:
                    with self._engine.begin() as connection:
                        held = self._hold(connection, unnamed, wait=False)
                        self._note_unnamed(connection, held - self._noted(connection, held))
            if time.monotonic() >= deadline:
                return

    def prune_bytes(self, done: PruneStatistics, deadline: float) -> None:
        """Delete the files that nobody has named for as long as the grace, after a second look at each."""
        old = (
            sa.select(unreferenced_bytes.c.sha256)
            .where(unreferenced_bytes.c.since <= self._clock.after(-self._grace_seconds))
            .order_by(unreferenced_bytes.c.since, unreferenced_bytes.c.sha256)
            .limit(self._batch)
        )
        seen: set[str] = set()
        # Those that somebody is at, or that cannot be deleted, are found again: then it is enough.
        while (hashes := self._column(old)) and not seen.issuperset(hashes):
            for sha256 in hashes:
                seen.add(sha256)
                try:
                    with self._engine.begin() as connection:
                        done.bytes_files += self.delete_bytes(connection, sha256)
                except OSError as error:
                    log.warning("bytes_not_deleted", error=error.strerror)
            if time.monotonic() >= deadline:
                return

    def delete_bytes(self, connection: sa.Connection, sha256: str) -> bool:
        """Delete a file under the lock that uploads of the same bytes take, if still no document names it.

        Args:
            connection: in a writing transaction; what dies before its commit is done again.
            sha256: the bytes.

        Returns:
            Whether there was a file and it is gone.
        """
        if not try_to_hold_bytes(connection, sha256):
            return False
        noted = connection.execute(
            sa.delete(unreferenced_bytes).where(
                unreferenced_bytes.c.sha256 == sha256,
                unreferenced_bytes.c.since <= self._clock.after(-self._grace_seconds),
            )
        ).rowcount
        named = connection.execute(sa.select(documents.c.id).where(documents.c.sha256 == sha256).limit(1))
        if not noted or named.scalar() is not None:
            return False
        return self._blobs.delete(sha256)

    def _hold(self, connection: sa.Connection, hashes: set[str], *, wait: bool) -> set[str]:
        """Take the lock on bytes, and return those that we have; without waiting not those being uploaded."""
        if wait:
            hold_bytes(connection, hashes)
            return hashes
        return {sha256 for sha256 in hashes if try_to_hold_bytes(connection, sha256)}

    def _noted(self, connection: sa.Connection, hashes: set[str]) -> set[str]:
        noted = sa.select(unreferenced_bytes.c.sha256).where(unreferenced_bytes.c.sha256.in_(hashes))
        return set(connection.execute(noted).scalars())

    def _note_unnamed(self, connection: sa.Connection, hashes: set[str]) -> None:
        """Note that bytes which we hold lost a document, or have none; their grace begins now.

        Whether there really is none is looked at before they go.
        """
        for sha256 in sorted(hashes):
            connection.execute(
                self._insert(unreferenced_bytes)
                .values(sha256=sha256, since=self._clock.now)
                .on_conflict_do_update(index_elements=["sha256"], set_={"since": self._clock.now})
            )
