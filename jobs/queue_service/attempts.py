"""A running attempt, up to its settlement; every statement carries the lease's token."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from jobs.database import reading
from jobs.errors import (
    LeaseLost,
)
from jobs.ids import new_id
from jobs.model import (
    JSON,
    Artifact,
    Checkpoint,
    Failed,
    Lease,
    Outcome,
    PartialResult,
    QueueItem,
)
from jobs.queue_service.base import OUTCOME_NAMES
from jobs.queue_service.batch_statements import renew_and_tell
from jobs.queue_service.claiming import Claiming
from jobs.rows import ITEM_COLUMNS, pack, to_item
from jobs.states import decide
from jobs.tables import (
    artifacts,
    attempts,
    page_images,
    partial_results,
    queue_items,
    results,
    usage,
)


class Attempts(Claiming):
    """Renew, checkpoint, settle."""

    def renew(
        self,
        lease: Lease,
        *,
        stage: str | None = None,
        progress: float | None = None,
        pages: tuple[int, int] | None = None,
    ) -> bool:
        """Prolong a lease and report where the attempt is.

        Args:
            lease: the lease.
            stage: the stage that runs, when it changed.
            progress: how much of the stage is done, 0 to 1, when it changed.
            pages: how many of the document's pages are done and how many there are, when progress has any.

        Returns:
            Whether a cancel was asked for.

        Raises:
            LeaseLost: the item is no longer this attempt's.
        """
        if progress is not None:
            progress = min(1.0, max(0.0, progress))
        if self._clock.dialect == "postgresql" and (stage is not None or progress is not None):
            return self._renew_and_tell(lease, stage, progress, pages)
        values: dict[str, object] = {
            "lease_expires_at": self._clock.steady + self._settings.lease_seconds,
            "lease_boot": self._clock.boot,
            "suspect_at": None,
        }
        if stage is not None:
            values["stage"] = stage
            values["started_at"] = sa.func.coalesce(queue_items.c.started_at, self._clock.now)
        if progress is not None:
            values["progress"] = progress
        if stage is not None or progress is not None:
            values["page"], values["page_count"] = pages or (None, None)
        with self._engine.begin() as connection:
            item = self._guarded_update(connection, lease, values)
            if stage is not None or progress is not None:
                data: dict[str, JSON] = {"stage": item.stage, "progress": item.progress}
                if pages is not None:
                    data |= {"page": item.page, "page_count": item.page_count}
                self._append(connection, item, "progress", data, lease_id=lease.lease_id)
        return item.cancel_requested_at is not None

    def _renew_and_tell(
        self, lease: Lease, stage: str | None, progress: float | None, pages: tuple[int, int] | None
    ) -> bool:
        known = {
            "id": lease.item.id,
            "attempt": lease.attempt,
            "lease_id": lease.lease_id,
            "lease_seconds": self._settings.lease_seconds,
            "stage": stage,
            "progress": progress,
            "begins": stage is not None,
            "page": None if pages is None else pages[0],
            "page_count": None if pages is None else pages[1],
        }
        with self._at_once() as connection:
            row = connection.execute(renew_and_tell(), known).one_or_none()
        if row is None:
            raise LeaseLost("Another attempt holds this item now.")
        return row.cancel_requested_at is not None

    def cancel_requested(self, lease: Lease) -> bool:
        """Tell whether a cancel was asked for, without writing.

        Args:
            lease: the lease.

        Raises:
            LeaseLost: the item is no longer this attempt's.
        """
        statement = sa.select(queue_items.c.cancel_requested_at).where(*self._token(lease))
        with reading(self._engine) as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise LeaseLost("Another attempt holds this item now.")
        return row.cancel_requested_at is not None

    def checkpoint(self, lease: Lease, stage: str, artifact: Artifact, *, reused: bool) -> None:
        """Keep what a stage produced; see :meth:`checkpoint_all`."""
        self.checkpoint_all(lease, [Checkpoint(stage, artifact, reused)])

    def checkpoint_all(self, lease: Lease, ended: Sequence[Checkpoint]) -> bool:
        """Keep what stages produced, so that no later attempt computes it again.

        Args:
            lease: the lease.
            ended: the stages that ended, one or more, in their order; an artifact is inserted unless it is
                reused, and even then if it was pruned meanwhile.

        Returns:
            Whether a cancel was asked for.

        Raises:
            LeaseLost: the item is no longer this attempt's; nothing was stored.
        """
        companions = [one.companion for one in ended if one.companion is not None]
        with self._engine.begin() as connection:
            for companion in companions:
                companion.hold(connection)
            asked = self._keep(connection, lease, ended)
            for companion in companions:
                companion.write(connection, lease.lease_id)
            return asked

    def _keep(self, connection: sa.Connection, lease: Lease, ended: Sequence[Checkpoint]) -> bool:
        """Write down stages that ended; see :meth:`checkpoint_all`."""
        item = self._guarded_update(
            connection,
            lease,
            {
                "lease_expires_at": self._clock.steady + self._settings.lease_seconds,
                "suspect_at": None,
                "stage": ended[-1].stage,
                "progress": 1.0,
            },
        )
        now = self._clock.now
        fence = {"attempt": lease.attempt, "lease_id": lease.lease_id}
        made = [one.artifact for one in ended if not one.reused or self._is_pruned(connection, one.artifact)]
        if made:
            connection.execute(
                sa.insert(artifacts).values(created_at=now, item_id=item.id, **fence),
                [
                    {
                        "id": artifact.id,
                        "stage": artifact.stage,
                        "cache_key": artifact.cache_key,
                        "engine": artifact.engine,
                        "engine_version": artifact.engine_version,
                        "meta": artifact.meta,
                        "body": pack(artifact.body),
                    }
                    for artifact in made
                ],
            )
            self._insert_images(connection, made)
        for one in ended:
            if not one.reused:
                self._note_usage(connection, item, lease, one.artifact)
        if any(one.had_partial for one in ended):
            connection.execute(sa.delete(partial_results).where(partial_results.c.item_id == item.id))
        values = {"document_id": item.document_id, **fence, "created_at": now}
        insert = self._insert(results).values(item_id=item.id, **values)
        again = {**values, "artifact_id": insert.excluded.artifact_id, "reused": insert.excluded.reused}
        connection.execute(
            insert.on_conflict_do_update(index_elements=["item_id", "stage"], set_=again),
            [{"stage": one.stage, "artifact_id": one.artifact.id, "reused": one.reused} for one in ended],
        )
        for one in ended:
            data: dict[str, JSON] = {"stage": one.stage, "progress": 1.0, "reused": one.reused}
            self._append(connection, item, "stage_completed", data, lease_id=lease.lease_id)
        return item.cancel_requested_at is not None

    def _insert_images(self, connection: sa.Connection, made: Sequence[Artifact]) -> None:
        rows = [
            {
                "artifact_id": artifact.id,
                "page": image.page,
                "size": image.size,
                "width": image.width,
                "height": image.height,
                "media_type": image.media_type,
                "data": image.data,
            }
            for artifact in made
            for image in artifact.images
        ]
        if rows:
            connection.execute(sa.insert(page_images), rows)

    def tell_children(
        self, connection: sa.Connection, lease_id: str, item: QueueItem, made: int, left_out: dict[str, int]
    ) -> None:
        """Write the event that documents were made of what an item's document holds.

        Args:
            connection: in the transaction that makes them.
            lease_id: the attempt's.
            item: whose document it is.
            made: how many.
            left_out: how many were not, by the bound that was reached.
        """
        data: dict[str, JSON] = {"made": made, **left_out}
        self._append(connection, item, "children", data, lease_id=lease_id)

    def keep_partial(self, lease: Lease, partial: PartialResult) -> None:
        """Keep the pages that a running attempt has read so far, in place of those that it told before.

        Args:
            lease: the lease.
            partial: what there is.

        Raises:
            LeaseLost: the item is no longer this attempt's; nothing was stored.
        """
        body = pack({str(page): text for page, text in partial.texts.items()})
        with self._engine.begin() as connection:
            self._guarded_update(connection, lease, {})
            values = {
                "attempt": lease.attempt,
                "lease_id": lease.lease_id,
                "page": partial.page,
                "page_count": partial.page_count,
                "body": body,
                "updated_at": self._clock.now,
            }
            insert = self._insert(partial_results).values(item_id=lease.item.id, **values)
            connection.execute(insert.on_conflict_do_update(index_elements=["item_id"], set_=values))

    def _is_pruned(self, connection: sa.Connection, artifact: Artifact) -> bool:
        """Tell whether a kept artifact was deleted since it was read; if not, it stays until the commit."""
        statement = sa.select(artifacts.c.id).where(artifacts.c.id == artifact.id)
        if self._clock.dialect == "postgresql":
            statement = statement.with_for_update(read=True, key_share=True)
        return connection.execute(statement).scalar() is None

    def _note_usage(
        self, connection: sa.Connection, item: QueueItem, lease: Lease, artifact: Artifact
    ) -> None:
        """Write down what a model took for this artifact; engines of our own report nothing."""
        taken = artifact.body.get("usage")
        if not isinstance(taken, dict):
            return
        counts = {
            name: value
            for name in ("requests", "prompt_tokens", "completion_tokens")
            if isinstance(value := taken.get(name, 0), int)
        }
        connection.execute(
            sa.insert(usage).values(
                id=new_id(),
                item_id=item.id,
                document_id=item.document_id,
                owner_id=item.owner_id,
                attempt=lease.attempt,
                lease_id=lease.lease_id,
                stage=artifact.stage,
                model=str(artifact.body.get("model") or artifact.engine)[:200],
                at=self._clock.now,
                **counts,
            )
        )

    def settle(self, lease: Lease, outcome: Outcome, *, peak_memory_bytes: int | None = None) -> QueueItem:
        """End an attempt with exactly one outcome.

        Calling it again with the same lease after a lost answer changes nothing and returns the item.

        Args:
            lease: the lease.
            outcome: what the attempt came to.
            peak_memory_bytes: the most memory that its processes had, where known.

        Returns:
            The item after the settlement.

        Raises:
            LeaseLost: another attempt holds or has settled the item; nothing was changed.
        """
        with self._engine.begin() as connection:
            current = connection.execute(
                self._locked(sa.select(*ITEM_COLUMNS).where(*self._token(lease)))
            ).one_or_none()
            if current is None:
                return self._settled_before(connection, lease, outcome)
            item = to_item(current)
            settlement = decide(item, outcome, self._policies[item.operation], self._rng.random())
            detail = outcome.traceback if isinstance(outcome, Failed) else ""
            return self._apply(connection, lease, settlement, detail, self._token(lease), peak_memory_bytes)

    def _settled_before(self, connection: sa.Connection, lease: Lease, outcome: Outcome) -> QueueItem:
        """Answer a settle that found no lease: fine when this very lease had already settled so."""
        ended = connection.execute(
            sa.select(attempts.c.outcome).where(
                attempts.c.item_id == lease.item.id,
                attempts.c.attempt == lease.attempt,
                attempts.c.lease_id == lease.lease_id,
            )
        ).scalar()
        mine = decide(lease.item, outcome, self._policies[lease.item.operation], 0.0)
        # Only the holder acknowledges a cancel, which may have been asked for after the item was read.
        if ended is not None and ended in {OUTCOME_NAMES[mine.trigger], "cancelled"}:
            return self._read(connection, lease.item.id)
        raise LeaseLost("Another attempt holds this item now.")
