"""Queries on jobs and their attempts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from gavip_api.enums import JobState
from gavip_api.errors import NotFound
from gavip_api.manifest import NOTHING_GRANTED, Permissions
from jobqueue.amounts import Amount

from .orm import AttemptRow, JobRow

ACTIVE = (JobState.STARTING.value, JobState.RUNNING.value)
_UNFINISHED = (JobState.QUEUED.value, *ACTIVE)


def reservation_id(job_id: str) -> str:
    """Return the id of a job's line in the ledger."""
    return f"job:{job_id}"


@dataclass(frozen=True)
class JobFilter:
    """What a list of jobs is narrowed to; None narrows nothing.

    Parameters
    ----------
    owner, avi, pipeline, state, origin : optional
        Equal to these; an origin is kind and id joined by a colon.
    since, until : datetime, optional
        Submitted at or after, and before.
    before : str, optional
        Only jobs older than the one with this id.
    """

    owner: str | None = None
    avi: str | None = None
    pipeline: str | None = None
    state: tuple[JobState, ...] = ()
    origin: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: str | None = None


def get(session: Session, job_id: str) -> JobRow:
    """Return a job.

    Raises
    ------
    NotFound
        If there is none.
    """
    row = session.get(JobRow, job_id)
    if row is None:
        raise NotFound(
            "There is no such job.", hint="It may have been removed after its retention."
        )
    return row


def amount(row: JobRow) -> Amount:
    """Return what a job takes: its resources and one slot."""
    return Amount(row.memory, row.millicpu, 1, row.archive or 0)


def attempt(session: Session, job: JobRow) -> AttemptRow:
    """Return the present attempt of a job that was ever started."""
    row = session.get(AttemptRow, (job.id, job.attempt))
    if row is None:
        raise NotFound("This job was not started yet.")
    return row


def attempts(session: Session, job_id: str) -> list[AttemptRow]:
    """Return all attempts of a job."""
    return list(session.scalars(select(AttemptRow).where(AttemptRow.job_id == job_id)))


def find(session: Session, wanted: JobFilter, limit: int) -> list[JobRow]:
    """Return at most `limit` jobs, newest first."""
    query = select(JobRow)
    if wanted.owner is not None:
        query = query.where(JobRow.owner == wanted.owner)
    if wanted.avi is not None:
        query = query.where(JobRow.avi == wanted.avi)
    if wanted.pipeline is not None:
        query = query.where(JobRow.pipeline == wanted.pipeline)
    if wanted.origin is not None:
        query = query.where(JobRow.origin == wanted.origin)
    if wanted.since is not None:
        query = query.where(JobRow.created >= wanted.since)
    if wanted.until is not None:
        query = query.where(JobRow.created < wanted.until)
    if wanted.state:
        query = query.where(JobRow.state.in_([s.value for s in wanted.state]))
    if wanted.before is not None:
        query = query.where(JobRow.id < wanted.before)
    return list(session.scalars(query.order_by(JobRow.id.desc()).limit(limit)))


def unfinished(session: Session, owner: str, avi: str) -> list[JobRow]:
    """Return the jobs of an AVI for a user that are not over."""
    query = select(JobRow).where(
        JobRow.owner == owner, JobRow.avi == avi, JobRow.state.in_(_UNFINISHED)
    )
    return list(session.scalars(query.order_by(JobRow.id)))


def permissions(row: JobRow) -> Permissions:
    """Return what a job may do."""
    return Permissions.model_validate(row.permissions) if row.permissions else NOTHING_GRANTED


def active(session: Session) -> list[JobRow]:
    """Return the jobs that are starting or running, oldest first."""
    return list(session.scalars(select(JobRow).where(JobRow.state.in_(ACTIVE)).order_by(JobRow.id)))


def watched(session: Session) -> list[tuple[str, int, bool]]:
    """Return id, attempt and wish to cancel of the same jobs: every wake-up needs these, and no more of them."""
    query = select(JobRow.id, JobRow.attempt, JobRow.cancel_requested)
    rows = session.execute(query.where(JobRow.state.in_(ACTIVE)).order_by(JobRow.id))
    return [(job_id, attempt, cancel) for job_id, attempt, cancel in rows]


def queued(session: Session) -> Iterator[Any]:
    """Yield of each queued job, in order of submission, what schedulers need to know."""
    query = (
        select(
            JobRow.id,
            JobRow.owner,
            JobRow.avi,
            JobRow.pipeline,
            JobRow.memory,
            JobRow.millicpu,
            JobRow.archive,
            JobRow.time_limit,
            JobRow.created,
        )
        .where(JobRow.state == JobState.QUEUED.value)
        .order_by(JobRow.id)
        .execution_options(yield_per=1000)
    )
    yield from session.execute(query)


def ends(session: Session) -> dict[str, float]:
    """Return when starting and running jobs are over at the latest, by the ids of their reservations."""
    query = (
        select(JobRow.id, JobRow.time_limit, AttemptRow.started, AttemptRow.created)
        .join(AttemptRow, (AttemptRow.job_id == JobRow.id) & (AttemptRow.number == JobRow.attempt))
        .where(JobRow.state.in_(ACTIVE))
    )
    return {
        reservation_id(r.id): (r.started or r.created).timestamp() + r.time_limit
        for r in session.execute(query)
    }


def count(session: Session, state: tuple[str, ...], owner: str | None = None) -> int:
    """Return how many jobs are in one of the states `state`."""
    query = select(func.count()).select_from(JobRow).where(JobRow.state.in_(state))
    if owner is not None:
        query = query.where(JobRow.owner == owner)
    return session.scalar(query) or 0


def ended_before(session: Session, when: datetime, limit: int) -> list[JobRow]:
    """Return jobs that ended before `when`, oldest first."""
    query = select(JobRow).where(JobRow.ended < when).order_by(JobRow.ended).limit(limit)
    return list(session.scalars(query))


def forget(session: Session, job_id: str) -> None:
    """Delete a job with its attempts and history."""
    session.execute(delete(JobRow).where(JobRow.id == job_id))
