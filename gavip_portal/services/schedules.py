"""Recurring submissions of people.

Invariants: a schedule belongs to the person who made it, and one of somebody else does not exist for
the asker; its release is fixed when it is made, so that what runs never changes by itself.
"""

from __future__ import annotations

from gavip_api.errors import InvalidInput, NotFound
from gavip_api.models import UserProfile
from gavip_api.schedules import (
    HookSecret,
    Schedule,
    SchedulePage,
    ScheduleRequest,
    ScheduleSubmission,
)
from gavip_api.slugs import check_id

from .jobqueue import JobqueueClient
from .jobs import Jobs, Principal


class Schedules:
    """Makes, shows, pauses and deletes schedules.

    Parameters
    ----------
    jobs : Jobs
        Resolves what is to be submitted.
    jobqueue : JobqueueClient
        Where schedules live.
    """

    def __init__(self, jobs: Jobs, jobqueue: JobqueueClient) -> None:
        self._jobs = jobs
        self._queue = jobqueue

    async def create(self, person: UserProfile, request: ScheduleRequest) -> Schedule:
        """Make a schedule.

        Raises
        ------
        InvalidInput, NotFound, LimitReached, PermissionsNeeded
            As for a job, and if the times are not valid.
        """
        who = Principal(person)
        job = await self._jobs.resolve(
            who, request.avi, request.release, request.pipeline, request.parameters
        )
        wanted = ScheduleSubmission(
            title=request.title,
            cron=request.cron,
            timezone=request.timezone,
            overlap=request.overlap,
            job=job.model_copy(update={"hooks": request.hooks}),
        )
        return await self._jobs.hand_over(who, job.avi, lambda: self._queue.make_schedule(wanted))

    async def list(
        self, person: UserProfile, limit: int = 50, cursor: str | None = None
    ) -> SchedulePage:
        """List the person's schedules, newest first."""
        params = {"owner": person.name, "limit": limit} | ({"cursor": cursor} if cursor else {})
        return await self._queue.schedules(params)

    async def show(self, person: UserProfile, schedule_id: str) -> Schedule:
        """Show a schedule of the person's.

        Raises
        ------
        NotFound
            If it does not exist, or is not theirs: the two cannot be told apart.
        """
        missing = NotFound("You have no such schedule.", hint="Look at your list of schedules.")
        try:
            schedule = await self._queue.schedule(check_id(schedule_id))
        except (InvalidInput, NotFound):
            raise missing from None
        if schedule.owner != person.name:
            raise missing
        return schedule

    async def pause(self, person: UserProfile, schedule_id: str, paused: bool) -> Schedule:
        """Pause or resume a schedule of the person's."""
        schedule = await self.show(person, schedule_id)
        return await self._queue.pause_schedule(schedule.id, paused)

    async def delete(self, person: UserProfile, schedule_id: str) -> None:
        """Delete a schedule of the person's; its jobs stay."""
        await self._queue.delete_schedule((await self.show(person, schedule_id)).id)

    async def secret(self, person: UserProfile) -> HookSecret:
        """Return what the person's receivers check the signatures of notifications with."""
        return await self._queue.hook_secret(person.name)
