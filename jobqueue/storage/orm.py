"""Tables of the job queue.

Invariants: rows never leave the worker thread of their session (services return models); events are
only ever appended; their sequence numbers grow with the order of commits, for one thread writes.
Processors are whole thousandths of a core, so that sums are exact.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
)
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
        Index("ix_jobs_origin", "origin"),
        Index("ix_jobs_owner_state_id", "owner", "state", "id"),
        Index("ix_jobs_owner_avi_id", "owner", "avi", "id"),
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
    # none in rows from before permissions were asked for: nothing is granted then
    permissions: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    memory: Mapped[int] = mapped_column(BigInteger)
    millicpu: Mapped[int] = mapped_column(Integer)
    archive: Mapped[int] = mapped_column(Integer, default=0)
    time_limit: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    losses: Mapped[int] = mapped_column(Integer, default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    product: Mapped[str | None] = mapped_column(Text)
    outputs: Mapped[dict[str, Any]]
    # kind and id of what it was made from, joined by a colon: looked for as a whole
    origin: Mapped[str | None] = mapped_column(String(64))
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
    slots: Mapped[int] = mapped_column(Integer, default=1)
    archive: Mapped[int] = mapped_column(Integer, default=0)
    title: Mapped[str] = mapped_column(String(200))
    created: Mapped[datetime]
    # when it ends by itself; empty: never
    expires: Mapped[datetime | None]


class OwnerRow(Base):
    """What is known of a user: the last roles, and the decaying mean of what was held.

    The means are in the ledger's units (bytes, millicores, slots, queries) at the time `used_at`;
    see :mod:`jobqueue.services.usage`.
    """

    __tablename__ = "owners"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    roles: Mapped[dict[str, Any]]
    mean_memory: Mapped[float] = mapped_column(Float, default=0.0)
    mean_millicpu: Mapped[float] = mapped_column(Float, default=0.0)
    mean_slots: Mapped[float] = mapped_column(Float, default=0.0)
    mean_archive: Mapped[float] = mapped_column(Float, default=0.0)
    used_at: Mapped[datetime | None]


class PoolRow(Base):
    """A limit that an operator set for a role or a user; an empty dimension follows the wider rule."""

    __tablename__ = "pools"

    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    memory: Mapped[int | None] = mapped_column(BigInteger)
    millicpu: Mapped[int | None] = mapped_column(Integer)
    slots: Mapped[int | None] = mapped_column(Integer)
    archive: Mapped[int | None] = mapped_column(Integer)
    updated: Mapped[datetime]


class RunTimeRow(Base):
    """How long the last successful runs of a pipeline took, seconds, the newest last."""

    __tablename__ = "run_times"

    avi: Mapped[str] = mapped_column(String(130), primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(64), primary_key=True)
    runs: Mapped[int] = mapped_column(Integer)
    recent: Mapped[dict[str, Any]]
    updated: Mapped[datetime]


class SettingRow(Base):
    """What operators chose while the queue was running, such as the scheduler."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]]


class AuditRow(Base):
    """One thing an operator changed; only ever appended."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    time: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(255))
    before: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class ScheduleRow(Base):
    """A recurring submission; `next_due` is empty while it is paused."""

    __tablename__ = "schedules"
    __table_args__ = (
        Index("ix_schedules_owner_id", "owner", "id"),
        Index("ix_schedules_next_due", "next_due"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(String(200))
    submission: Mapped[dict[str, Any]]
    cron: Mapped[str] = mapped_column(String(100))
    timezone: Mapped[str] = mapped_column(String(64))
    overlap: Mapped[str] = mapped_column(String(16))
    next_due: Mapped[datetime | None]
    last_due: Mapped[datetime | None]
    last_job: Mapped[str | None] = mapped_column(String(36))
    last_message: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime]


class PermitRow(Base):
    """What a user grants an AVI, as the portal last said; without a row, nothing."""

    __tablename__ = "permits"

    owner: Mapped[str] = mapped_column(String(255), primary_key=True)
    avi: Mapped[str] = mapped_column(String(130), primary_key=True)
    granted: Mapped[dict[str, Any]]
    updated: Mapped[datetime]


class DeliveryRow(Base):
    """One notification of one job, made with the job, so that none is forgotten whatever crashes."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_job_id", "job_id"),
        Index("ix_deliveries_state", "state"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(Text)
    states: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    tries: Mapped[int] = mapped_column(Integer, default=0)
    status: Mapped[int | None] = mapped_column(Integer)
    message: Mapped[str] = mapped_column(Text, default="")
    next_try: Mapped[datetime | None]
    delivered: Mapped[datetime | None]
