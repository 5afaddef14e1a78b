"""Live events over SSE."""

from __future__ import annotations

from pydantic import Field

from gavip_api.models import Model
from gavip_api.slugs import check_id
from gavip_web.openapi import operation
from gavip_web.sse import last_event_id

from .base import JobQueueHandler
from .jobs import ACT_FOR


class JobEventsHandler(JobQueueHandler):
    """``/jobs/{job}/events``."""

    @operation("Follow a job", scopes=ACT_FOR, media="text/event-stream", errors=(400, 404, 422))
    async def get(self, job: str) -> None:
        """Stream the history after `Last-Event-ID`, then live, until the final state. Data: `JobEvent`."""
        job = check_id(job)
        after = last_event_id(self)
        await self.jobs.show(job)  # 404 while headers can still be sent
        async with self.event_stream() as stream:
            await stream.pump(self.job_events.of_job(job, after))


class OwnerQuery(Model):
    """Whose events."""

    owner: str = Field(max_length=255, description="the user")


class OwnerEventsHandler(JobQueueHandler):
    """``/events``."""

    @operation(
        "Follow all jobs of a user",
        scopes=ACT_FOR,
        query=OwnerQuery,
        media="text/event-stream",
        errors=(400, 422),
    )
    async def get(self) -> None:
        """Stream what happens to any job of a user from now on, or after `Last-Event-ID`. Data are `JobEvent`."""
        query = self.query(OwnerQuery)
        after = last_event_id(self)
        async with self.event_stream() as stream:
            await stream.pump(self.job_events.of_owner(query.owner, after))
