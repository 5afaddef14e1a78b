"""The reconciler: makes what runs agree with what is recorded.

Level-triggered: each cycle looks at the database and the plane as they are and does what is
missing, so a lost wake-up or a crash at any instant only delays. Invariants: what is done was
recorded before; a process is created under its unique name, inspected, and started only if it never
was; a job has at most one driver here, and its attempt at most one process anywhere. After the
crash of this process the first cycle is the recovery: running attempts are adopted, ended ones
finished, vanished ones lost.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.orm import Session

from gavip_api.enums import JobState, Template
from gavip_api.errors import GavipError, Unavailable
from gavip_api.models import JobError, UserProfile, utcnow
from gavip_spawner.plane import NoRoom, ProcessPhase, ProcessStatus
from gavip_web import tasks
from gavip_web.database import Database
from jobqueue.backends import Attempt, JobBackend
from jobqueue.storage import jobs
from jobqueue.storage.orm import JobRow

from . import tokens
from .events import EventBus
from .ledger import Ledger, NeverFits
from .machine import JobMachine
from .outcome import GAVE_UP, outcome
from .progress import ProgressIntake
from .waiting import Waitlist

log = logging.getLogger("jobqueue.reconciler")

_Transition = Callable[[Session, JobRow], None]

_START_TRIES = 5
_RETRY_SECONDS = 2.0
_OVERTIME = 30.0
"""Seconds beyond its limit after which the queue itself stops an attempt that the plane should have stopped."""

_REMOVED_AT_ONCE = 50

_REFUSED_AT_ONCE = 1000
_LEAST_BETWEEN = 0.02
_LEAST_PAUSE = 0.5

_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Faults of the machine that pass and say nothing of the job that met them."""


class Reconciler:
    """Starts, watches and finishes jobs.

    Parameters
    ----------
    database, bus, ledger, machine, intake, backend, waitlist
        Parts it uses.
    period : float
        Seconds between cycles when nothing wakes it.
    stop_grace : float
        Seconds a cancelled job may take to end by itself.
    retention : timedelta
        How long ended jobs are kept.
    housekeeping : float
        Seconds between looks for strays, for what no longer fits and for what is past its retention.
    """

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        ledger: Ledger,
        machine: JobMachine,
        intake: ProgressIntake,
        backend: JobBackend,
        waitlist: Waitlist,
        *,
        period: float,
        stop_grace: float,
        retention: timedelta,
        housekeeping: float,
    ) -> None:
        self._database = database
        self._bus = bus
        self._ledger = ledger
        self._machine = machine
        self._intake = intake
        self._backend = backend
        self._waitlist = waitlist
        self._period = period
        self._stop_grace = stop_grace
        self._retention = retention
        self._housekeeping = housekeeping
        self._next_housekeeping = 0.0
        self._more_to_remove = False
        self._awake = asyncio.Event()
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._stoppers: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = defaultdict(int)

    def wake(self) -> None:
        """Ask for a cycle now."""
        self._awake.set()

    async def run(self) -> None:
        """Cycle until cancelled."""
        try:
            while True:
                self._awake.clear()
                try:
                    await self.cycle()
                except GavipError as e:
                    # a locked or full database, a plane that is down: the next cycle does what this one could not
                    log.warning("cycle incomplete: %s", e.message)
                except Exception:
                    # the loop must outlive any fault: jobs that run are watched by nobody else
                    log.exception("cycle failed")
                over = time.monotonic()
                await tasks.woken(self._awake, self._pause())
                # what comes in a burst is looked at together; what comes alone, at once
                await asyncio.sleep(over + _LEAST_BETWEEN - time.monotonic())
        finally:
            await self._stop_tasks()

    def _pause(self) -> float:
        # not sooner than that: a lease that cannot be released, as on a full disk, must not make this spin
        until_lease = max(_LEAST_PAUSE, self._ledger.next_expiry() - time.time())
        return min(self._period, until_lease)

    async def cycle(self) -> None:
        """Do everything that is missing, once."""
        await self._look_after_active()
        if self._ledger.next_expiry() <= time.time():
            for name in await self._database.write(self._ledger.release_expired):
                log.warning("released %s: nobody asked for it again in time", name)
        while await self._start_next():
            pass
        if time.monotonic() >= self._next_housekeeping:
            await self._keep_house()
            self._next_housekeeping = time.monotonic() + self._housekeeping
            self._more_to_remove = True
        if self._more_to_remove:
            # in portions, each in a cycle of its own: jobs that may start do not wait for old ones to go
            self._more_to_remove = await self._remove_old()
            if self._more_to_remove:
                self.wake()

    # -- starting --

    async def _start_next(self) -> bool:
        """Start the job that the scheduler picks; return whether there was one."""
        # from memory first: most wake-ups start nothing, and need no transaction to find that out
        if await asyncio.to_thread(self._waitlist.pick, self._ledger.room()) is None:
            return False
        picked = await self._database.write(self._pick)
        if picked is None:
            return False
        job_id, owner = picked
        self._bus.notify(job_id, owner)
        self._drive(job_id)
        return True

    def _pick(self, session: Session) -> tuple[str, str] | None:
        choice = self._waitlist.pick(self._ledger.room())
        if choice is None:
            return None
        job = session.get(JobRow, choice.id)
        if job is not None and job.state == JobState.QUEUED.value:
            product = self._backend.product(
                job.owner, job.avi, job.pipeline, job.id, job.created, job.attempt + 1
            )
            if self._machine.begin(session, job, product):
                return job.id, job.owner
        # another process wrote, or a third party's scheduler errs: what is stored is right
        log.warning("job %s was picked and cannot start now; reading the queue anew", choice.id)
        self._ledger.load(session)
        self._waitlist.load(session)
        return None

    # -- what starts and runs --

    async def _look_after_active(self) -> None:
        for job_id, attempt, cancelled in await self._database.read(jobs.watched):
            self._drive(job_id)
            if cancelled:
                self._stop(job_id, attempt)

    def _drive(self, job_id: str) -> None:
        if job_id in self._drivers:
            return
        task = asyncio.ensure_future(self._drive_to_end(job_id))
        self._drivers[job_id] = task

        def done(_: asyncio.Task[None]) -> None:
            self._drivers.pop(job_id, None)
            # what it held is free, or it failed and must be driven again
            self.wake()

        task.add_done_callback(done)

    async def _drive_to_end(self, job_id: str) -> None:
        """Bring the present attempt of a job to its end, from wherever it is."""
        try:
            attempt, state, cancelled = await self._database.read(_snapshot, job_id)
            if not state.holds_resources:
                return
            status = await self._ensure_started(attempt, state, cancelled)
            if not status.over:
                await self._change(job_id, attempt.number, self._machine.run)
                status = await self._wait(attempt)
            await self._finish(attempt, status)
            self._failures.pop(job_id, None)
        except GavipError as e:
            log.warning("job %s: %s", job_id, e.message)
            # slows the retry that `done` asks for
            await asyncio.sleep(_RETRY_SECONDS)
        except Exception:
            log.exception("job %s: driver failed", job_id)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _ensure_started(
        self, attempt: Attempt, state: JobState, cancelled: bool
    ) -> ProcessStatus:
        status = await self._backend.inspect(attempt)
        # a *running* job that is absent vanished; a *starting* one never came to be
        if state is not JobState.STARTING:
            return status
        if cancelled and status.phase in (ProcessPhase.ABSENT, ProcessPhase.CREATED):
            await self._backend.stop(attempt.job_id, attempt.number, 0)
            return ProcessStatus(attempt.name, ProcessPhase.ABSENT)
        token = ""
        if status.phase is ProcessPhase.ABSENT:
            token = await self._database.write(_issue, attempt.job_id)
        if status.phase in (ProcessPhase.ABSENT, ProcessPhase.CREATED):
            try:
                if token:
                    await self._backend.create(attempt, token)
                status = await self._backend.start(attempt)
            except NoRoom:
                raise
            except (GavipError, OSError) as e:
                if isinstance(e, OSError) and e.errno in _PASSING:
                    # a full disk is nothing about this job: it waits until there is room
                    raise Unavailable(f"It cannot be started now: {e.strerror}.") from e
                # counted here and not in the driver: a locked database must never fail a job
                self._failures[attempt.job_id] += 1
                if self._failures[attempt.job_id] < _START_TRIES:
                    raise
                status = await self._give_up(attempt)
            # a cancellation between the look at the record and the start found nothing to stop
            self.wake()
        return status

    async def _give_up(self, attempt: Attempt) -> ProcessStatus:
        # first make sure that it never runs, then say that it does not
        await self._backend.stop(attempt.job_id, attempt.number, 0)
        status = await self._backend.inspect(attempt)
        if status.phase is ProcessPhase.ABSENT or (
            status.reason == "stopped" and status.exit_code is None
        ):
            return ProcessStatus(attempt.name, ProcessPhase.EXITED, reason=GAVE_UP)
        return status

    async def _wait(self, attempt: Attempt) -> ProcessStatus:
        try:
            return await asyncio.wait_for(
                self._backend.wait(attempt), attempt.time_limit + _OVERTIME
            )
        except asyncio.TimeoutError:
            log.warning("job %s: the plane did not enforce the time limit", attempt.job_id)
            status = await self._backend.stop(attempt.job_id, attempt.number, self._stop_grace)
            return ProcessStatus(
                status.name, status.phase, status.exit_code, "time", status.started, status.ended
            )

    async def _finish(self, attempt: Attempt, status: ProcessStatus) -> None:
        result = await self._backend.result(attempt)

        def decide(session: Session, job: JobRow) -> None:
            ended = outcome(
                status,
                result,
                cancelled=job.cancel_requested,
                memory=job.memory,
                time_limit=job.time_limit,
            )
            self._machine.end(session, job, ended)

        await self._change(attempt.job_id, attempt.number, decide)
        self._intake.forget(attempt.job_id)
        log.info("job %s attempt %d is over", attempt.job_id, attempt.number)

    async def _change(self, job_id: str, number: int, transition: _Transition) -> None:
        """Apply a transition if the attempt is still the one that counts, and tell the readers."""

        def work(session: Session) -> str | None:
            job = jobs.get(session, job_id)
            if job.attempt != number or not JobState(job.state).holds_resources:
                return None
            transition(session, job)
            return job.owner

        owner = await self._database.write(work)
        if owner is not None:
            self._bus.notify(job_id, owner)

    # -- stopping --

    def _stop(self, job_id: str, attempt: int) -> None:
        if job_id in self._stoppers:
            return

        async def stop() -> None:
            try:
                await self._backend.stop(job_id, attempt, self._stop_grace)
            except GavipError as e:
                log.warning("job %s not stopped now: %s", job_id, e.message)

        task = asyncio.ensure_future(stop())
        self._stoppers[job_id] = task
        task.add_done_callback(lambda _: self._stoppers.pop(job_id, None))

    async def _stop_tasks(self) -> None:
        # the processes go on; the next start of the queue adopts them
        await tasks.end(*self._drivers.values(), *self._stoppers.values())

    # -- keeping house --

    async def _keep_house(self) -> None:
        await self._refuse_too_large()
        await self._stop_strays()

    async def _refuse_too_large(self) -> None:
        """Tell jobs that no longer fit: the operator may have made pool or machine smaller since."""

        def work(session: Session) -> list[tuple[str, str]]:
            for part in (self._ledger, self._waitlist):
                if not part.check(session):
                    log.warning("%s in memory was not that of the database", type(part).__name__)
            refused = []
            for job_id in self._waitlist.beyond(self._ledger.rules.known, _REFUSED_AT_ONCE):
                job = jobs.get(session, job_id)
                pool = self._ledger.rules.limit(session, job.owner)
                try:
                    self._ledger.check_ever(jobs.amount(job), f"Job {job.title}", pool)
                except NeverFits as e:
                    error = JobError(code="never-fits", message=e.message, hint=e.hint or "")
                    self._machine.refuse(session, job, error)
                    refused.append((job.id, job.owner))
            return refused

        for job_id, owner in await self._database.write(work):
            self._bus.notify(job_id, owner)

    async def _stop_strays(self) -> None:
        """Stop attempts that the records do not count: nobody granted what they use."""

        def live(session: Session) -> set[tuple[str, int]]:
            return {(job.id, job.attempt) for job in jobs.active(session)}

        # the plane first: an attempt that begins in between is then in the records that are read next
        found = await self._backend.unfinished()
        counted = await self._database.read(live)
        for status, job_id, number in found:
            if (job_id, number) not in counted:
                log.warning("stopping %s, which is not recorded as running", status.name)
                await self._backend.stop(job_id, number, self._stop_grace)

    async def _remove_old(self) -> bool:
        """Remove some of what is past its retention; return whether there may be more."""
        before = utcnow() - self._retention

        def read(session: Session) -> list[tuple[str, list[int]]]:
            old = jobs.ended_before(session, before, _REMOVED_AT_ONCE)
            return [(j.id, [a.number for a in jobs.attempts(session, j.id)]) for j in old]

        old = await self._database.read(read)
        for job_id, numbers in old:
            await self._backend.remove(job_id, numbers)
            await self._database.write(jobs.forget, job_id)
        return len(old) == _REMOVED_AT_ONCE


def _snapshot(session: Session, job_id: str) -> tuple[Attempt, JobState, bool]:
    job = jobs.get(session, job_id)
    row = jobs.attempt(session, job)
    attempt = Attempt(
        job_id=job.id,
        number=job.attempt,
        owner=UserProfile.model_validate(job.owner_profile),
        avi=job.avi,
        release=job.release,
        pipeline=job.pipeline,
        parameters=job.parameters,
        amount=jobs.amount(job).wire(),
        time_limit=job.time_limit,
        product=row.product,
        template=Template(job.template),
        permissions=jobs.permissions(job),
    )
    return attempt, JobState(job.state), job.cancel_requested


def _issue(session: Session, job_id: str) -> str:
    return tokens.issue(session, jobs.get(session, job_id))
