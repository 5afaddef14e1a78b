"""Recurring submissions: made, shown, paused and deleted by their owners, and submitted when due.

Invariants: a due run, the job it submits and the next due time are one transaction, so that no run
is submitted twice; runs missed while the service was away are made up for by one at most; what a
schedule could not submit is said on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from gavip_api.enums import JobState, OriginKind, OverlapPolicy
from gavip_api.errors import GavipError, LimitReached
from gavip_api.models import JobOrigin, JobSubmission, utcnow
from gavip_api.schedules import Schedule, SchedulePage, ScheduleSubmission
from gavip_api.slugs import new_id
from gavip_web import tasks
from gavip_web.database import Database
from jobqueue.storage import schedules
from jobqueue.storage.orm import ScheduleRow

from . import permits
from .submission import Submission
from .timetable import due_after

log = logging.getLogger("jobqueue.schedules")

_SHOWN_RUNS = 3
_LONGEST_SLEEP = 60.0
"""Seconds between looks at the clock, which may be set; a schedule is never later than this."""

_AT_ONCE = 100

Told = Callable[[str, str], None]


class Schedules:
    """Schedules, for handlers and by themselves.

    Parameters
    ----------
    database, submission
        Parts it uses.
    submitted : callable
        Called with job id and owner after a job was submitted.
    most : int
        Most schedules one user may have.
    clock : callable
        Returns the present time; for tests.
    """

    def __init__(
        self,
        database: Database,
        submission: Submission,
        submitted: Told,
        *,
        most: int,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._database = database
        self._submission = submission
        self._submitted = submitted
        self._most = most
        self._clock = clock
        self._awake = asyncio.Event()

    # -- for handlers --

    async def create(self, request: ScheduleSubmission) -> Schedule:
        """Store a schedule.

        Raises
        ------
        InvalidInput
            If expression, zone or what it would submit is not valid.
        LimitReached
            If the owner has too many.
        PermissionsNeeded
            If the owner does not grant the AVI what its jobs may do.
        """
        row = await asyncio.to_thread(self._row, request)

        def work(session: Session) -> Schedule:
            if schedules.count(session, row.owner) >= self._most:
                raise LimitReached(
                    f"You have {self._most} schedules, and no more are allowed.",
                    hint="Delete one that you no longer need.",
                )
            permits.check(session, row.owner, request.job.avi, request.job.permissions)
            session.add(row)
            return _model(row)

        schedule = await self._database.write(work)
        self._awake.set()
        return schedule

    def _row(self, request: ScheduleSubmission) -> ScheduleRow:
        now = self._clock()
        first = due_after(request.cron, request.timezone, now)[0]
        # a submission that is refused now is refused at every run
        checked = self._submission.row(request.job)
        return ScheduleRow(
            id=new_id(),
            owner=checked.owner,
            title=request.title or checked.title,
            submission=request.job.model_dump(mode="json", by_alias=True),
            cron=" ".join(request.cron.split()),
            timezone=request.timezone,
            overlap=request.overlap.value,
            next_due=first,
            last_due=None,
            last_job=None,
            last_message="",
            created=now,
        )

    async def page(
        self, owner: str | None, avi: str | None, before: str | None, limit: int
    ) -> SchedulePage:
        """Return schedules, newest first, with the cursor of the next page."""

        def read(session: Session) -> SchedulePage:
            rows = schedules.find(session, owner, avi, before, limit + 1)
            return SchedulePage(
                items=tuple(_model(row) for row in rows[:limit]),
                next=rows[limit - 1].id if len(rows) > limit else None,
            )

        return await self._database.read(read)

    async def show(self, schedule_id: str) -> Schedule:
        """Return a schedule.

        Raises
        ------
        NotFound
            If there is none.
        """
        return await self._database.read(lambda s: _model(schedules.get(s, schedule_id)))

    async def pause(self, schedule_id: str, paused: bool) -> Schedule:
        """Pause or resume; idempotent. A resumed one is due next after now: what it missed is not made up for."""

        def work(session: Session) -> Schedule:
            row = schedules.get(session, schedule_id)
            if paused:
                row.next_due = None
            elif row.next_due is None:
                row.next_due = due_after(row.cron, row.timezone, self._clock())[0]
            return _model(row)

        schedule = await self._database.write(work)
        self._awake.set()
        return schedule

    async def delete(self, schedule_id: str) -> None:
        """Delete; its jobs stay. One that is gone is fine."""

        def work(session: Session) -> None:
            row = session.get(ScheduleRow, schedule_id)
            if row is not None:
                session.delete(row)

        await self._database.write(work)

    # -- by itself --

    async def run(self) -> None:
        """Submit what is due until cancelled."""
        while True:
            self._awake.clear()
            pause = _LONGEST_SLEEP
            try:
                await self.submit_due()
                upcoming = await self._database.read(schedules.next_due)
                if upcoming is not None:
                    pause = min(pause, (upcoming - self._clock()).total_seconds())
            except GavipError as e:
                log.warning("schedules not looked at now: %s", e.message)
                pause = 5.0
            except Exception:
                # one defect must not end everybody's schedules
                log.exception("schedules not looked at")
            await tasks.woken(self._awake, max(0.05, pause))

    async def submit_due(self) -> list[str]:
        """Submit what is due now, once for each schedule; return the jobs' ids."""
        submitted = []
        for schedule_id in await self._database.read(schedules.due, self._clock(), _AT_ONCE):
            told = await self._database.write(self._submit, schedule_id)
            if told is not None:
                submitted.append(told[0])
                self._submitted(*told)
        return submitted

    def _submit(self, session: Session, schedule_id: str) -> tuple[str, str] | None:
        row = session.get(ScheduleRow, schedule_id)
        now = self._clock()
        if row is None or row.next_due is None or row.next_due > now:
            return None  # deleted, paused or submitted meanwhile
        row.last_due, row.last_message = row.next_due, ""
        try:
            # after now and not after the last one: what was missed is made up for by this run
            row.next_due = due_after(row.cron, row.timezone, now)[0]
        except GavipError as e:
            # a time zone that the system no longer knows
            row.next_due, row.last_message = None, f"Paused: {e.message}"
            return None
        left_out = _left_out(OverlapPolicy(row.overlap), schedules.unfinished(session, row.id))
        if left_out:
            row.last_message = left_out
            return None
        origin = JobOrigin(kind=OriginKind.SCHEDULE, id=row.id)
        try:
            wanted = JobSubmission.model_validate(row.submission)
            # what is refused is refused before anything is written
            job = self._submission.store(
                session, self._submission.row(wanted, origin), wanted.hooks
            )
        except GavipError as e:
            row.last_message = f"Not submitted: {e.message}"
            return None
        row.last_job = job.id
        return job.id, job.owner


def _left_out(overlap: OverlapPolicy, unfinished: list[JobState]) -> str:
    """Say why a run is left out, or nothing when it is not."""
    if overlap is OverlapPolicy.SKIP and unfinished:
        return "Left out: an earlier run was not over."
    if overlap is OverlapPolicy.QUEUE_ONE and JobState.QUEUED in unfinished:
        return "Left out: an earlier run was still waiting."
    return ""


def _model(row: ScheduleRow) -> Schedule:
    job = JobSubmission.model_validate(row.submission)
    upcoming: list[datetime] = []
    if row.next_due is not None:
        upcoming = [
            row.next_due,
            *due_after(row.cron, row.timezone, row.next_due, _SHOWN_RUNS - 1),
        ]
    return Schedule(
        id=row.id,
        owner=row.owner,
        title=row.title,
        avi=job.avi,
        release=job.release,
        pipeline=job.pipeline,
        parameters=job.parameters,
        cron=row.cron,
        timezone=row.timezone,
        overlap=OverlapPolicy(row.overlap),
        paused=row.next_due is None,
        next_runs=tuple(upcoming),
        last_due=row.last_due,
        last_job=row.last_job,
        last_message=row.last_message,
        created=row.created,
    )
