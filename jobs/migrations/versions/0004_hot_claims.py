"""Claims that rewrite no index: segments, the table of claims, attempts without indexes but their key.

Revision: 0004
Follows: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SEGMENT = (
    "CASE WHEN status IN ('pending', 'in_progress') THEN CASE WHEN NOT deferred THEN 'open' "
    "WHEN failures + crashes > 0 THEN 'retrying' ELSE 'scheduled' END "
    "WHEN status = 'failed' AND error_code = 'quarantined' THEN 'quarantined' ELSE status END"
)
OWNED = "owner_id IS NOT NULL"
OPEN = "segment IN ('open', 'scheduled', 'retrying')"
INDEXES = (
    ("INDEX ix_queue_items_line", "segment = 'open'", "queue, priority DESC, turn, id"),
    ("INDEX ix_queue_items_oldest", "segment = 'open'", "queue, due_at, id"),
    ("INDEX ix_queue_items_deferred", "deferred", "due_at, id"),
    ("INDEX ix_queue_items_turns", OPEN, "queue, owner_id, priority DESC, turn, id"),
    ("INDEX ix_queue_items_ended", "finished_at IS NOT NULL", "segment, finished_at, id"),
    ("INDEX ix_queue_items_newest", "", "segment, superseded, created_at, id"),
    ("INDEX ix_queue_items_newest_of_owner", OWNED, "owner_id, segment, superseded, created_at, id"),
    ("INDEX ix_queue_items_soonest", "deferred", "segment, superseded, due_at, id"),
    (
        "INDEX ix_queue_items_soonest_of_owner",
        f"{OWNED} AND deferred",
        "owner_id, segment, superseded, due_at, id",
    ),
    ("UNIQUE INDEX uq_queue_items_open", OPEN, "document_id, operation"),
)
GONE = ("ix_queue_items_leases", "ix_queue_items_of_owner", "ix_queue_items_status_created_at_id")
ATTEMPT_COLUMNS = (
    "item_id, attempt, lease_id, worker, host, pid, started_at, ended_at, outcome, stage, error_code, "
    "error_message, traceback, peak_memory_bytes"
)


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    for name in (*GONE, *(index.rpartition(" ")[2] for index, _, _ in INDEXES)):
        op.execute(f"DROP INDEX {name}")
    op.execute(
        f"ALTER TABLE queue_items ADD COLUMN segment VARCHAR(12) GENERATED ALWAYS AS ({SEGMENT}) "
        + ("STORED" if postgres else "VIRTUAL")
    )
    for index, predicate, columns in INDEXES:
        where = f" WHERE {predicate}" if predicate else ""
        if not postgres and predicate.endswith("deferred"):
            # SQLite matches a partial index by the letter: truth values are spelt as statements do there.
            where += " = 1"
        op.execute(f"CREATE {index} ON queue_items ({columns}){where}")
    _add_claims(postgres=postgres)
    if postgres:
        op.execute("DROP INDEX uq_attempts_open")
        op.execute("DROP INDEX ix_attempts_ended_at")
        op.execute("ALTER TABLE attempts DROP CONSTRAINT fk_attempts_item_id")
        # Half of a page is left for what claims write beside the rows they found.
        op.execute(
            "ALTER TABLE queue_items SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, "
            "autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)"
        )
        op.execute("ALTER TABLE attempts SET (fillfactor = 50, autovacuum_vacuum_cost_delay = 0)")
        op.execute(
            "ALTER TABLE claims SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, "
            "autovacuum_vacuum_cost_delay = 0)"
        )
    else:
        _rebuild_attempts()


def _add_claims(*, postgres: bool) -> None:
    ids, instant = ("UUID[]", "TIMESTAMP WITH TIME ZONE") if postgres else ("TEXT", "DATETIME")
    op.execute(
        f"""CREATE TABLE claims (
            lease_id VARCHAR(32) NOT NULL CONSTRAINT pk_claims PRIMARY KEY,
            worker VARCHAR(120) NOT NULL,
            item_ids {ids} NOT NULL,
            claimed_at {instant} NOT NULL
        )"""
    )
    every = "array_agg(id)" if postgres else "json_group_array(id)"
    op.execute(
        "INSERT INTO claims (lease_id, worker, item_ids, claimed_at) "
        f"SELECT lease_id, min(worker), {every}, min(updated_at) FROM queue_items "
        "WHERE status = 'in_progress' GROUP BY lease_id"
    )


def _rebuild_attempts() -> None:
    """Let go of the foreign key, which SQLite can only do in a new table."""
    op.execute("ALTER TABLE attempts RENAME TO attempts_before")
    op.execute(
        """CREATE TABLE attempts (
            item_id CHAR(32) NOT NULL,
            attempt INTEGER NOT NULL,
            lease_id VARCHAR(32) NOT NULL,
            worker VARCHAR(120) NOT NULL,
            host VARCHAR(255) NOT NULL,
            pid INTEGER NOT NULL,
            started_at DATETIME NOT NULL,
            ended_at DATETIME,
            outcome VARCHAR(20),
            stage VARCHAR(40),
            error_code VARCHAR(60),
            error_message TEXT,
            traceback TEXT,
            peak_memory_bytes BIGINT,
            CONSTRAINT pk_attempts PRIMARY KEY (item_id, attempt),
            CONSTRAINT ck_attempts_ended CHECK ((ended_at IS NULL) = (outcome IS NULL))
        )"""
    )
    op.execute(f"INSERT INTO attempts ({ATTEMPT_COLUMNS}) SELECT {ATTEMPT_COLUMNS} FROM attempts_before")
    op.execute("DROP TABLE attempts_before")
