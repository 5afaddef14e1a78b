"""Alembic environment; what it does is in :func:`gavip_web.database.run_migrations`."""

from gavip_web.database import run_migrations
from jobqueue.storage.orm import Base

run_migrations(Base.metadata)
