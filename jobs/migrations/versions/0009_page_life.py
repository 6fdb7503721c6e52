"""Pages while they are read: how many are done, and the text that is there so far.

Revision: 0009
Follows: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    op.execute("ALTER TABLE queue_items ADD COLUMN page INTEGER")
    op.execute("ALTER TABLE queue_items ADD COLUMN page_count INTEGER")
    key, packed, instant = (
        ("UUID", "BYTEA", "TIMESTAMP WITH TIME ZONE") if postgres else ("CHAR(32)", "BLOB", "DATETIME")
    )
    op.execute(
        f"""CREATE TABLE partial_results (
            item_id {key} NOT NULL CONSTRAINT pk_partial_results PRIMARY KEY,
            attempt INTEGER NOT NULL,
            lease_id VARCHAR(32) NOT NULL,
            page INTEGER NOT NULL,
            page_count INTEGER NOT NULL,
            body {packed} NOT NULL,
            updated_at {instant} NOT NULL,
            CONSTRAINT fk_partial_results_item_id FOREIGN KEY (item_id) REFERENCES queue_items (id)
                ON DELETE CASCADE
        )"""
    )
