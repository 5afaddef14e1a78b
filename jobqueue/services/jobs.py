"""What callers do with jobs: submit, look, cancel, report; the front that handlers talk to.

Invariant: every change is committed before it is acknowledged, and the reconciler is woken after
the commit, never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy.orm import Session

from gavip_api.enums import JobState
from gavip_api.models import (
    Job,
    JobPage,
    JobSubmission,
    LedgerState,
    Pool,
    ProgressReport,
    QueueState,
)
from gavip_web.database import Database
from jobqueue.storage import jobs
from jobqueue.storage.jobs import JobFilter

from . import tokens
from .events import EventBus
from .machine import JobMachine
from .progress import ProgressIntake
from .queries import Queries
from .submission import Submission


class JobService:
    """Jobs, for handlers.

    Parameters
    ----------
    database, bus, machine, queries, submission, intake
        Parts it uses.
    wake : callable
        Wakes the reconciler.
    """

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        machine: JobMachine,
        queries: Queries,
        submission: Submission,
        intake: ProgressIntake,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._bus = bus
        self._machine = machine
        self._queries = queries
        self._submission = submission
        self._intake = intake
        self._wake = wake

    async def submit(self, submission: JobSubmission) -> Job:
        """Store a job and return it; it runs when the scheduler picks it.

        Raises
        ------
        InvalidInput, LimitReached
            See :class:`Submission`.
        """
        # off the loop: evaluating schemas and expressions takes milliseconds to a second (jsonschema's import)
        row = await asyncio.to_thread(self._submission.row, submission)
        job = await self._database.write(self._submission.store, row)
        self._committed(job)
        return job

    async def show(self, job_id: str) -> Job:
        """Return a job."""
        return await self._database.read(self._queries.job, job_id)

    async def page(
        self,
        *,
        owner: str | None,
        avi: str | None,
        state: tuple[JobState, ...],
        before: str | None,
        limit: int,
    ) -> JobPage:
        """Return a page of jobs, newest first; what is None or empty narrows nothing."""
        wanted = JobFilter(owner, avi, state, before)
        return await self._database.read(self._queries.page, wanted, limit)

    async def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; idempotent in every state."""

        def work(session: Session) -> Job:
            row = jobs.get(session, job_id)
            self._machine.request_cancel(session, row)
            return self._queries.model(session, row)

        job = await self._database.write(work)
        self._committed(job)
        return job

    async def pool(self, owner: str) -> Pool:
        """Return a user's pool."""
        return await self._database.read(self._queries.pool, owner)

    async def ledger(self) -> LedgerState:
        """Return everything that is allocated."""
        return await self._database.read(self._queries.ledger)

    async def queue(self) -> QueueState:
        """Return the queue in figures."""
        return await self._database.read(self._queries.queue)

    async def report(self, job_id: str, token: str, report: ProgressReport) -> None:
        """Take a runner's progress report.

        Raises
        ------
        NotSignedIn, Fenced
            See :func:`jobqueue.services.tokens.check`.
        """
        await self._database.read(tokens.check, job_id, report.attempt, token)
        await self._intake.put(job_id, report)

    def _committed(self, job: Job) -> None:
        self._bus.notify(job.id, job.owner)
        self._wake()
