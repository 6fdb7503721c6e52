"""Child documents: what was taken out of mails and archives.

Revision: 0008
Follows: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.Uuid(as_uuid=False)
    op.create_table(
        "child_documents",
        sa.Column("document_id", key, nullable=False),
        sa.Column("parent_id", key, nullable=False),
        sa.Column("root_id", key, nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("document_id", name="pk_child_documents"),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], "fk_child_documents_document_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["documents.id"], "fk_child_documents_parent_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("depth > 0", name="ck_child_documents_depth"),
    )
    op.create_index("uq_child_documents_position", "child_documents", ["parent_id", "position"], unique=True)
    op.create_index("ix_child_documents_root_id", "child_documents", ["root_id"])
