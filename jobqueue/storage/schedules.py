"""Queries on schedules."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gavip_api.enums import JobState, OriginKind
from gavip_api.errors import NotFound

from .orm import JobRow, ScheduleRow


def get(session: Session, schedule_id: str) -> ScheduleRow:
    """Return a schedule.

    Raises
    ------
    NotFound
        If there is none.
    """
    row = session.get(ScheduleRow, schedule_id)
    if row is None:
        raise NotFound("There is no such schedule.", hint="It may have been deleted.")
    return row


def find(
    session: Session, owner: str | None, avi: str | None, before: str | None, limit: int
) -> list[ScheduleRow]:
    """Return at most `limit` schedules, newest first; what is None narrows nothing."""
    query = select(ScheduleRow)
    if owner is not None:
        query = query.where(ScheduleRow.owner == owner)
    if avi is not None:
        query = query.where(ScheduleRow.submission["avi"].as_string() == avi)
    if before is not None:
        query = query.where(ScheduleRow.id < before)
    return list(session.scalars(query.order_by(ScheduleRow.id.desc()).limit(limit)))


def count(session: Session, owner: str) -> int:
    """Return how many schedules a user has."""
    query = select(func.count()).select_from(ScheduleRow).where(ScheduleRow.owner == owner)
    return session.scalar(query) or 0


def due(session: Session, now: datetime, limit: int) -> list[str]:
    """Return the ids of schedules that are due at `now`, the longest overdue first."""
    query = select(ScheduleRow.id).where(ScheduleRow.next_due <= now)
    return list(session.scalars(query.order_by(ScheduleRow.next_due).limit(limit)))


def next_due(session: Session) -> datetime | None:
    """Return when the next schedule is due, or None."""
    query = select(ScheduleRow.next_due).where(ScheduleRow.next_due.is_not(None))
    return session.scalar(query.order_by(ScheduleRow.next_due).limit(1))


def unfinished(session: Session, schedule_id: str) -> list[JobState]:
    """Return the states of those of its jobs that are not over."""
    query = select(JobRow.state).where(
        JobRow.origin == f"{OriginKind.SCHEDULE}:{schedule_id}", JobRow.ended.is_(None)
    )
    return [JobState(state) for state in session.scalars(query)]
