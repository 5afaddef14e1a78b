"""Tables of the job queue.

Invariants: rows never leave the worker thread of their session (services return models); events are
only ever appended; their sequence numbers grow with the order of commits, for one thread writes.
Processors are whole thousandths of a core, so that sums are exact.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gavip_web.database import UtcDateTime


class Base(DeclarativeBase):
    """Declarative base with named constraints, which migrations need to refer to."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, datetime: UtcDateTime}


class JobRow(Base):
    """A job. Its id is a UUIDv7, so ids sort by submission."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_id", "state", "id"),
        Index("ix_jobs_owner_id", "owner", "id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    owner_profile: Mapped[dict[str, Any]]
    avi: Mapped[str] = mapped_column(String(130))
    release: Mapped[str] = mapped_column(String(64))
    template: Mapped[str] = mapped_column(String(16))
    pipeline: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(200))
    spec: Mapped[dict[str, Any]]
    parameters: Mapped[dict[str, Any]]
    memory: Mapped[int] = mapped_column(BigInteger)
    millicpu: Mapped[int] = mapped_column(Integer)
    time_limit: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    losses: Mapped[int] = mapped_column(Integer, default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    product: Mapped[str | None] = mapped_column(Text)
    outputs: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)


class AttemptRow(Base):
    """One try to run a job; an older one is fenced as soon as a newer exists."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64))
    product: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))


class EventRow(Base):
    """One line of a job's history."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_job_id_seq", "job_id", "seq"),
        Index("ix_events_owner_seq", "owner", "seq"),
        # without it SQLite gives the numbers of deleted events to new ones, and readers miss those
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    owner: Mapped[str] = mapped_column(String(255))
    time: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    progress: Mapped[dict[str, Any]]
    message: Mapped[str] = mapped_column(Text)


class ReservationRow(Base):
    """A granted line of the ledger; what is not granted is not stored."""

    __tablename__ = "reservations"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    memory: Mapped[int] = mapped_column(BigInteger)
    millicpu: Mapped[int] = mapped_column(Integer)
    title: Mapped[str] = mapped_column(String(200))
    created: Mapped[datetime]
