"""Recurring submissions, and notifications."""

from __future__ import annotations

from pydantic import Field

from gavip_api.models import Model
from gavip_api.schedules import (
    DeliveryList,
    HookSecret,
    Schedule,
    SchedulePage,
    ScheduleSubmission,
)
from gavip_api.slugs import check_id
from gavip_web.openapi import operation

from .base import JobQueueHandler
from .jobs import ACT_FOR


class ScheduleQuery(Model):
    """What a list of schedules is narrowed to."""

    owner: str | None = Field(default=None, max_length=255, description="only this user's")
    avi: str | None = Field(default=None, max_length=130, description="only this AVI's")
    limit: int = Field(default=50, ge=1, le=200, description="most schedules in the answer")
    cursor: str | None = Field(default=None, max_length=36, description="`next` of the page before")


class SchedulesHandler(JobQueueHandler):
    """``/schedules``."""

    @operation(
        "List schedules, newest first", scopes=ACT_FOR, query=ScheduleQuery, response=SchedulePage
    )
    async def get(self) -> None:
        """List schedules; `next` of the answer is the cursor of the following page."""
        query = self.query(ScheduleQuery)
        before = check_id(query.cursor) if query.cursor else None
        self.reply(await self.schedules.page(query.owner, query.avi, before, query.limit))

    @operation(
        "Make a schedule",
        scopes=ACT_FOR,
        request=ScheduleSubmission,
        response=Schedule,
        status=201,
        errors=(409, 429, 503),
    )
    async def post(self) -> None:
        """Make a schedule for the owner named in what it submits; that is checked now and at every run."""
        schedule = await self.schedules.create(self.body(ScheduleSubmission))
        self.set_header("Location", f"{self.settings['base_url']}api/v1/schedules/{schedule.id}")
        self.reply(schedule, 201)


class ScheduleHandler(JobQueueHandler):
    """``/schedules/{schedule}``."""

    @operation("Show a schedule", scopes=ACT_FOR, response=Schedule, errors=(404, 422))
    async def get(self, schedule: str) -> None:
        """Show a schedule with its next runs."""
        self.reply(await self.schedules.show(check_id(schedule)))

    @operation("Delete a schedule", scopes=ACT_FOR, status=204, errors=(422, 503))
    async def delete(self, schedule: str) -> None:
        """Delete; one that is gone is fine. Jobs that it submitted stay."""
        await self.schedules.delete(check_id(schedule))
        self.no_content()


class PauseHandler(JobQueueHandler):
    """``/schedules/{schedule}/pause``."""

    @operation("Pause a schedule", scopes=ACT_FOR, response=Schedule, errors=(404, 422, 503))
    async def post(self, schedule: str) -> None:
        """Pause; idempotent."""
        self.reply(await self.schedules.pause(check_id(schedule), True))


class ResumeHandler(JobQueueHandler):
    """``/schedules/{schedule}/resume``."""

    @operation("Resume a schedule", scopes=ACT_FOR, response=Schedule, errors=(404, 422, 503))
    async def post(self, schedule: str) -> None:
        """Resume; idempotent. Runs that were due meanwhile are not made up for."""
        self.reply(await self.schedules.pause(check_id(schedule), False))


class DeliveriesHandler(JobQueueHandler):
    """``/jobs/{job}/hooks``."""

    @operation(
        "Show a job's notifications", scopes=ACT_FOR, response=DeliveryList, errors=(404, 422)
    )
    async def get(self, job: str) -> None:
        """Show each notification of a job and how far it is."""
        self.reply(await self.deliveries.of_job(check_id(job)))


class SecretHandler(JobQueueHandler):
    """``/hooks/{owner}/secret``."""

    @operation("Show a user's signing secret", scopes=ACT_FOR, response=HookSecret)
    async def get(self, owner: str) -> None:
        """Show what receivers check the signatures of a user's notifications with (Standard Webhooks)."""
        self.reply(HookSecret(secret=self.deliveries.secret(owner)))
