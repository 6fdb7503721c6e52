"""Files that an owner has sent before: what to do about them, and which documents they are.

Only the same owner's documents are looked at: nobody learns from an answer what others have stored.
"""

from __future__ import annotations

import enum

import sqlalchemy as sa

from jobs.extraction import ReadOptions
from jobs.model import OPEN_STATUSES, Document, QueueItem, Status, UserId
from jobs.read_options import PASSWORD_CODES, has_other_password
from jobs.rows import ITEM_COLUMNS, to_document, to_item
from jobs.settings import Settings
from jobs.tables import artifacts, documents, queue_items, results


class Dedupe(enum.StrEnum):
    """What becomes of a file whose bytes its owner has sent before.

    A new document; the document and job that are there; a new job on that document; or a refusal.
    """

    NONE = "none"
    REUSE = "reuse"
    RERUN = "rerun"
    REJECT = "reject"


def newest_document(connection: sa.Connection, owner: UserId | None, sha256: str) -> Document | None:
    """Return the owner's newest document with these bytes, or ``None``."""
    row = connection.execute(
        sa.select(documents)
        .where(documents.c.sha256 == sha256, _owned(owner))
        .order_by(documents.c.created_at.desc(), documents.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else to_document(row)


def newest_usable(
    connection: sa.Connection, owner: UserId | None, sha256: str, operation: str
) -> tuple[Document, QueueItem] | None:
    """Return the owner's newest document with these bytes on which an operation was, or will be, done.

    Args:
        connection: in the transaction that acts upon it, holding the bytes' lock.
        owner: whose documents.
        sha256: the bytes.
        operation: the newest item for it must be completed or open.

    Returns:
        The document and that item, or ``None``.
    """
    newest_item = (
        sa.select(queue_items.c.id)
        .where(queue_items.c.document_id == documents.c.id, queue_items.c.operation == operation)
        .order_by(queue_items.c.created_at.desc(), queue_items.c.id.desc())
        .limit(1)
        .correlate(documents)
        .scalar_subquery()
    )
    item_id = connection.execute(
        sa.select(queue_items.c.id)
        .join_from(documents, queue_items, queue_items.c.document_id == documents.c.id)
        .where(
            documents.c.sha256 == sha256,
            _owned(owner),
            queue_items.c.id == newest_item,
            queue_items.c.status.in_((Status.COMPLETED, *OPEN_STATUSES)),
        )
        .order_by(documents.c.created_at.desc(), documents.c.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if item_id is None:
        return None
    item = to_item(connection.execute(sa.select(*ITEM_COLUMNS).where(queue_items.c.id == item_id)).one())
    found = connection.execute(sa.select(documents).where(documents.c.id == item.document_id)).one()
    return to_document(found), item


def is_behind_another_password(
    connection: sa.Connection, document_id: str, options: ReadOptions, settings: Settings
) -> bool:
    """Say whether something was, or will be, read from a document with a password that is not among options.

    A cleared item has taken the hash of its password along: what it left is behind a password that nobody
    can be told to know.
    """
    of_document = queue_items.c.document_id == document_id
    read_nothing = sa.and_(
        queue_items.c.status == Status.FAILED, queue_items.c.error_code.in_(sorted(PASSWORD_CODES))
    )
    packed = connection.execute(sa.select(queue_items.c.options).where(of_document, ~read_nothing)).scalars()
    if any(has_other_password(one, options, settings) for one in packed):
        return True
    left = (
        sa.select(artifacts.c.meta)
        .join(results, results.c.artifact_id == artifacts.c.id)
        .where(
            results.c.document_id == document_id,
            results.c.item_id.not_in(sa.select(queue_items.c.id).where(of_document, ~read_nothing)),
        )
    )
    return any(meta.get("with_password") for meta in connection.execute(left).scalars())


def open_item(connection: sa.Connection, document_id: str, operation: str) -> QueueItem | None:
    """Return a document's open item for an operation; there is at most one."""
    row = connection.execute(
        sa.select(*ITEM_COLUMNS).where(
            queue_items.c.document_id == document_id,
            queue_items.c.operation == operation,
            queue_items.c.status.in_(OPEN_STATUSES),
        )
    ).one_or_none()
    return None if row is None else to_item(row)


def _owned(owner: UserId | None) -> sa.ColumnElement[bool]:
    return documents.c.owner_id.is_(None) if owner is None else documents.c.owner_id == owner
