"""Pools, owners, run times, settings and audit; slots and archive queries as dimensions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("archive", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_jobs_owner_state_id", "jobs", ["owner", "state", "id"])
    op.create_index("ix_jobs_owner_avi_id", "jobs", ["owner", "avi", "id"])
    for name, default in (("slots", "1"), ("archive", "0")):
        op.add_column(
            "reservations", sa.Column(name, sa.Integer(), nullable=False, server_default=default)
        )
    op.create_table(
        "owners",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("mean_memory", sa.Float(), nullable=False),
        sa.Column("mean_millicpu", sa.Float(), nullable=False),
        sa.Column("mean_slots", sa.Float(), nullable=False),
        sa.Column("mean_archive", sa.Float(), nullable=False),
        sa.Column("used_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("name", name="pk_owners"),
    )
    op.create_table(
        "pools",
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("memory", sa.BigInteger()),
        sa.Column("millicpu", sa.Integer()),
        sa.Column("slots", sa.Integer()),
        sa.Column("archive", sa.Integer()),
        sa.Column("updated", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_pools"),
    )
    op.create_table(
        "run_times",
        sa.Column("avi", sa.String(130), nullable=False),
        sa.Column("pipeline", sa.String(64), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("recent", sa.JSON(), nullable=False),
        sa.Column("updated", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("avi", "pipeline", name="pk_run_times"),
    )
    op.create_table(
        "settings",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_settings"),
    )
    op.create_table(
        "audit",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("before", sa.JSON()),
        sa.Column("after", sa.JSON()),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("audit", "settings", "run_times", "pools", "owners"):
        op.drop_table(table)
    for name in ("archive", "slots"):
        op.drop_column("reservations", name)
    op.drop_index("ix_jobs_owner_avi_id", "jobs")
    op.drop_index("ix_jobs_owner_state_id", "jobs")
    op.drop_column("jobs", "archive")
