"""The database schema as typed tables, with the state machine's rules as CHECK constraints.

Instants are UTC. Lease times are seconds on the database's own steady clock, not wall time
(see :mod:`jobs.database`), so that a clock jump expires no live lease.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: ``timestamptz`` on PostgreSQL, naive UTC text on SQLite; aware in Python."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive values; SQLite stores UTC without its offset so that text order is time order."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant must carry its time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Give every instant back as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class IdList(TypeDecorator[list[str]]):
    """Ids in one value: an array on PostgreSQL, a JSON array on SQLite, each as its column has it."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Choose by database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.ARRAY(sa.Uuid(as_uuid=False)))
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        """Spell ids as SQLite keeps them, without dashes."""
        if value is None or dialect.name == "postgresql":
            return value
        return json.dumps([one.replace("-", "") for one in value])


Id = sa.Uuid(as_uuid=False)
# SQLite numbers rows by itself only for a column declared INTEGER.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON()

STATUSES = "'pending', 'in_progress', 'completed', 'failed', 'cancelled'"
# Where a row is kept in the indexes. A claim moves no row to another segment, and no index names what a claim
# writes: PostgreSQL then updates the row alone (a HOT update), and indexes when the item ends or is put off.
# What runs is found by `claims`. Otherwise the twin of jobs.states.label, by what is stored.
SEGMENT = (
    "CASE WHEN status IN ('pending', 'in_progress') THEN CASE WHEN NOT deferred THEN 'open' "
    "WHEN failures + crashes > 0 THEN 'retrying' ELSE 'scheduled' END "
    "WHEN status = 'failed' AND error_code = 'quarantined' THEN 'quarantined' ELSE status END"
)
# The segments of what is stored as a status; those of 'pending' hold what runs besides.
SEGMENTS_OF = {
    "pending": ("open", "scheduled", "retrying"),
    "in_progress": ("open",),
    "completed": ("completed",),
    "failed": ("failed", "quarantined"),
    "cancelled": ("cancelled",),
}
SEGMENTS = ("open", "scheduled", "retrying", "completed", "failed", "quarantined", "cancelled")
ENDED_SEGMENTS = ("completed", "failed", "quarantined", "cancelled")
OPEN = "segment IN ('open', 'scheduled', 'retrying')"
IN_LINE = "segment = 'open'"
DEFERRED = "deferred"


def _partial(name: str, where: str, *columns: str | sa.TextClause) -> sa.Index:
    """Make an index over some of the rows, the same on both databases."""
    return sa.Index(name, *columns, sqlite_where=sa.text(_in_sqlite(where)), postgresql_where=sa.text(where))


def _in_sqlite(where: str) -> str:
    """Spell truth values as statements do there: SQLite matches a partial index by the letter."""
    for column in ("deferred", "superseded"):
        where = where.replace(f"NOT {column}", f"{column} = 0")
        where = re.sub(rf"\b{column}$", f"{column} = 1", where)
    return where


users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("role", sa.String(10), nullable=False),
    sa.Column("password_hash", sa.String(200)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("name"),
    sa.CheckConstraint("role IN ('member', 'admin')", name="role"),
)

sign_in_links = sa.Table(
    "sign_in_links",
    metadata,
    sa.Column("token_sha256", sa.String(64), primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("used_at", UtcDateTime),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_sha256", sa.String(64), primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE")),
    sa.Column("data", Json, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Index(None, "expires_at"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Index(None, "user_id"),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("owner_id", Id, sa.ForeignKey("users.id")),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger(), nullable=False),
    sa.Column("filename", sa.String(255), nullable=False),
    sa.Column("media_type", sa.String(120), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("size >= 0", name="size"),
    sa.Index(None, "owner_id", "created_at", "id"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "sha256"),
)

# Attachments of mails and members of archives: the document that each was taken out of.
child_documents = sa.Table(
    "child_documents",
    metadata,
    sa.Column("document_id", Id, sa.ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("parent_id", Id, sa.ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    # The document that was uploaded; 0 is its depth.
    sa.Column("root_id", Id, nullable=False),
    sa.Column("depth", sa.Integer(), nullable=False),
    sa.Column("position", sa.Integer(), nullable=False),
    sa.CheckConstraint("depth > 0", name="depth"),
    sa.Index("uq_child_documents_position", "parent_id", "position", unique=True),
    sa.Index(None, "root_id"),
)

queue_items = sa.Table(
    "queue_items",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("document_id", Id, sa.ForeignKey("documents.id"), nullable=False),
    sa.Column("owner_id", Id, sa.ForeignKey("users.id")),
    sa.Column("operation", sa.String(40), nullable=False),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("priority", sa.Integer(), nullable=False),
    sa.Column("fresh", sa.Boolean(), nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("announced_at", UtcDateTime),
    sa.Column("attempt", sa.Integer(), nullable=False),
    sa.Column("failures", sa.Integer(), nullable=False),
    sa.Column("crashes", sa.Integer(), nullable=False),
    sa.Column("max_failures", sa.Integer(), nullable=False),
    sa.Column("stage", sa.String(40)),
    sa.Column("progress", sa.Double(), nullable=False),
    sa.Column("cancel_requested_at", UtcDateTime),
    sa.Column("error_code", sa.String(60)),
    sa.Column("error_message", sa.Text()),
    sa.Column("worker", sa.String(120)),
    sa.Column("lease_id", sa.String(32)),
    sa.Column("lease_expires_at", sa.Double()),
    sa.Column("lease_boot", sa.String(40)),
    sa.Column("suspect_at", sa.Double()),
    sa.Column("queue", sa.String(60), nullable=False, server_default="documents"),
    # Its place among items of the same priority: owners take turns, see DocumentQueueService.enqueue_in.
    sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"),
    # Not due when it was last written; the sweep clears it. The due time decides, this keeps lines short.
    sa.Column("deferred", sa.Boolean(), nullable=False, server_default=sa.false()),
    # The document has a newer item.
    sa.Column("superseded", sa.Boolean(), nullable=False, server_default=sa.false()),
    # When its attempt began to run; NULL as well while it waits in its worker's batch behind others.
    sa.Column("started_at", UtcDateTime),
    # What the sender asks of the reading; NULL when all is as usual. See jobs.read_options.
    sa.Column("options", sa.Text()),
    # Of the stage that runs: how many pages are done, and how many there are.
    sa.Column("page", sa.Integer()),
    sa.Column("page_count", sa.Integer()),
    sa.CheckConstraint("started_at IS NULL OR status = 'in_progress'", name="started_at"),
    sa.CheckConstraint("NOT deferred OR status = 'pending'", name="deferred"),
    sa.CheckConstraint(f"status IN ({STATUSES})", name="status"),
    sa.CheckConstraint("(status = 'in_progress') = (lease_id IS NOT NULL)", name="lease_id"),
    sa.CheckConstraint("(status = 'in_progress') = (lease_expires_at IS NOT NULL)", name="lease_expires_at"),
    sa.CheckConstraint("(status = 'in_progress') = (worker IS NOT NULL)", name="worker"),
    sa.CheckConstraint("suspect_at IS NULL OR status = 'in_progress'", name="suspect_at"),
    sa.CheckConstraint(
        "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished_at"
    ),
    sa.CheckConstraint("attempt >= 0 AND failures >= 0 AND crashes >= 0", name="counts"),
    sa.CheckConstraint("failures + crashes <= attempt", name="failures"),
    sa.CheckConstraint("progress >= 0 AND progress <= 1", name="progress"),
    sa.Column("segment", sa.String(12), sa.Computed(SEGMENT)),
    sa.Index(
        "uq_queue_items_open", "document_id", "operation", unique=True,
        sqlite_where=sa.text(OPEN), postgresql_where=sa.text(OPEN),
    ),
    _partial("ix_queue_items_line", IN_LINE, "queue", sa.text("priority DESC"), "turn", "id"),
    _partial("ix_queue_items_oldest", IN_LINE, "queue", "due_at", "id"),
    _partial("ix_queue_items_deferred", DEFERRED, "due_at", "id"),
    _partial("ix_queue_items_turns", OPEN, "queue", "owner_id", sa.text("priority DESC"), "turn", "id"),
    _partial("ix_queue_items_ended", "finished_at IS NOT NULL", "segment", "finished_at", "id"),
    # Lists by segment; an owner's hold owned rows only, as SQLite would skip from owner to owner otherwise.
    sa.Index("ix_queue_items_newest", "segment", "superseded", "created_at", "id"),
    _partial(
        "ix_queue_items_newest_of_owner", "owner_id IS NOT NULL",
        "owner_id", "segment", "superseded", "created_at", "id",
    ),
    _partial("ix_queue_items_soonest", DEFERRED, "segment", "superseded", "due_at", "id"),
    _partial(
        "ix_queue_items_soonest_of_owner", "owner_id IS NOT NULL AND deferred",
        "owner_id", "segment", "superseded", "due_at", "id",
    ),
    sa.Index(None, "document_id", "created_at"),
)  # fmt: skip

# What was claimed together, while any of it runs: the only way to what runs, as no index names what a claim
# writes. Each claim has drawn its lease_id anew. The last settlement deletes the row, or the sweep.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("lease_id", sa.String(32), primary_key=True),
    sa.Column("worker", sa.String(120), nullable=False),
    sa.Column("item_ids", IdList, nullable=False),
    sa.Column("claimed_at", UtcDateTime, nullable=False),
)

attempts = sa.Table(
    "attempts",
    metadata,
    # No foreign key: it would lock the item once more for every attempt. Who deletes items deletes them.
    sa.Column("item_id", Id, primary_key=True),
    sa.Column("attempt", sa.Integer(), primary_key=True),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("worker", sa.String(120), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer(), nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("outcome", sa.String(20)),
    sa.Column("stage", sa.String(40)),
    sa.Column("error_code", sa.String(60)),
    sa.Column("error_message", sa.Text()),
    sa.Column("traceback", sa.Text()),
    sa.Column("peak_memory_bytes", sa.BigInteger()),
    # No index but the key: the end of an attempt then writes its row alone.
    sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended"),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("stage", sa.String(40), nullable=False),
    sa.Column("cache_key", sa.String(64), nullable=False),
    sa.Column("engine", sa.String(40), nullable=False),
    sa.Column("engine_version", sa.Text(), nullable=False),
    sa.Column("meta", Json, nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    # The fence that wrote it; no foreign key, an artifact outlives the item.
    sa.Column("item_id", Id),
    sa.Column("attempt", sa.Integer()),
    sa.Column("lease_id", sa.String(32)),
    sa.Index(None, "cache_key", "created_at"),
)

# Pictures of pages, each fetched by itself; they go with their artifact.
page_images = sa.Table(
    "page_images",
    metadata,
    sa.Column("artifact_id", Id, sa.ForeignKey("artifacts.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("page", sa.Integer(), primary_key=True),
    sa.Column("size", sa.String(12), primary_key=True),
    sa.Column("width", sa.Integer(), nullable=False),
    sa.Column("height", sa.Integer(), nullable=False),
    sa.Column("media_type", sa.String(40), nullable=False),
    sa.Column("data", sa.LargeBinary(), nullable=False),
    sa.CheckConstraint("page > 0", name="page"),
    sa.CheckConstraint("size IN ('thumbnail', 'reading')", name="size"),
)

# With which page an item of the operation "images" begins; with the first where there is no row.
drawing_orders = sa.Table(
    "drawing_orders",
    metadata,
    sa.Column("item_id", Id, sa.ForeignKey("queue_items.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("first_page", sa.Integer(), nullable=False),
    sa.CheckConstraint("first_page > 0", name="first_page"),
)

results = sa.Table(
    "results",
    metadata,
    # No foreign key: a cleared item leaves its document's newest result behind.
    sa.Column("item_id", Id, primary_key=True),
    sa.Column("stage", sa.String(40), primary_key=True),
    sa.Column("document_id", Id, sa.ForeignKey("documents.id"), nullable=False),
    sa.Column("artifact_id", Id, sa.ForeignKey("artifacts.id"), nullable=False),
    sa.Column("attempt", sa.Integer(), nullable=False),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("reused", sa.Boolean(), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index(None, "document_id", "stage", "created_at"),
    sa.Index(None, "artifact_id"),
)

# The text of the pages that a running attempt has read so far; the last stage that wrote it deletes it, or
# the sweep.
partial_results = sa.Table(
    "partial_results",
    metadata,
    sa.Column("item_id", Id, sa.ForeignKey("queue_items.id", ondelete="CASCADE"), primary_key=True),
    # The fence that wrote it.
    sa.Column("attempt", sa.Integer(), nullable=False),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("page", sa.Integer(), nullable=False),
    sa.Column("page_count", sa.Integer(), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=True),
    sa.Column("item_id", Id, nullable=False),
    sa.Column("document_id", Id, nullable=False),
    sa.Column("owner_id", Id),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("attempt", sa.Integer(), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("data", Json, nullable=False),
    # The fence of the attempt that caused it; none for what people and the sweep did.
    sa.Column("lease_id", sa.String(32)),
    # PostgreSQL: the transaction's number, by default; it makes a feed over all items gapless.
    sa.Column("tx", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Index(None, "item_id", "seq"),
    sa.Index(None, "owner_id", "seq"),
    sa.Index(None, "tx", "seq"),
    sqlite_autoincrement=True,
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer(), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("queue", sa.String(60), nullable=False, server_default="documents"),
    sa.CheckConstraint("state IN ('idle', 'busy', 'gone')", name="state"),
    sa.Index(None, "seen_at"),
)

sweeps = sa.Table(
    "sweeps",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("swept_at", UtcDateTime, nullable=False),
)

# What people said about a queue; a queue without a row runs.
queues = sa.Table(
    "queues",
    metadata,
    sa.Column("name", sa.String(60), primary_key=True),
    sa.Column("paused_at", UtcDateTime),
    sa.Column("paused_by", sa.String(80)),
    sa.Column("pause_reason", sa.String(500)),
)

# The running items by what they take up: at most so many rows with one key, see CLAIM and enter_stage.
slots = sa.Table(
    "slots",
    metadata,
    sa.Column("key", sa.String(120), primary_key=True),
    sa.Column("item_id", Id, sa.ForeignKey("queue_items.id", ondelete="CASCADE"), primary_key=True),
    sa.Index(None, "item_id"),
)

# Until when somebody outside asked us to wait, by the key of what was asked.
throttles = sa.Table(
    "throttles",
    metadata,
    sa.Column("key", sa.String(120), primary_key=True),
    sa.Column("until", UtcDateTime, nullable=False),
    sa.Column("reason", sa.String(500), nullable=False),
)

# What model calls took; each row carries the fence that wrote it.
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("item_id", Id, nullable=False),
    sa.Column("document_id", Id, nullable=False),
    sa.Column("owner_id", Id),
    sa.Column("attempt", sa.Integer(), nullable=False),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("stage", sa.String(40), nullable=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("requests", sa.Integer(), nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
    sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index(None, "item_id"),
    sa.Index(None, "owner_id", "at"),
)

# How many items there are of each kind: kept by triggers, whoever writes. On PostgreSQL a statement appends
# its changes, so that nobody waits for a row that everybody counts on; the sweep adds them up.
item_counts = sa.Table(
    "item_counts",
    metadata,
    sa.Column("bucket", sa.String(20), primary_key=True),
    sa.Column("amount", sa.BigInteger(), nullable=False),
)

item_count_changes = sa.Table(
    "item_count_changes",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("bucket", sa.String(20), nullable=False),
    sa.Column("amount", sa.BigInteger(), nullable=False),
)

# What was answered to a request with an Idempotency-Key, to be answered again.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    # Whose turn it is to answer; a request that died in the middle loses it at locked_until.
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("locked_until", UtcDateTime, nullable=False),
    sa.Column("status", sa.Integer()),
    sa.Column("headers", Json),
    sa.Column("body", Json),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("(status IS NULL) = (body IS NULL)", name="answered"),
    sa.Index(None, "created_at"),
)

# One request over many items, worked off in slices.
bulk_operations = sa.Table(
    "bulk_operations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("filter", Json, nullable=False),
    sa.Column("arguments", Json, nullable=False),
    sa.Column("reason", sa.String(500), nullable=False),
    sa.Column("requested_by", sa.String(80), nullable=False),
    # Whose items it may touch; everybody's when NULL.
    sa.Column("owner_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE")),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("matching", sa.BigInteger(), nullable=False),
    sa.Column("done", sa.BigInteger(), nullable=False),
    sa.Column("skipped", sa.BigInteger(), nullable=False),
    # The last row that was dealt with, as a list's cursor.
    sa.Column("cursor", sa.Text()),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.CheckConstraint("kind IN ('retry', 'cancel', 'change_priority', 'delete')", name="kind"),
    sa.CheckConstraint("state IN ('running', 'completed', 'cancelled')", name="state"),
    sa.CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished_at"),
    sa.Index(None, "state", "created_at"),
    sa.Index(None, "owner_id", "created_at"),
)

# Bytes that no document names any more, and since when; deleted after a grace.
unreferenced_bytes = sa.Table(
    "unreferenced_bytes",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Index(None, "since"),
)
