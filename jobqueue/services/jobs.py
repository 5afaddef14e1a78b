"""What callers do with jobs: submit, look, cancel, report; the front that handlers talk to.

Invariant: every change is committed before it is acknowledged, and the reconciler is woken after
the commit, never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from gavip_api import resources
from gavip_api.enums import JobState, OriginKind, Role, Template
from gavip_api.errors import Conflict
from gavip_api.manifest import PipelineSpec, ResourceSpec
from gavip_api.models import (
    HookRequest,
    Job,
    JobClone,
    JobOrigin,
    JobPage,
    JobSubmission,
    LedgerState,
    Pool,
    ProgressReport,
    QueueState,
    ResourceChoice,
    UserProfile,
)
from gavip_web.database import Database
from jobqueue.storage import deliveries, jobs
from jobqueue.storage.jobs import JobFilter as JobFilter
from jobqueue.storage.orm import JobRow

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

    async def submit(self, submission: JobSubmission, origin: JobOrigin | None = None) -> Job:
        """Store a job and return it; it runs when the scheduler picks it.

        Raises
        ------
        InvalidInput, LimitReached
            See :class:`Submission`.
        """
        self._submission.check_room(submission.owner.name)
        # off the loop: evaluating schemas and expressions takes milliseconds to a second (jsonschema's import)
        row = await asyncio.to_thread(self._submission.row, submission, origin)
        job = await self._database.write(self._submission.store, row, submission.hooks)
        self._committed(job)
        return job

    async def retry(self, job_id: str) -> Job:
        """Submit a job that is over once more, as it was; return the new one.

        Raises
        ------
        NotFound
            If there is no such job.
        Conflict
            If it is not over.
        InvalidInput, LimitReached
            See :class:`Submission`.
        """
        state, submission = await self._database.read(_again, job_id)
        if not state.is_final:
            raise Conflict(
                f"The job is {state}: only a job that is over is tried again.",
                hint="Cancel it first, or run it again with other parameters.",
            )
        return await self.submit(submission, JobOrigin(kind=OriginKind.RETRY, id=job_id))

    async def clone(self, job_id: str, change: JobClone) -> Job:
        """Submit a job with other parameters, in the same release; return the new one.

        Raises
        ------
        NotFound, InvalidInput, LimitReached
            See :meth:`retry`.
        """
        _, submission = await self._database.read(_again, job_id)
        wanted = submission.model_copy(
            update={
                "parameters": submission.parameters | change.parameters,
                "hooks": change.hooks,
                "resources": change.resources,
            }
        )
        return await self.submit(wanted, JobOrigin(kind=OriginKind.CLONE, id=job_id))

    async def show(self, job_id: str) -> Job:
        """Return a job."""
        return await self._database.read(self._queries.job, job_id)

    async def page(self, wanted: JobFilter, limit: int) -> JobPage:
        """Return a page of jobs, newest first."""
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

    async def pool(self, owner: str, roles: Sequence[Role] | None = None) -> Pool:
        """Return a user's pool, by the roles given or else the last known."""
        return await self._database.read(self._queries.pool, owner, roles)

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


def _again(session: Session, job_id: str) -> tuple[JobState, JobSubmission]:
    row: JobRow = jobs.get(session, job_id)
    spec = PipelineSpec.model_validate(row.spec)
    submission = JobSubmission(
        owner=UserProfile.model_validate(row.owner_profile),
        avi=row.avi,
        release=row.release,
        template=Template(row.template),
        pipeline=row.pipeline,
        spec=spec,
        parameters=row.parameters,
        permissions=jobs.permissions(row),
        resources=_choice(row, spec.resources),
        hooks=tuple(
            HookRequest(url=hook.url, states=tuple(JobState(s) for s in hook.states["only"]))
            for hook in deliveries.of_job(session, job_id)
        ),
    )
    return JobState(row.state), submission


def _choice(row: JobRow, declared: ResourceSpec) -> ResourceChoice:
    """Return what a job's resources differ in from what its pipeline declares."""
    memory = resources.memory_bytes(declared.memory, row.parameters)
    millicpu = max(1, round(resources.cpu_cores(declared.cpu, row.parameters) * 1000))
    return ResourceChoice(
        memory=row.memory if row.memory != memory else None,
        cpu=row.millicpu / 1000 if row.millicpu != millicpu else None,
        time=row.time_limit if row.time_limit != resources.seconds(declared.time) else None,
    )
