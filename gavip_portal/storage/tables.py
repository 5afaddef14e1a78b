"""Tables of the portal.

Invariants: a release never changes but for its ``public`` flag; an instance's owner and AVI never
change; times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from gavip_web.database import UtcDateTime

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all tables; constraints are named so that migrations can refer to them."""

    metadata = MetaData(naming_convention=NAMING)


class Project(Base):
    """An AVI's repository and what is the same for all its releases."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("owner", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(63))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    releases: Mapped[list[ReleaseRow]] = relationship(back_populates="project")


class ReleaseRow(Base):
    """One commit that was offered, with what the catalogue shows of it."""

    __tablename__ = "releases"
    __table_args__ = (
        UniqueConstraint("project_id", "version"),
        Index("ix_releases_project_id_created", "project_id", "created"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    sha: Mapped[str] = mapped_column(String(64), index=True)
    version: Mapped[str] = mapped_column(String(64))
    public: Mapped[bool]
    notes: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    views: Mapped[list[Any]] = mapped_column(JSON)
    readme: Mapped[str] = mapped_column(Text, default="")
    project: Mapped[Project] = relationship(back_populates="releases", lazy="joined")


class InstanceRow(Base):
    """One running AVI interface, of one user, served for one technical hub user."""

    __tablename__ = "instances"
    __table_args__ = (Index("ix_instances_owner_state", "owner", "state"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    owner_roles: Mapped[list[Any]] = mapped_column(JSON, default=list)
    technical_user: Mapped[str] = mapped_column(String(64), unique=True)
    avi: Mapped[str] = mapped_column(String(130))
    title: Mapped[str] = mapped_column(String(200))
    view: Mapped[str] = mapped_column(String(64))
    notebook: Mapped[str] = mapped_column(String(1024))
    release: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text, default="")
    hint: Mapped[str] = mapped_column(Text, default="")
    progress: Mapped[int] = mapped_column(default=0)
    url: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    stopped: Mapped[datetime | None] = mapped_column(UtcDateTime)


class GrantRow(Base):
    """What a user grants an AVI now; kept with ``active`` off after a revocation until all parts know of it."""

    __tablename__ = "grants"
    __table_args__ = (Index("ix_grants_settled", "settled"),)

    owner: Mapped[str] = mapped_column(String(255), primary_key=True)
    avi: Mapped[str] = mapped_column(String(130), primary_key=True)
    active: Mapped[bool]
    permissions: Mapped[dict[str, Any]] = mapped_column(JSON)
    first_release: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(UtcDateTime)
    # id of the last event: whoever settles an older state does not mark a newer one
    change: Mapped[str] = mapped_column(String(36))
    settled: Mapped[bool]


class GrantEventRow(Base):
    """One grant or revocation; only ever appended. A UUIDv7, so ids sort by time."""

    __tablename__ = "grant_events"
    __table_args__ = (Index("ix_grant_events_owner_id", "owner", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    avi: Mapped[str] = mapped_column(String(130))
    action: Mapped[Literal["granted", "revoked"]] = mapped_column(String(16))
    permissions: Mapped[dict[str, Any]] = mapped_column(JSON)
    release: Mapped[str | None] = mapped_column(String(64))
    time: Mapped[datetime] = mapped_column(UtcDateTime)
