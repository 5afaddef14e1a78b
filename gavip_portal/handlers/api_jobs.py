"""``jobs``, ``events``, ``queue``, ``pools``: forwarded to jobqueue with the caller's identity."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from gavip_api.enums import JobState
from gavip_api.models import (
    ArchiveQueryTurn,
    Job,
    JobClone,
    JobEvent,
    JobPage,
    JobRequest,
    Model,
    Pool,
    QueueState,
    Reservation,
)
from gavip_api.schedules import DeliveryList
from gavip_web.openapi import operation
from gavip_web.sse import last_event_id

from .base import PortalApiHandler


class JobsQuery(Model):
    """Which jobs to list."""

    avi: str | None = Field(default=None, max_length=130, description="owner/name")
    pipeline: str | None = Field(default=None, max_length=64)
    state: tuple[JobState, ...] = Field(default=(), description="may be repeated")
    schedule: str | None = Field(
        default=None, max_length=36, description="only jobs that this schedule submitted"
    )
    since: AwareDatetime | None = Field(default=None, description="submitted since then")
    until: AwareDatetime | None = Field(default=None, description="submitted before then")
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=200, description="`next` of the last page")


class LogQuery(Model):
    """From where to read a log."""

    offset: int = Field(default=0, ge=0, description="bytes")
    follow: bool = Field(default=False, description="go on until the job has ended")


class JobsHandler(PortalApiHandler):
    """All jobs of the caller."""

    @operation("List jobs", query=JobsQuery, response=JobPage, errors=(503,), tags=("jobs",))
    async def get(self) -> None:
        """Return the caller's jobs, newest first; an AVI instance sees those of its AVI for its user."""
        query = self.query(JobsQuery)
        wanted = query.model_dump(mode="json")
        self.reply(await self.services.jobs.list(await self.principal(), **wanted))

    @operation(
        "Submit a job",
        request=JobRequest,
        response=Job,
        status=201,
        errors=(404, 409, 429, 503),
        tags=("jobs",),
    )
    async def post(self) -> None:
        """Run a pipeline with the given parameters; for an AVI instance the AVI is implied."""
        who = await self.principal()
        self.reply(await self.services.jobs.submit(who, self.body(JobRequest)), 201)


class JobHandler(PortalApiHandler):
    """One job."""

    @operation("Show a job", response=Job, errors=(404, 503), tags=("jobs",))
    async def get(self, job: str) -> None:
        """Return state, progress, error and results."""
        self.reply(await self.services.jobs.show(await self.principal(), job))


class JobEventsHandler(PortalApiHandler):
    """Live events of one job."""

    @operation(
        "Follow a job",
        media="text/event-stream",
        response=JobEvent,
        errors=(404, 503),
        tags=("jobs",),
    )
    async def get(self, job: str) -> None:
        """Stream the job's history after ``Last-Event-ID``, then live; ends after the final state."""
        events = await self.services.jobs.events(await self.principal(), job, last_event_id(self))
        async with self.event_stream() as stream:
            await stream.pump(events)


class JobLogHandler(PortalApiHandler):
    """Log of one job."""

    @operation(
        "Read a job's log",
        query=LogQuery,
        media=("text/plain", "text/event-stream"),
        errors=(400, 404, 503),
        tags=("jobs",),
    )
    async def get(self, job: str) -> None:
        """Return the newest attempt's log from a byte offset; ``X-Log-Size`` is its size in bytes.

        With `follow`, stream events `log` with the data `{"attempt", "offset", "text"}`, also after
        ``Last-Event-ID``; a new attempt begins again at offset 0.
        """
        query = self.query(LogQuery)
        if query.follow:
            after = last_event_id(self)
            events = await self.services.jobs.follow_log(
                await self.principal(), job, query.offset, after
            )
            async with self.event_stream() as stream:
                await stream.pump(events)
            return
        text, size = await self.services.jobs.log(await self.principal(), job, query.offset)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if size.isdigit():
            self.set_header("X-Log-Size", size)
        self.finish(text)


class JobCancelHandler(PortalApiHandler):
    """Cancels one job."""

    @operation("Cancel a job", response=Job, errors=(404, 503), tags=("jobs",))
    async def post(self, job: str) -> None:
        """Cancel it; repeating is harmless, and a job that has ended stays as it is."""
        self.reply(await self.services.jobs.cancel(await self.principal(), job))


class JobRetryHandler(PortalApiHandler):
    """Tries one job again."""

    @operation(
        "Try a job again",
        response=Job,
        status=201,
        errors=(404, 409, 422, 429, 503),
        tags=("jobs",),
    )
    async def post(self, job: str) -> None:
        """Submit a job that is over once more, as it was; the answer is the new job."""
        self.reply(await self.services.jobs.retry(await self.principal(), job), 201)


class JobCloneHandler(PortalApiHandler):
    """Runs one job again with other parameters."""

    @operation(
        "Run a job again with other parameters",
        request=JobClone,
        response=Job,
        status=201,
        errors=(404, 409, 429, 503),
        tags=("jobs",),
    )
    async def post(self, job: str) -> None:
        """Submit the same pipeline of the same release; parameters that are not named stay."""
        who = await self.principal()
        self.reply(await self.services.jobs.clone(who, job, self.body(JobClone)), 201)


class JobHooksHandler(PortalApiHandler):
    """Notifications of one job."""

    @operation(
        "Show a job's notifications", response=DeliveryList, errors=(404, 503), tags=("jobs",)
    )
    async def get(self, job: str) -> None:
        """Return each notification and how far it is."""
        self.reply(await self.services.jobs.deliveries(await self.principal(), job))


class EventsHandler(PortalApiHandler):
    """Live events of all jobs."""

    @operation(
        "Follow all jobs",
        media="text/event-stream",
        response=JobEvent,
        errors=(503,),
        tags=("jobs",),
    )
    async def get(self) -> None:
        """Stream the events of all jobs of the caller from now on, or after ``Last-Event-ID``."""
        who = await self.principal()
        events = await self.services.jobs.own_events(who, last_event_id(self))
        async with self.event_stream() as stream:
            await stream.pump(events)


class ArchiveQueryHandler(PortalApiHandler):
    """A turn at the archive."""

    @operation(
        "Take a turn at the archive",
        request=ArchiveQueryTurn,
        response=Reservation,
        errors=(409, 503),
        tags=("archive",),
    )
    async def put(self, query: str) -> None:
        """Reserve one query for a minute, under an id (a UUID) that the caller makes; asking again extends that.

        A refusal is answered with 200, state and reason: ask again after a moment.
        """
        who, turn = await self.principal(), self.body(ArchiveQueryTurn)
        self.reply(await self.services.jobs.take_turn(who, query, turn.title))

    @operation("End a turn at the archive", status=204, errors=(503,), tags=("archive",))
    async def delete(self, query: str) -> None:
        """Release it; repeating is harmless."""
        await self.services.jobs.end_turn(await self.principal(), query)
        self.no_content()


class QueueHandler(PortalApiHandler):
    """The queue."""

    @operation("Show the queue", response=QueueState, errors=(503,), tags=("figures",))
    async def get(self) -> None:
        """Return the queue in figures."""
        await self.principal()
        self.reply(await self.services.jobs.queue())


class PoolHandler(PortalApiHandler):
    """The caller's pool."""

    @operation("Show my pool", response=Pool, errors=(503,), tags=("figures",))
    async def get(self) -> None:
        """Return what the caller holds of the machine and how much they may."""
        self.reply(await self.services.jobs.pool(await self.principal()))
