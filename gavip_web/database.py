"""Databases of the services: SQLite and PostgreSQL through SQLAlchemy, migrated by alembic, used off the loop.

Invariants: the event loop never waits for a database; a write transaction takes a lock when it
begins, so that writes are serial whoever sends them (on SQLite its own: a deferred transaction that
upgrades fails at once with "database is locked", whatever the time-out, see
sqlite.org/isolation.html; on PostgreSQL an advisory lock); a reader sees one state throughout
(PostgreSQL: REPEATABLE READ); nobody waits for a lock longer than :data:`BUSY_SECONDS`, the wait behind
other writers of this process included; what was
committed survives a power cut (``synchronous=FULL``).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import DateTime, Dialect, MetaData, create_engine, event, text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from gavip_api.errors import InvalidInput, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

BUSY_SECONDS = 10
_WRITES = "gavip_writes"
_PATIENCE = "gavip_patience"
_WRITE_LOCK = 0x67617669
"""Key of the advisory lock that a write transaction on PostgreSQL holds; locks are per database."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is timezone-aware UTC in Python and naive UTC in the database (SQLite knows no zones)."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times must be timezone-aware")
        return value.astimezone(timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert to aware UTC."""
        return None if value is None else value.replace(tzinfo=timezone.utc)


def make_engine(url: str) -> Engine:
    """Return an engine for `url`.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://…``.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return _make_postgresql(parsed)
    if parsed.get_backend_name() != "sqlite":
        raise InvalidInput(
            f"The database {parsed.get_backend_name()!r} is not supported.",
            hint="Use sqlite:///file or postgresql+psycopg://user@host/database.",
        )
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_postgresql(url: URL) -> Engine:
    milliseconds = int(BUSY_SECONDS * 1000)
    options = f"-c lock_timeout={milliseconds} -c timezone=UTC"
    if "options" in url.query:
        options = f"{url.query['options']} {options}"
    engine = create_engine(
        url,
        pool_pre_ping=True,
        connect_args={"options": options, "connect_timeout": max(2, BUSY_SECONDS)},
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES, True):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_patience(connection)}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # the driver's own transaction handling is off: it begins late and commits behind our back
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, True)
    if writes:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_patience(connection)}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _patience(connection: Connection) -> int:
    """Return the milliseconds that a transaction may still wait for its lock, at least one (0 is for ever)."""
    seconds = connection.get_execution_options().get(_PATIENCE, BUSY_SECONDS)
    return max(1, int(seconds * 1000))


def upgrade(engine: Engine, migrations: Path, revision: str = "head") -> None:
    """Bring the schema to `revision` with the alembic scripts in `migrations`.

    Parameters
    ----------
    engine : Engine
        The database.
    migrations : Path
        Folder with ``env.py`` (which calls :func:`run_migrations`) and ``versions/``.
    revision : str
        Target revision.
    """
    with engine.connect() as connection:
        command.upgrade(_alembic(connection, migrations), revision)


def downgrade(engine: Engine, migrations: Path, revision: str) -> None:
    """Take the schema back to `revision`; see :func:`upgrade`."""
    with engine.connect() as connection:
        command.downgrade(_alembic(connection, migrations), revision)


def _alembic(connection: Connection, migrations: Path) -> Config:
    config = Config()
    # alembic interpolates % in options
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def run_migrations(metadata: MetaData) -> None:
    """Run alembic inside a package's ``env.py``, on the connection :func:`upgrade` passed.

    Parameters
    ----------
    metadata : MetaData
        The package's tables, for autogeneration.
    """
    from alembic import context

    connection: Connection | None = context.config.attributes.get("connection")
    if connection is None:
        # `alembic revision --autogenerate -x url=…` on a developer's machine
        url = context.get_x_argument(as_dictionary=True).get("url", "sqlite://")
        connection = make_engine(url).connect()
    with connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


class Database:
    """Runs functions on a session in worker threads.

    Parameters
    ----------
    engine : Engine
        From :func:`make_engine`.
    readers : int
        Threads for reading; writing has one (there is a single writer at a time anyhow, and a queue
        is fairer than a busy loop).
    """

    def __init__(self, engine: Engine, readers: int = 4) -> None:
        self.engine = engine
        self._writers = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="db-read")
        options: dict[str, Any] = {_WRITES: False}
        if engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        self._read_engine = engine.execution_options(**options)

    @property
    def url(self) -> URL:
        """Address of the database."""
        return self.engine.url

    async def write(
        self,
        function: Callable[Concatenate[Session, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function` on a session in one transaction and return its result after the commit.

        Writes are serial, those of several processes on one database too.

        Raises
        ------
        Unavailable
            If the database is locked, full or gone; nothing was stored then.
        """
        return await self._run(self._writers, self.engine, function, *args, **kwargs)

    async def read(
        self,
        function: Callable[Concatenate[Session, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function` on a session that sees one consistent state and stores nothing."""
        return await self._run(self._readers, self._read_engine, function, *args, **kwargs)

    async def _run(
        self,
        pool: ThreadPoolExecutor,
        engine: Engine,
        function: Callable[Concatenate[Session, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        deadline = time.monotonic() + BUSY_SECONDS

        def work() -> T:
            # behind writers that all wait for a lock, each would add its own wait to that of the next
            patience = {_PATIENCE: deadline - time.monotonic()}
            try:
                with Session(engine, expire_on_commit=False) as session, session.begin():
                    session.connection(execution_options=patience)
                    return function(session, *args, **kwargs)
            except OperationalError as e:
                # the driver's words may hold statements and values: they go to the log as the cause
                raise Unavailable(
                    "The database does not answer.",
                    hint="Nothing was stored; try again in a moment.",
                ) from e

        # the request id of logs travels with the context
        context = contextvars.copy_context()
        call = functools.partial(context.run, work)
        # a caller that goes away does not stop a transaction half-way
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, call))

    async def check(self) -> None:
        """Raise :class:`Unavailable` unless the database answers."""
        await self.read(lambda session: session.execute(text("SELECT 1")).scalar())

    def close(self) -> None:
        """Finish what runs and let the connections go."""
        self._writers.shutdown()
        self._readers.shutdown()
        self.engine.dispose()
