"""From rows to what callers see: jobs with the reason they wait, pages, figures."""

from __future__ import annotations

from sqlalchemy.orm import Session

from gavip_api.enums import JobState, OriginKind
from gavip_api.models import Job, JobError, JobOrigin, JobPage, Pool, Progress, QueueState
from jobqueue.amounts import Amount
from jobqueue.storage import jobs
from jobqueue.storage.jobs import JobFilter
from jobqueue.storage.orm import JobRow

from .ledger import Ledger, LedgerRoom


class Queries:
    """Reads, on the session of a read transaction.

    Parameters
    ----------
    ledger : Ledger
        Says why a job waits.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def job(self, session: Session, job_id: str) -> Job:
        """Return a job.

        Raises
        ------
        NotFound
            If there is none.
        """
        return self.model(session, jobs.get(session, job_id))

    def model(self, session: Session, row: JobRow) -> Job:
        """Return the wire form of a row."""
        return self._models(session, [row])[0]

    def page(self, session: Session, wanted: JobFilter, limit: int) -> JobPage:
        """Return jobs, newest first, with the cursor of the next page."""
        rows = jobs.find(session, wanted, limit + 1)
        return JobPage(
            items=tuple(self._models(session, rows[:limit])),
            next=rows[limit - 1].id if len(rows) > limit else None,
        )

    def pool(self, session: Session, owner: str) -> Pool:
        """Return a user's pool."""
        return self._ledger.pool(session, owner)

    def queue(self, session: Session) -> QueueState:
        """Return the queue in figures."""
        return QueueState(
            capacity=self._ledger.capacity.wire(),
            used=self._ledger.used(session).wire(),
            queued=jobs.count(session, (JobState.QUEUED.value,)),
            running=jobs.count(session, jobs.ACTIVE),
        )

    def _models(self, session: Session, rows: list[JobRow]) -> list[Job]:
        waiting = [row.id for row in rows if row.state == JobState.QUEUED.value]
        places = jobs.positions(session, waiting)
        room = LedgerRoom(self._ledger, session)
        return [self._model(session, row, places.get(row.id), room) for row in rows]

    def _model(self, session: Session, row: JobRow, place: int | None, room: LedgerRoom) -> Job:
        return Job(
            id=row.id,
            owner=row.owner,
            avi=row.avi,
            release=row.release,
            pipeline=row.pipeline,
            title=row.title,
            parameters=row.parameters,
            resources=Amount(row.memory, row.millicpu).wire(),
            time_limit=row.time_limit,
            state=JobState(row.state),
            attempt=row.attempt,
            progress=Progress.model_validate(row.progress),
            waiting_for=self._reason(session, row, place, room) if place else None,
            position=place,
            error=JobError.model_validate(row.error) if row.error else None,
            product=row.product,
            outputs=tuple(row.outputs["files"]),
            origin=_origin(row.origin),
            created=row.created,
            started=row.started,
            ended=row.ended,
        )

    def _reason(self, session: Session, row: JobRow, place: int, room: LedgerRoom) -> str:
        amount = Amount(row.memory, row.millicpu)
        refusal = self._ledger.refusal(session, row.owner, amount, room)
        if refusal is not None:
            return refusal.reason
        if place > 1:
            ahead = place - 1
            return f"{ahead} job{'s' if ahead > 1 else ''} submitted earlier start first."
        return "It starts in a moment."


def _origin(text: str | None) -> JobOrigin | None:
    kind, _, origin = (text or "").partition(":")
    return JobOrigin(kind=OriginKind(kind), id=origin) if kind else None
