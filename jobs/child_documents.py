"""Attachments and members of archives become documents of their own, with the checkpoint of their reading.

Their bytes are durable before; the rows appear in the transaction that writes down the stage, under the
attempt's fence. So a lost attempt leaves no child, and one that is repeated makes none twice. Nobody waits
for their bell: the worker's line has them at once, and the sweep rings.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import sqlalchemy as sa
import structlog

from jobs.blobs import BlobStore, Spool
from jobs.bytes_lock import hold_bytes
from jobs.errors import StorageFull, Transient
from jobs.extraction import Member, sniff
from jobs.ids import new_id
from jobs.model import Artifact, QueueItem
from jobs.queue_service import DocumentQueueService, NewItem
from jobs.read_options import options_for_children
from jobs.settings import Settings
from jobs.tables import child_documents, documents, queue_items
from jobs.uploads import clean_filename

_COPY_BYTES = 1024 * 1024

log = structlog.get_logger()


class ChildDocuments:
    """Makes the children of documents.

    Args:
        settings: how many, how large and how deep.
        service: the queue.
        blobs: where their bytes go.
    """

    def __init__(self, settings: Settings, service: DocumentQueueService, blobs: BlobStore) -> None:
        self._settings = settings
        self._service = service
        self._blobs = blobs

    def keeper(self) -> MemberStore:
        """Return what keeps the members of one document while it is read."""
        return MemberStore(self._blobs, self._settings)

    def has_bytes_of(self, artifact: Artifact) -> bool:
        """Say whether the bytes of everything that was taken out of a document are still there."""
        return all(self._blobs.size(member.sha256) is not None for member in _members_of(artifact))

    def of(self, artifact: Artifact, item: QueueItem) -> Brood | None:
        """Return the children that a stage's product makes, ``None`` when nothing was taken out."""
        members = _members_of(artifact)
        return Brood(members, item, self._settings, self._service, self._blobs) if members else None


class MemberStore:
    """Takes the bytes of members while a document is read, and makes them durable together.

    Args:
        blobs: where they go.
        settings: how large each may be, and what the disk must have left.
    """

    def __init__(self, blobs: BlobStore, settings: Settings) -> None:
        self._blobs = blobs
        self._settings = settings
        self._spools: list[Spool] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spool in self._spools:
            spool.discard()

    def keep(self, name: str, file: BinaryIO) -> Member:
        """Copy a member's bytes to the disk of the store.

        Raises:
            Transient: the disk is full, or nearly.
        """
        try:
            spool = self._blobs.new_spool(self._settings.max_upload_bytes, self._settings.min_free_bytes)
            self._spools.append(spool)
            shutil.copyfileobj(file, cast("Any", spool), _COPY_BYTES)
        except StorageFull as error:
            raise Transient(error.public_message, code="storage_full") from error
        filename = clean_filename(name)
        return Member(filename, spool.sha256, spool.size, sniff(spool.head, spool.path, filename))

    def store(self) -> None:
        """Make them durable, so that rows may name them.

        Raises:
            Transient: the disk is full.
        """
        if not self._spools:
            return
        try:
            self._blobs.store_all(self._spools)
        except StorageFull as error:
            raise Transient(error.public_message, code="storage_full") from error


@dataclass(frozen=True, slots=True)
class Brood:
    """The children that one checkpoint makes; see :class:`jobs.model.Companion`."""

    members: Sequence[Member]
    item: QueueItem
    settings: Settings = field(repr=False)
    service: DocumentQueueService = field(repr=False)
    blobs: BlobStore = field(repr=False)

    def hold(self, connection: sa.Connection) -> None:
        """Lock the bytes, then the documents, as who deletes documents does before their items.

        Raises:
            Transient: bytes went since the document was read, because no document had named them for long.
        """
        hold_bytes(connection, [member.sha256 for member in self.members])
        if any(self.blobs.size(member.sha256) is None for member in self.members):
            raise Transient("Attachments that were kept are gone; the document is read again.")
        if connection.dialect.name == "postgresql":
            ids = {self.item.document_id, self._place(connection)[0]}
            lock = sa.select(documents.c.id).where(documents.c.id.in_(ids)).order_by(documents.c.id)
            connection.execute(lock.with_for_update(key_share=True))

    def write(self, connection: sa.Connection, lease_id: str) -> None:
        """Insert the children that the document does not have yet, with their items."""
        root, depth = self._place(connection)
        parent = child_documents.c.parent_id == self.item.document_id
        known = connection.execute(
            sa.select(documents.c.sha256, documents.c.filename, child_documents.c.position)
            .join(child_documents, child_documents.c.document_id == documents.c.id)
            .where(parent)
        ).all()
        present = Counter((row.sha256, row.filename) for row in known)
        wanted = []
        for member in self.members:
            if present[member.sha256, member.name] > 0:
                present[member.sha256, member.name] -= 1
            else:
                wanted.append(member)
        in_all = sa.select(sa.func.count()).where(child_documents.c.root_id == root)
        room = max(0, self.settings.max_members_in_all - connection.execute(in_all).scalar_one())
        if depth >= self.settings.max_member_depth:
            room = 0
        if wanted[:room]:
            first = max((row.position + 1 for row in known), default=0)
            self._insert(connection, wanted[:room], root, depth + 1, first)
        if wanted:
            made = len(wanted[:room])
            bound = "too_deep" if depth >= self.settings.max_member_depth else "too_many"
            left_out = {bound: len(wanted) - made} if made < len(wanted) else {}
            self.service.tell_children(connection, lease_id, self.item, made, left_out)

    def _place(self, connection: sa.Connection) -> tuple[str, int]:
        """Return the upload that the document came with, and how deep it lay in it."""
        own = sa.select(child_documents.c.root_id, child_documents.c.depth).where(
            child_documents.c.document_id == self.item.document_id
        )
        row = connection.execute(own).one_or_none()
        return (self.item.document_id, 0) if row is None else (row.root_id, row.depth)

    def _insert(
        self, connection: sa.Connection, members: Sequence[Member], root: str, depth: int, first: int
    ) -> None:
        owner = self.item.owner_id
        rows: list[dict[str, Any]] = [
            {
                "id": new_id(),
                "owner_id": owner,
                "sha256": member.sha256,
                "size": member.size,
                "filename": member.name,
                "media_type": member.media_type,
            }
            for member in members
        ]
        new = [
            NewItem(
                row["id"],
                owner,
                self.item.operation,
                self.item.priority,
                self.item.queue,
                options=options_for_children(self.item.options),
            )
            for row in rows
        ]
        items = self.service.enqueue_many_in(connection, new, rows)
        # Nobody rings after this commit but the sweep.
        connection.execute(
            sa.update(queue_items)
            .where(queue_items.c.id.in_([one.id for one in items]))
            .values(announced_at=None)
        )
        connection.execute(
            sa.insert(child_documents),
            [
                {
                    "document_id": row["id"],
                    "parent_id": self.item.document_id,
                    "root_id": root,
                    "depth": depth,
                    "position": position,
                }
                for position, row in enumerate(rows, first)
            ],
        )


def _members_of(artifact: Artifact) -> list[Member]:
    found = artifact.body.get("members")
    return [Member.from_json(member) for member in found] if isinstance(found, list) else []
