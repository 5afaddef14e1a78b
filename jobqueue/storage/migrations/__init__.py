"""Alembic scripts of the job queue's tables."""
