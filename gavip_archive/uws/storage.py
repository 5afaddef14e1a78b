"""Keeps jobs in SQLite and their files in one folder per job.

Invariants: every change is committed before the method returns; a job's folder exists from its creation to its
deletion; schema changes go through alembic (``migrations``). All methods block: call them in a thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Engine,
    Integer,
    String,
    Text,
    create_engine,
    delete,
    event,
    func,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from .model import Job, Phase


class Base(DeclarativeBase):
    """Declarative base of the job tables."""


class JobRow(Base):
    """A job as stored."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    phase: Mapped[str] = mapped_column(String(16), index=True)
    parameters: Mapped[list[list[str]]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    started: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    destruction: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    execution_duration: Mapped[int] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    content_type: Mapped[str | None] = mapped_column(String(100))
    suffix: Mapped[str | None] = mapped_column(String(16))
    rows: Mapped[int | None] = mapped_column(Integer)
    overflow: Mapped[bool] = mapped_column(Boolean)


_FIELDS = tuple(column.key for column in JobRow.__table__.columns)
_TIMES = ("created", "started", "ended", "destruction")


def _to_job(row: JobRow) -> Job:
    values: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS}
    values["phase"] = Phase(row.phase)
    values["parameters"] = [(name, value) for name, value in row.parameters]
    for name in _TIMES:  # SQLite forgets the time zone
        if values[name] is not None:
            values[name] = values[name].replace(tzinfo=timezone.utc)
    return Job(**values)


def _to_row(job: Job) -> JobRow:
    values = {name: getattr(job, name) for name in _FIELDS}
    values["phase"] = job.phase.value
    values["parameters"] = [list(pair) for pair in job.parameters]
    return JobRow(**values)


class JobStore:
    """The jobs of one state folder.

    Parameters
    ----------
    folder : Path
        Created when missing; holds ``jobs.sqlite`` and ``jobs/``.
    """

    def __init__(self, folder: Path) -> None:
        self._files = folder / "jobs"
        self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._engine = create_engine(f"sqlite:///{folder / 'jobs.sqlite'}")
        event.listen(self._engine, "connect", _set_pragmas)
        migrate(self._engine)

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job's files."""
        return self._files / job_id

    def create(self, job: Job, uploads: dict[str, bytes]) -> None:
        """Store a new job and its inline uploads."""
        self.folder(job.id).mkdir(mode=0o700)
        self.add_uploads(job.id, uploads)
        self.save(job)

    def add_uploads(self, job_id: str, uploads: dict[str, bytes]) -> None:
        """Store inline uploads by table name."""
        for name, content in uploads.items():
            (self.folder(job_id) / f"upload-{name.lower()}.vot").write_bytes(content)

    def uploads(self, job_id: str) -> dict[str, Path]:
        """Return the files of the inline uploads by lower-case table name."""
        found = self.folder(job_id).glob("upload-*.vot")
        return {path.stem.removeprefix("upload-"): path for path in found}

    def save(self, job: Job) -> None:
        """Store a job's present state."""
        with Session(self._engine) as session, session.begin():
            session.merge(_to_row(job))

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None."""
        with Session(self._engine) as session:
            row = session.get(JobRow, job_id)
            return _to_job(row) if row else None

    def count(self) -> int:
        """Return how many jobs are stored."""
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(JobRow)) or 0

    def find(
        self,
        *,
        phases: Iterable[Phase] = (),
        after: datetime | None = None,
        last: int | None = None,
        expired: datetime | None = None,
    ) -> list[Job]:
        """Return jobs, newest first.

        Parameters
        ----------
        phases : iterable of Phase
            Only these; all when empty.
        after : datetime, optional
            Only jobs created later.
        last : int, optional
            Only the newest so many.
        expired : datetime, optional
            Only jobs to be destroyed by then.
        """
        query = select(JobRow).order_by(JobRow.created.desc(), JobRow.id.desc())
        wanted = [phase.value for phase in phases]
        if wanted:
            query = query.where(JobRow.phase.in_(wanted))
        if after is not None:
            query = query.where(JobRow.created > after)
        if expired is not None:
            query = query.where(JobRow.destruction <= expired)
        if last is not None:
            query = query.limit(last)
        with Session(self._engine) as session:
            return [_to_job(row) for row in session.scalars(query)]

    def delete(self, job_id: str) -> None:
        """Forget a job and its files; deleting twice is no error."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(JobRow).where(JobRow.id == job_id))
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def prune(self) -> None:
        """Remove folders without a job: what a crash between creating the folder and storing the job leaves."""
        with Session(self._engine) as session:
            known = set(session.scalars(select(JobRow.id)))
        for folder in self._files.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()


def _set_pragmas(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
    cursor.execute(
        "PRAGMA synchronous = NORMAL"
    )  # safe against a killed process; a power cut may lose the last commit
    cursor.close()


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
