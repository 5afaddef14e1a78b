"""Alembic's environment of the portal's database."""

from gavip_portal.storage.tables import Base
from gavip_web.database import run_migrations

run_migrations(Base.metadata)
