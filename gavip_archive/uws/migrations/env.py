"""Alembic's entry point: runs migrations on the connection that :func:`..storage.migrate` hands over."""

from alembic import context

from gavip_archive.uws.storage import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter columns in place
)
with context.begin_transaction():
    context.run_migrations()
