"""Reservations that end by themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("reservations", sa.Column("expires", sa.DateTime()))


def downgrade() -> None:
    with op.batch_alter_table("reservations") as table:
        table.drop_column("expires")
