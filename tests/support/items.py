"""Shorthands for tests that need documents and items in a real database."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa

from jobs import accounts
from jobs.blobs import BlobStore
from jobs.database import Clock
from jobs.ids import new_id
from jobs.tables import documents, queue_items


def add_document(
    engine,
    settings,
    content=b"Hello, queue.",
    filename="hello.txt",
    owner_id=None,
    media_type="text/plain",
):
    """Insert a document with its bytes, and return its id."""
    blobs = BlobStore(settings.data_dir)
    spool = blobs.new_spool(settings.max_upload_bytes)
    spool.write(content)
    sha256 = blobs.store(spool)
    assert sha256 == hashlib.sha256(content).hexdigest()
    document_id = new_id()
    owner = owner_id or accounts.ensure_admin(engine).id
    with engine.begin() as connection:
        connection.execute(
            sa.insert(documents).values(
                id=document_id,
                owner_id=owner,
                sha256=sha256,
                size=len(content),
                filename=filename,
                media_type=media_type,
                created_at=Clock(engine.dialect.name).now,
            )
        )
    return document_id


def raw_item(engine, item_id):
    """Return an item's whole row as a mapping, lease columns included."""
    with engine.connect() as connection:
        return dict(
            connection.execute(sa.select(queue_items).where(queue_items.c.id == item_id)).mappings().one()
        )


def expire_lease(engine, item_id, seconds=1000.0):
    """Move a lease, and a mark of suspicion if there is one, into the past."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(queue_items)
            .where(queue_items.c.id == item_id, queue_items.c.status == "in_progress")
            .values(
                lease_expires_at=Clock(engine.dialect.name).steady - seconds,
                suspect_at=queue_items.c.suspect_at - seconds,
            )
        )


def make_due(engine, item_id):
    """Make a pending item due now."""
    clock = Clock(engine.dialect.name)
    with engine.begin() as connection:
        connection.execute(
            sa.update(queue_items).where(queue_items.c.id == item_id).values(due_at=clock.after(-1))
        )
