"""Batches: when an item of a worker's batch began to run.

Revision: 0003
Follows: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STARTED = "CONSTRAINT ck_queue_items_started_at CHECK (started_at IS NULL OR status = 'in_progress')"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE queue_items ADD COLUMN started_at timestamptz")
        op.execute(f"ALTER TABLE queue_items ADD {STARTED}")
    else:
        op.execute(f"ALTER TABLE queue_items ADD COLUMN started_at DATETIME {STARTED}")
    # What runs while the schema changes was claimed by the program before, which claimed one at a time.
    op.execute("UPDATE queue_items SET started_at = updated_at WHERE status = 'in_progress'")
