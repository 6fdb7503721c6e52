"""The durable core: queues and turns, kept counts, slots, throttles, idempotency, bulk operations, usage.

Revision: 0002
Follows: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UUID = sa.Uuid(as_uuid=False)
INSTANT = sa.DateTime(timezone=True)
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

OWNED = "owner_id IS NOT NULL"
LABEL = (
    "(CASE status WHEN 'pending' THEN CASE WHEN NOT deferred THEN 'waiting' "
    "WHEN failures + crashes > 0 THEN 'retrying' ELSE 'scheduled' END "
    "WHEN 'failed' THEN CASE WHEN error_code = 'quarantined' THEN 'quarantined' ELSE 'failed' END "
    "ELSE status END)"
)
WAITING = "status = 'pending' AND NOT deferred"
PARTIAL_INDEXES = (
    ("ix_queue_items_line", WAITING, ("queue", "priority DESC", "turn", "id")),
    ("ix_queue_items_oldest", WAITING, ("queue", "due_at", "id")),
    ("ix_queue_items_deferred", "status = 'pending' AND deferred", ("due_at", "id")),
    ("ix_queue_items_turns", "status = 'pending'", ("queue", "owner_id", "priority DESC", "turn", "id")),
    ("ix_queue_items_ended", "finished_at IS NOT NULL", ("status", "finished_at", "id")),
    ("ix_queue_items_newest", "", (LABEL, "superseded", "created_at", "id")),
    ("ix_queue_items_newest_of_owner", OWNED, ("owner_id", LABEL, "superseded", "created_at", "id")),
    ("ix_queue_items_soonest", "deferred", (LABEL, "superseded", "due_at", "id")),
    (
        "ix_queue_items_soonest_of_owner",
        f"{OWNED} AND deferred",
        ("owner_id", LABEL, "superseded", "due_at", "id"),
    ),
    ("ix_queue_items_of_owner", OWNED, ("owner_id", "status", "created_at", "id")),
)


def upgrade() -> None:
    _extend_tables()
    _add_tables()
    for name, predicate, columns in PARTIAL_INDEXES:
        where = predicate
        if op.get_bind().dialect.name == "sqlite":
            # Truth values spelt as statements do there: SQLite matches a partial index by the letter.
            for column in ("deferred", "superseded"):
                where = where.replace(f"NOT {column}", f"{column} = 0")
                where = where.removesuffix(column) + f"{column} = 1" if where.endswith(column) else where
        end = f" WHERE {where}" if where else ""
        op.execute(f"CREATE INDEX {name} ON queue_items ({', '.join(columns)}){end}")
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    op.create_index("ix_events_tx_seq", "events", ["tx", "seq"])
    _begin_to_count()
    if op.get_bind().dialect.name == "postgresql":
        # Rows change with every step of every item: clean up early, leave room for HOT updates.
        op.execute(
            "ALTER TABLE queue_items SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, "
            "autovacuum_analyze_scale_factor = 0.02)"
        )
        op.execute("ALTER TABLE item_count_changes SET (autovacuum_vacuum_scale_factor = 0.02)")


def _extend_tables() -> None:
    false = "false" if op.get_bind().dialect.name == "postgresql" else "0"
    op.drop_index("ix_queue_items_due", "queue_items")
    op.execute("ALTER TABLE queue_items ADD COLUMN queue VARCHAR(60) DEFAULT 'documents' NOT NULL")
    op.execute("ALTER TABLE queue_items ADD COLUMN turn BIGINT DEFAULT 0 NOT NULL")
    op.execute(f"ALTER TABLE queue_items ADD COLUMN superseded BOOLEAN DEFAULT {false} NOT NULL")
    op.execute(
        f"ALTER TABLE queue_items ADD COLUMN deferred BOOLEAN DEFAULT {false} NOT NULL "
        "CONSTRAINT ck_queue_items_deferred CHECK (NOT deferred OR status = 'pending')"
    )
    op.execute(
        "UPDATE queue_items SET deferred = (1 = 1) WHERE status = 'pending' AND due_at > CURRENT_TIMESTAMP"
    )
    op.execute(
        "UPDATE queue_items SET superseded = (1 = 1) WHERE EXISTS (SELECT 1 FROM queue_items AS newer "
        "WHERE newer.document_id = queue_items.document_id AND (newer.created_at > queue_items.created_at "
        "OR (newer.created_at = queue_items.created_at AND newer.id > queue_items.id)))"
    )
    op.add_column("attempts", sa.Column("peak_memory_bytes", sa.BigInteger()))
    op.add_column("artifacts", sa.Column("item_id", UUID))
    op.add_column("artifacts", sa.Column("attempt", sa.Integer()))
    op.add_column("artifacts", sa.Column("lease_id", sa.String(32)))
    op.add_column("events", sa.Column("lease_id", sa.String(32)))
    op.add_column("events", sa.Column("tx", sa.BigInteger(), nullable=False, server_default="0"))
    if op.get_bind().dialect.name == "postgresql":
        # Events of before keep 0: whoever reads by transaction sees them first, in their order.
        op.execute("ALTER TABLE events ALTER COLUMN tx SET DEFAULT (pg_current_xact_id()::text::bigint)")
    op.add_column("workers", sa.Column("queue", sa.String(60), nullable=False, server_default="documents"))


def _add_tables() -> None:
    op.create_table(
        "queues",
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("paused_at", INSTANT),
        sa.Column("paused_by", sa.String(80)),
        sa.Column("pause_reason", sa.String(500)),
    )
    op.create_table(
        "slots",
        sa.Column("key", sa.String(120), primary_key=True),
        sa.Column("item_id", UUID, sa.ForeignKey("queue_items.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_slots_item_id", "slots", ["item_id"])
    op.create_table(
        "throttles",
        sa.Column("key", sa.String(120), primary_key=True),
        sa.Column("until", INSTANT, nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
    )
    op.create_table(
        "usage",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("item_id", UUID, nullable=False),
        sa.Column("document_id", UUID, nullable=False),
        sa.Column("owner_id", UUID),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_id", sa.String(32), nullable=False),
        sa.Column("stage", sa.String(40), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    op.create_index("ix_usage_item_id", "usage", ["item_id"])
    op.create_index("ix_usage_owner_id_at", "usage", ["owner_id", "at"])
    op.create_table(
        "item_counts",
        sa.Column("bucket", sa.String(20), primary_key=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "item_count_changes",
        sa.Column("id", BIG_ID, primary_key=True, autoincrement=True),
        sa.Column("bucket", sa.String(20), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("owner_id", UUID, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("locked_until", INSTANT, nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.JSON()),
        sa.Column("body", sa.JSON()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("(status IS NULL) = (body IS NULL)", name="ck_idempotency_keys_answered"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "bulk_operations",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("requested_by", sa.String(80), nullable=False),
        sa.Column("owner_id", UUID, sa.ForeignKey("users.id", ondelete="CASCADE")),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("matching", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.CheckConstraint(
            "kind IN ('retry', 'cancel', 'change_priority', 'delete')", name="ck_bulk_operations_kind"
        ),
        sa.CheckConstraint("state IN ('running', 'completed', 'cancelled')", name="ck_bulk_operations_state"),
        sa.CheckConstraint(
            "(state = 'running') = (finished_at IS NULL)", name="ck_bulk_operations_finished_at"
        ),
    )
    op.create_index("ix_bulk_operations_state_created_at", "bulk_operations", ["state", "created_at"])
    op.create_index("ix_bulk_operations_owner_id_created_at", "bulk_operations", ["owner_id", "created_at"])
    op.create_table(
        "unreferenced_bytes",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("since", INSTANT, nullable=False),
    )
    op.create_index("ix_unreferenced_bytes_since", "unreferenced_bytes", ["since"])


# The bucket that a row is counted in; {0} is the row. The SQL twin of jobs.states.label, by what is stored.
BUCKET = """CASE {0}.status
    WHEN 'pending' THEN CASE WHEN NOT {0}.deferred THEN 'waiting'
        WHEN {0}.failures + {0}.crashes > 0 THEN 'retrying' ELSE 'scheduled' END
    WHEN 'failed' THEN CASE WHEN {0}.error_code = 'quarantined' THEN 'quarantined' ELSE 'failed' END
    ELSE {0}.status END"""


def _begin_to_count() -> None:
    op.execute(
        f"INSERT INTO item_counts (bucket, amount) SELECT {BUCKET.format('queue_items')}, count(*) "
        "FROM queue_items GROUP BY 1"
    )
    op.execute(
        "INSERT INTO item_counts (bucket, amount) "
        "SELECT 'purged', coalesce((SELECT value FROM tallies WHERE name = 'purged'), 0)"
    )
    op.execute(
        "INSERT INTO item_counts (bucket, amount) SELECT 'accepted', (SELECT count(*) FROM queue_items) + "
        "(SELECT amount FROM item_counts WHERE bucket = 'purged')"
    )
    op.drop_table("tallies")
    if op.get_bind().dialect.name == "postgresql":
        _count_on_postgresql()
    else:
        _count_on_sqlite()


def _count_on_postgresql() -> None:
    changes = {
        "insert": f"""
            SELECT {BUCKET.format("new_rows")} AS bucket, 1 AS amount FROM new_rows
            UNION ALL SELECT 'accepted', 1 FROM new_rows""",
        "update": f"""
            SELECT {BUCKET.format("new_rows")} AS bucket, 1 AS amount FROM new_rows
            UNION ALL SELECT {BUCKET.format("old_rows")}, -1 FROM old_rows""",
        "delete": f"""
            SELECT {BUCKET.format("old_rows")} AS bucket, -1 AS amount FROM old_rows
            UNION ALL SELECT 'purged', 1 FROM old_rows""",
    }
    tables = {
        "insert": "NEW TABLE AS new_rows",
        "update": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "delete": "OLD TABLE AS old_rows",
    }
    for event, rows in changes.items():
        op.execute(
            f"""CREATE OR REPLACE FUNCTION docqueue_count_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO item_count_changes (bucket, amount)
                SELECT bucket, sum(amount) FROM ({rows}) AS changed GROUP BY bucket HAVING sum(amount) <> 0;
                RETURN NULL;
            END $$"""
        )
        op.execute(
            f"CREATE TRIGGER docqueue_count_{event} AFTER {event.upper()} ON queue_items "
            f"REFERENCING {tables[event]} FOR EACH STATEMENT EXECUTE FUNCTION docqueue_count_{event}()"
        )


def _count_on_sqlite() -> None:
    add = (
        "INSERT INTO item_counts (bucket, amount) VALUES ({0}, {1}) "
        "ON CONFLICT (bucket) DO UPDATE SET amount = amount + {1};"
    )
    new, old = BUCKET.format("NEW"), BUCKET.format("OLD")
    op.execute(
        "CREATE TRIGGER docqueue_count_insert AFTER INSERT ON queue_items BEGIN "
        f"{add.format(new, 1)} {add.format(repr('accepted'), 1)} END"
    )
    op.execute(
        "CREATE TRIGGER docqueue_count_update "
        "AFTER UPDATE OF status, deferred, failures, crashes, error_code "
        f"ON queue_items WHEN {new} <> {old} BEGIN {add.format(old, -1)} {add.format(new, 1)} END"
    )
    op.execute(
        "CREATE TRIGGER docqueue_count_delete AFTER DELETE ON queue_items BEGIN "
        f"{add.format(old, -1)} {add.format(repr('purged'), 1)} END"
    )
