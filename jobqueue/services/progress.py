"""Progress reports on their way to the database.

Invariants: a job's reports are stored at most once per :data:`INTERVAL`, so that a chatty runner
cannot fill the history; the newest one is always stored in the end; a report that arrives after its
attempt ended changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time

from sqlalchemy.orm import Session

from gavip_api.enums import JobState
from gavip_api.errors import GavipError
from gavip_api.models import Progress, ProgressReport
from gavip_web.database import Database
from jobqueue.storage import jobs

from .events import EventBus
from .machine import JobMachine

log = logging.getLogger("jobqueue.progress")

INTERVAL = 0.25


class ProgressIntake:
    """Stores the newest report of each job, not too often.

    Parameters
    ----------
    database, bus, machine
        Parts it uses.
    """

    def __init__(self, database: Database, bus: EventBus, machine: JobMachine) -> None:
        self._database = database
        self._bus = bus
        self._machine = machine
        self._stored: dict[str, float] = {}
        self._pending: dict[str, ProgressReport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, job_id: str, report: ProgressReport) -> None:
        """Take a report whose token was checked; returns before it is stored when the last one was just now."""
        if job_id in self._pending:
            self._pending[job_id] = report
            return
        wait = self._stored.get(job_id, 0.0) + INTERVAL - time.monotonic()
        if wait <= 0:
            await self._store(job_id, report)
            return
        self._pending[job_id] = report
        task = asyncio.ensure_future(self._later(job_id, wait))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, job_id: str) -> None:
        """Drop what is known of a job that has ended."""
        self._stored.pop(job_id, None)
        self._pending.pop(job_id, None)

    async def close(self) -> None:
        """Store what is pending."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _later(self, job_id: str, wait: float) -> None:
        await asyncio.sleep(wait)
        report = self._pending.pop(job_id, None)
        if report is None:
            return
        try:
            await self._store(job_id, report)
        except GavipError as e:
            log.warning("progress of %s not stored: %s", job_id, e.message)

    async def _store(self, job_id: str, report: ProgressReport) -> None:
        def work(session: Session) -> str | None:
            row = jobs.get(session, job_id)
            # it may have ended while the report waited here
            if row.attempt != report.attempt or not JobState(row.state).holds_resources:
                return None
            told = Progress.model_validate(report.model_dump(exclude={"attempt"}))
            self._machine.progress(session, row, told)
            return row.owner

        self._stored[job_id] = time.monotonic()
        owner = await self._database.write(work)
        if owner is None:
            self._stored.pop(job_id, None)
        else:
            self._bus.notify(job_id, owner)
