"""Appending to and reading the history of jobs."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gavip_api.enums import EventKind, JobState
from gavip_api.models import JobEvent, Progress, utcnow

from .orm import EventRow, JobRow


def append(session: Session, job: JobRow, kind: EventKind, message: str = "") -> None:
    """Append what the job is now to its history."""
    session.add(
        EventRow(
            job_id=job.id,
            owner=job.owner,
            time=utcnow(),
            kind=kind.value,
            state=job.state,
            progress=job.progress,
            message=message,
        )
    )
    session.flush()


def of_job(session: Session, job_id: str, after: int, limit: int = 500) -> list[JobEvent]:
    """Return the events of a job after sequence number `after`, oldest first."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.seq > after)
    return [_model(row) for row in session.scalars(query.order_by(EventRow.seq).limit(limit))]


def of_owner(session: Session, owner: str, after: int, limit: int = 500) -> list[JobEvent]:
    """Return the events of all jobs of `owner` after `after`, oldest first."""
    query = select(EventRow).where(EventRow.owner == owner, EventRow.seq > after)
    return [_model(row) for row in session.scalars(query.order_by(EventRow.seq).limit(limit))]


def latest(session: Session) -> int:
    """Return the newest sequence number, 0 when there is none."""
    return session.scalar(select(func.max(EventRow.seq))) or 0


def _model(row: EventRow) -> JobEvent:
    return JobEvent(
        seq=row.seq,
        job=row.job_id,
        time=row.time,
        kind=EventKind(row.kind),
        state=JobState(row.state),
        progress=Progress.model_validate(row.progress),
        message=row.message,
    )
