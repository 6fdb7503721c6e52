"""Artifacts: what stages produced and no result names any more."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from jobs.database import reading
from jobs.retention.base import Duties, PruneStatistics, slices
from jobs.tables import artifacts, results, sweeps

# How far the walk over the artifacts has come: the row of this name in ``sweeps`` holds their time.
_WALK = "artifacts"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class ArtifactDuties(Duties):
    """Deletes artifacts."""

    def prune_artifacts(self, done: PruneStatistics, deadline: float) -> None:
        """Walk on over the artifacts, in the order of their making, and delete those that no result names."""
        position = self._position()
        size = 5 * self._batch
        while True:
            unnamed = sa.and_(
                ~sa.exists().where(results.c.artifact_id == artifacts.c.id),
                artifacts.c.created_at <= self._clock.after(-self._grace_seconds),
            )
            some = (
                sa.select(artifacts.c.id, unnamed.label("unnamed"))
                .where(artifacts.c.id >= _first_id(position))
                .order_by(artifacts.c.id)
                .limit(size)
            )
            with reading(self._engine) as connection:
                rows = connection.execute(some).all()
            for ids in slices((row.id for row in rows if row.unnamed), self._batch):
                done.artifacts += self._delete_artifacts(ids)
            if len(rows) < size:
                self._set_position(_BEGINNING)
                return
            # Those of the same millisecond are looked at twice, unless they were a whole batch.
            position = max(_made_at(rows[-1].id), _made_at(rows[0].id) + 0.001)
            if time.monotonic() >= deadline:
                self._set_position(datetime.fromtimestamp(position, UTC))
                return

    def _delete_artifacts(self, ids: Sequence[str]) -> int:
        """Delete those of the artifacts that still no result names.

        A result that names one holds its row by the foreign key until its commit. So the rows are locked
        first, which passes over those, and looked at again by a later statement, which sees them.
        """
        lock = sa.select(artifacts.c.id).where(artifacts.c.id.in_(list(ids))).order_by(artifacts.c.id)
        with self._engine.begin() as connection:
            held = list(connection.execute(self._locked(lock, wait=False)).scalars())
            return connection.execute(
                sa.delete(artifacts).where(
                    artifacts.c.id.in_(held), ~sa.exists().where(results.c.artifact_id == artifacts.c.id)
                )
            ).rowcount

    def _position(self) -> float:
        statement = sa.select(sweeps.c.swept_at).where(sweeps.c.name == _WALK)
        with reading(self._engine) as connection:
            at: datetime | None = connection.execute(statement).scalar()
        return (at or _BEGINNING).timestamp()

    def _set_position(self, at: datetime) -> None:
        statement = self._insert(sweeps).values(name=_WALK, swept_at=at)
        with self._engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["name"], set_={"swept_at": at})
            )


def _first_id(seconds: float) -> str:
    """Return the lowest id that :func:`jobs.ids.new_id` can have made at an instant."""
    return str(uuid.UUID(int=round(seconds * 1000) << 80))


def _made_at(some_id: str) -> float:
    """Return the instant, in seconds, that an id of :func:`jobs.ids.new_id` was made at."""
    return (uuid.UUID(some_id).int >> 80) / 1000
