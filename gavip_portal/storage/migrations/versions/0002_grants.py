"""What users grant AVIs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "grants",
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("avi", sa.String(130), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("first_release", sa.String(64), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("change", sa.String(36), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "avi", name="pk_grants"),
    )
    op.create_index("ix_grants_settled", "grants", ["settled"])
    op.create_table(
        "grant_events",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("avi", sa.String(130), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("release", sa.String(64), nullable=True),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grant_events"),
    )
    op.create_index("ix_grant_events_owner_id", "grant_events", ["owner", "id"])


def downgrade() -> None:
    op.drop_table("grant_events")
    op.drop_table("grants")
