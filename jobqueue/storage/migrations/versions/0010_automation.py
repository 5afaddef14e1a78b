"""Schedules, deliveries, and what a job was made from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("origin", sa.String(64)))
    op.create_index("ix_jobs_origin", "jobs", ["origin"])
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("submission", sa.JSON(), nullable=False),
        sa.Column("cron", sa.String(100), nullable=False),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("overlap", sa.String(16), nullable=False),
        sa.Column("next_due", sa.DateTime()),
        sa.Column("last_due", sa.DateTime()),
        sa.Column("last_job", sa.String(36)),
        sa.Column("last_message", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
    )
    op.create_index("ix_schedules_owner_id", "schedules", ["owner", "id"])
    op.create_index("ix_schedules_next_due", "schedules", ["next_due"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("states", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("next_try", sa.DateTime()),
        sa.Column("delivered", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_deliveries_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_deliveries_job_id", "deliveries", ["job_id"])
    op.create_index("ix_deliveries_state", "deliveries", ["state"])


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("schedules")
    op.drop_index("ix_jobs_origin", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("origin")
