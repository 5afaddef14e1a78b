"""From rows to what callers see: jobs with the reason they wait, pages, figures."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from gavip_api.enums import JobState, OriginKind, Role
from gavip_api.models import (
    Job,
    JobError,
    JobOrigin,
    JobPage,
    LedgerState,
    Pool,
    Progress,
    QueueState,
    Waiting,
)
from jobqueue.storage import jobs
from jobqueue.storage.jobs import JobFilter
from jobqueue.storage.orm import JobRow

from .explain import Explainer
from .ledger import Ledger
from .waiting import Waitlist


class Queries:
    """Reads, on the session of a read transaction.

    Parameters
    ----------
    ledger, waitlist, explainer
        Parts it uses.
    """

    def __init__(self, ledger: Ledger, waitlist: Waitlist, explainer: Explainer) -> None:
        self._ledger = ledger
        self._waitlist = waitlist
        self._explainer = explainer

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

    def pool(self, session: Session, owner: str, roles: Sequence[Role] | None = None) -> Pool:
        """Return a user's pool."""
        return self._ledger.pool(session, owner, roles)

    def ledger(self, session: Session) -> LedgerState:
        """Return everything that is allocated."""
        return LedgerState(
            capacity=self._ledger.capacity.wire(),
            used=self._ledger.used(session).wire(),
            items=self._ledger.lines(session),
        )

    def queue(self, session: Session) -> QueueState:
        """Return the queue in figures."""
        return QueueState(
            capacity=self._ledger.capacity.wire(),
            used=self._ledger.used(session).wire(),
            queued=self._waitlist.count(),
            running=jobs.count(session, jobs.ACTIVE),
        )

    def _models(self, session: Session, rows: list[JobRow]) -> list[Job]:
        queued = [row for row in rows if row.state == JobState.QUEUED.value]
        waiting = self._explainer.explain(session, queued)
        return [self._model(row, *waiting.get(row.id, (None, None))) for row in rows]

    def _model(self, row: JobRow, place: int | None, waiting: Waiting | None) -> Job:
        return Job(
            id=row.id,
            owner=row.owner,
            avi=row.avi,
            release=row.release,
            pipeline=row.pipeline,
            title=row.title,
            parameters=row.parameters,
            resources=jobs.amount(row).wire(),
            time_limit=row.time_limit,
            permissions=jobs.permissions(row),
            state=JobState(row.state),
            attempt=row.attempt,
            progress=Progress.model_validate(row.progress),
            waiting_for=waiting.reason if waiting else None,
            position=place,
            waiting=waiting,
            error=JobError.model_validate(row.error) if row.error else None,
            product=row.product,
            outputs=tuple(row.outputs["files"]),
            origin=_origin(row.origin),
            created=row.created,
            started=row.started,
            ended=row.ended,
        )


def _origin(text: str | None) -> JobOrigin | None:
    kind, _, origin = (text or "").partition(":")
    return JobOrigin(kind=OriginKind(kind), id=origin) if kind else None
