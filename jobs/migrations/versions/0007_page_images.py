"""Page images: pictures of pages, kept with the artifact that they belong to.

Revision: 0007
Follows: 0006
"""

import sqlalchemy as sa
from alembic import op

from jobs.tables import Id

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "page_images",
        sa.Column("artifact_id", Id, nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("size", sa.String(12), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.String(40), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("artifact_id", "page", "size", name="pk_page_images"),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifacts.id"],
            name="fk_page_images_artifact_id_artifacts",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("page > 0", name="ck_page_images_page"),
        sa.CheckConstraint("size IN ('thumbnail', 'reading')", name="ck_page_images_size"),
    )
    op.create_table(
        "drawing_orders",
        sa.Column("item_id", Id, nullable=False),
        sa.Column("first_page", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_drawing_orders"),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["queue_items.id"],
            name="fk_drawing_orders_item_id_queue_items",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("first_page > 0", name="ck_drawing_orders_first_page"),
    )
