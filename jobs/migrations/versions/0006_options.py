"""What a sender asks of the reading of a document stands with its item; nothing where all is as usual.

Revision: 0006
Follows: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE queue_items ADD COLUMN options TEXT")
