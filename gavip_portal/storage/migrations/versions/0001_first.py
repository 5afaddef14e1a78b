"""Projects, releases, instances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(63), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("owner", "name", name="uq_projects_owner"),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(36), nullable=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("views", sa.JSON(), nullable=False),
        sa.Column("readme", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_releases"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_releases_project_id_projects"
        ),
        sa.UniqueConstraint("project_id", "version", name="uq_releases_project_id"),
    )
    op.create_index("ix_releases_sha", "releases", ["sha"])
    op.create_index("ix_releases_project_id_created", "releases", ["project_id", "created"])
    op.create_table(
        "instances",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("owner_roles", sa.JSON(), nullable=False),
        sa.Column("technical_user", sa.String(64), nullable=False),
        sa.Column("avi", sa.String(130), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("view", sa.String(64), nullable=False),
        sa.Column("notebook", sa.String(1024), nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("stopped", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint("technical_user", name="uq_instances_technical_user"),
    )
    op.create_index("ix_instances_owner_state", "instances", ["owner", "state"])


def downgrade() -> None:
    op.drop_table("instances")
    op.drop_table("releases")
    op.drop_table("projects")
