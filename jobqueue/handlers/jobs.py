"""Jobs: submit, list, show, cancel, log."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from gavip_api.enums import JobState, OriginKind
from gavip_api.models import Job, JobClone, JobPage, JobSubmission, Model
from gavip_api.scopes import JOBQUEUE_ACT_FOR
from gavip_api.slugs import check_id
from gavip_web.openapi import operation
from gavip_web.sse import last_event_id
from jobqueue.services.jobs import JobFilter

from .base import JobQueueHandler

ACT_FOR = (JOBQUEUE_ACT_FOR,)


class JobQuery(Model):
    """What a list of jobs is narrowed to."""

    owner: str | None = Field(default=None, max_length=255, description="only this user's jobs")
    avi: str | None = Field(default=None, max_length=130, description="only this AVI's jobs")
    pipeline: str | None = Field(
        default=None, max_length=64, description="only jobs of this pipeline"
    )
    state: tuple[JobState, ...] = Field(
        default=(), description="only jobs in these states; may be repeated"
    )
    schedule: str | None = Field(
        default=None, max_length=36, description="only jobs that this schedule submitted"
    )
    since: AwareDatetime | None = Field(default=None, description="only jobs submitted since then")
    until: AwareDatetime | None = Field(default=None, description="only jobs submitted before then")
    limit: int = Field(default=50, ge=1, le=200, description="most jobs in the answer")
    cursor: str | None = Field(default=None, max_length=36, description="`next` of the page before")


class JobsHandler(JobQueueHandler):
    """``/jobs``."""

    @operation("List jobs, newest first", scopes=ACT_FOR, query=JobQuery, response=JobPage)
    async def get(self) -> None:
        """List jobs; `next` of the answer is the cursor of the following page."""
        query = self.query(JobQuery)
        wanted = JobFilter(
            owner=query.owner,
            avi=query.avi,
            pipeline=query.pipeline,
            state=query.state,
            origin=f"{OriginKind.SCHEDULE}:{check_id(query.schedule)}" if query.schedule else None,
            since=query.since,
            until=query.until,
            before=check_id(query.cursor) if query.cursor else None,
        )
        self.reply(await self.jobs.page(wanted, query.limit))

    @operation(
        "Submit a job",
        scopes=ACT_FOR,
        request=JobSubmission,
        response=Job,
        status=201,
        errors=(409, 429, 503),
    )
    async def post(self) -> None:
        """Submit a job for the owner named; answered once it is stored, whatever happens afterwards."""
        self.created(await self.jobs.submit(self.body(JobSubmission)))


class JobHandler(JobQueueHandler):
    """``/jobs/{job}``."""

    @operation("Show a job", scopes=ACT_FOR, response=Job, errors=(404, 422))
    async def get(self, job: str) -> None:
        """Show a job; a queued one says why it waits and its place in the queue."""
        self.reply(await self.jobs.show(check_id(job)))


class CancelHandler(JobQueueHandler):
    """``/jobs/{job}/cancel``."""

    @operation("Cancel a job", scopes=ACT_FOR, response=Job, errors=(404, 422, 503))
    async def post(self, job: str) -> None:
        """Cancel a job. Idempotent; a running one is cancelled once its process has ended, see its events."""
        self.reply(await self.jobs.cancel(check_id(job)))


class RetryHandler(JobQueueHandler):
    """``/jobs/{job}/retry``."""

    @operation(
        "Try a job again",
        scopes=ACT_FOR,
        response=Job,
        status=201,
        errors=(404, 409, 422, 429, 503),
    )
    async def post(self, job: str) -> None:
        """Submit a job that is over once more, as it was; the answer is the new job. 409 while it is not over."""
        self.created(await self.jobs.retry(check_id(job)))


class CloneHandler(JobQueueHandler):
    """``/jobs/{job}/clone``."""

    @operation(
        "Run a job again with other parameters",
        scopes=ACT_FOR,
        request=JobClone,
        response=Job,
        status=201,
        errors=(404, 409, 429, 503),
    )
    async def post(self, job: str) -> None:
        """Submit the same pipeline of the same release, with the parameters named replaced; answers the new job."""
        self.created(await self.jobs.clone(check_id(job), self.body(JobClone)))


class LogQuery(Model):
    """Which part of a log."""

    offset: int = Field(default=0, ge=0, description="first byte")
    limit: int = Field(default=1 << 18, ge=1, le=1 << 20, description="most bytes")
    follow: bool = Field(
        default=False, description="stream server-sent `log` events until the job has ended"
    )


class LogHandler(JobQueueHandler):
    """``/jobs/{job}/log``."""

    @operation(
        "Read a job's output",
        scopes=ACT_FOR,
        query=LogQuery,
        media=("text/plain", "text/event-stream"),
        errors=(400, 404, 422),
    )
    async def get(self, job: str) -> None:
        """Answer with a part of the newest attempt's combined output.

        `X-Log-Size` is its present size. With `follow`, stream events `log` whose data are
        `{"attempt", "offset", "text"}`; a new attempt begins again at offset 0.
        """
        query = self.query(LogQuery)
        job = check_id(job)
        if query.follow:
            after = last_event_id(self)
            await self.jobs.show(job)
            async with self.event_stream() as stream:
                await stream.pump(self.job_logs.follow(job, query.offset, after))
            return
        chunk, size = await self.job_logs.read(job, query.offset, query.limit)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("X-Log-Size", str(size))
        self.finish(chunk)
