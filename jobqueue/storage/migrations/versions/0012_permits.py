"""What users grant AVIs, and what each job may do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("permissions", sa.JSON()))
    op.create_table(
        "permits",
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("avi", sa.String(130), nullable=False),
        sa.Column("granted", sa.JSON(), nullable=False),
        sa.Column("updated", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "avi", name="pk_permits"),
    )


def downgrade() -> None:
    op.drop_table("permits")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("permissions")
