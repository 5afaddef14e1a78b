"""``schedules`` and ``hooks``: forwarded to jobqueue with the person's identity."""

from __future__ import annotations

from pydantic import Field

from gavip_api.models import Model
from gavip_api.schedules import HookSecret, Schedule, SchedulePage, ScheduleRequest
from gavip_web.openapi import operation

from .base import PortalApiHandler


class SchedulesQuery(Model):
    """Which schedules to list."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=36, description="`next` of the last page")


class SchedulesHandler(PortalApiHandler):
    """All schedules of the caller."""

    @operation(
        "List schedules",
        query=SchedulesQuery,
        response=SchedulePage,
        errors=(503,),
        tags=("schedules",),
    )
    async def get(self) -> None:
        """Return the caller's schedules, newest first, with their next runs."""
        query = self.query(SchedulesQuery)
        self.reply(await self.services.schedules.list(self.person, query.limit, query.cursor))

    @operation(
        "Make a schedule",
        request=ScheduleRequest,
        response=Schedule,
        status=201,
        errors=(404, 409, 429, 503),
        tags=("schedules",),
    )
    async def post(self) -> None:
        """Run a pipeline again and again; the release and the parameters are those of now."""
        person = self.person
        schedule = await self.services.schedules.create(person, self.body(ScheduleRequest))
        self.reply(schedule, 201)


class ScheduleHandler(PortalApiHandler):
    """One schedule."""

    @operation("Show a schedule", response=Schedule, errors=(404, 503), tags=("schedules",))
    async def get(self, schedule: str) -> None:
        """Return times, what is submitted, and how the last run went."""
        self.reply(await self.services.schedules.show(self.person, schedule))

    @operation("Delete a schedule", status=204, errors=(404, 503), tags=("schedules",))
    async def delete(self, schedule: str) -> None:
        """Delete it; jobs that it submitted stay."""
        await self.services.schedules.delete(self.person, schedule)
        self.no_content()


class SchedulePauseHandler(PortalApiHandler):
    """Pauses one schedule."""

    @operation("Pause a schedule", response=Schedule, errors=(404, 503), tags=("schedules",))
    async def post(self, schedule: str) -> None:
        """Pause it; repeating is harmless."""
        self.reply(await self.services.schedules.pause(self.person, schedule, True))


class ScheduleResumeHandler(PortalApiHandler):
    """Resumes one schedule."""

    @operation("Resume a schedule", response=Schedule, errors=(404, 503), tags=("schedules",))
    async def post(self, schedule: str) -> None:
        """Resume it; repeating is harmless, and runs that were missed are not made up for."""
        self.reply(await self.services.schedules.pause(self.person, schedule, False))


class HookSecretHandler(PortalApiHandler):
    """The caller's signing secret."""

    @operation("Show my signing secret", response=HookSecret, errors=(503,), tags=("jobs",))
    async def get(self) -> None:
        """Return what to check the signatures of notifications with (Standard Webhooks)."""
        self.reply(await self.services.schedules.secret(self.person))
