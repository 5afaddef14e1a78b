"""Schema changes of the job store, run by alembic."""
