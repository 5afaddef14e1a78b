"""Queries on notifications."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from gavip_api.enums import DeliveryState, JobState
from gavip_api.slugs import new_id

from .orm import DeliveryRow, JobRow


def make(job_id: str, url: str, states: list[JobState]) -> DeliveryRow:
    """Return the row of a notification that waits for its job's end, not stored yet."""
    return DeliveryRow(
        id=new_id(),
        job_id=job_id,
        url=url,
        states={"only": [state.value for state in states]},
        state=DeliveryState.WAITING.value,
        tries=0,
        status=None,
        message="",
        next_try=None,
        delivered=None,
    )


def of_job(session: Session, job_id: str) -> list[DeliveryRow]:
    """Return the notifications of a job."""
    query = select(DeliveryRow).where(DeliveryRow.job_id == job_id).order_by(DeliveryRow.id)
    return list(session.scalars(query))


def ripe(session: Session, limit: int) -> list[tuple[DeliveryRow, JobRow]]:
    """Return notifications that wait for a job which is over by now."""
    query = (
        select(DeliveryRow, JobRow)
        .join(JobRow, JobRow.id == DeliveryRow.job_id)
        .where(DeliveryRow.state == DeliveryState.WAITING.value, JobRow.ended.is_not(None))
        .order_by(DeliveryRow.id)
        .limit(limit)
    )
    return [(delivery, job) for delivery, job in session.execute(query)]


def pending(session: Session, limit: int) -> list[str]:
    """Return the ids of notifications that are to be delivered."""
    query = select(DeliveryRow.id).where(DeliveryRow.state == DeliveryState.PENDING.value)
    return list(session.scalars(query.order_by(DeliveryRow.next_try, DeliveryRow.id).limit(limit)))
