"""One pass over everything, and the deletion of one document by a person."""

from __future__ import annotations

import time

import sqlalchemy as sa
import structlog

from jobs.blobs import BlobStore
from jobs.errors import DocumentNotFound, IllegalTransition
from jobs.ids import parse_id
from jobs.queue_service import DocumentQueueService
from jobs.retention.artifacts import ArtifactDuties
from jobs.retention.base import DAY_SECONDS, PruneStatistics
from jobs.retention.rows import RowDuties
from jobs.settings import Settings
from jobs.tables import documents

log = structlog.get_logger()


def prune(
    engine: sa.Engine,
    settings: Settings,
    service: DocumentQueueService,
    blobs: BlobStore,
    *,
    seconds: float = 1.0,
    batch: int = 200,
) -> PruneStatistics:
    """Delete what is past its time, for about so long.

    Args:
        engine: the database.
        settings: how long what is kept.
        service: the queue.
        blobs: the bytes.
        seconds: how long to go on; each duty does at least one batch.
        batch: rows of one transaction, 1 to 500.

    Returns:
        What was deleted.
    """
    done = PruneStatistics()
    rows = RowDuties(engine, settings, service, blobs, batch)
    started = time.monotonic()
    duties = (
        rows.prune_items,
        rows.prune_documents,
        ArtifactDuties(engine, settings, service, blobs, batch).prune_artifacts,
        rows.prune_keys,
        rows.note_unnamed_bytes,
        rows.prune_bytes,
    )
    for number, duty in enumerate(duties, 1):
        # A duty with much to do leaves the others their share of the time.
        duty(done, started + seconds * number / len(duties))
    blobs.delete_old_spools(DAY_SECONDS)
    if any(getattr(done, name) for name in done.__slots__):
        log.info("prune", **done.to_json())
    return done


def delete_document(
    engine: sa.Engine, settings: Settings, service: DocumentQueueService, document_id: str, by: str
) -> None:
    """Delete a document with its items, events and results, and what came out of it; all or nothing.

    Its bytes go after ``BYTES_GRACE_HOURS``.

    Args:
        engine: the database.
        settings: how long what is kept.
        service: the queue.
        document_id: the document; whether it is the asker's own is for the caller to know.
        by: who asks, for the log.

    Raises:
        DocumentNotFound: there is no such document.
        IllegalTransition: something is still to be done with it; cancel its job first.
    """
    known = parse_id(document_id)
    if known is None:
        raise DocumentNotFound("There is no such document.")
    rows = RowDuties(engine, settings, service, BlobStore(settings.data_dir))
    with engine.begin() as connection:
        present = sa.select(documents.c.id).where(documents.c.id == known)
        if connection.execute(present).scalar() is None:
            raise DocumentNotFound("There is no such document.")
        family = [known, *rows.descendants_of(connection, known)]
        if rows.delete_documents(connection, family) < len(family):
            # What was deleted comes back with the end of the transaction.
            raise IllegalTransition(
                "This document, or one that came out of it, still has a job that is not over; "
                "cancel it first."
            )
    log.info("document_deleted", document_id=known, by=by)
