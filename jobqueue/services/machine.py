"""The state machine of a job: each transition is one method, and nothing else writes ``state``.

``queued → starting → running → succeeded | failed | cancelled | timed-out``; an attempt that
vanished makes the job ``lost`` and, once, ``queued`` again. Invariants: a transition, its event and
its effect on the ledger are one transaction; a job holds a reservation exactly while it is starting
or running; only the newest attempt counts.
"""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from gavip_api.enums import EventKind, JobState, ReservationKind, ReservationState
from gavip_api.errors import Conflict
from gavip_api.models import JobError, Progress, ReservationRequest, utcnow
from jobqueue.storage import events, jobs
from jobqueue.storage.orm import AttemptRow, JobRow

from .history import RunTimes
from .ledger import Ledger
from .outcome import Outcome
from .waiting import Waitlist

RETRIES_AFTER_LOSS = 1

_S = JobState
_ALLOWED: dict[JobState, frozenset[JobState]] = {
    # failed: what can never start is told so instead of waiting for ever
    _S.QUEUED: frozenset({_S.STARTING, _S.CANCELLED, _S.FAILED}),
    # a short attempt may be over before anybody saw it run
    _S.STARTING: frozenset(
        {_S.RUNNING, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMED_OUT, _S.LOST}
    ),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.TIMED_OUT, _S.LOST}),
    _S.LOST: frozenset({_S.QUEUED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.TIMED_OUT: frozenset(),
}


class JobMachine:
    """Moves jobs from state to state, in the caller's write transaction.

    Parameters
    ----------
    ledger : Ledger
        Where starting jobs reserve.
    waitlist : Waitlist
        Told what is queued.
    history : RunTimes
        Told how long runs took.
    """

    def __init__(self, ledger: Ledger, waitlist: Waitlist, history: RunTimes) -> None:
        self._ledger = ledger
        self._waitlist = waitlist
        self._history = history

    def submit(self, session: Session, job: JobRow) -> None:
        """Enter a new job: queued."""
        job.state = _S.QUEUED.value
        session.add(job)
        session.flush()
        self._waitlist.entered(session, job)
        events.append(session, job, EventKind.STATE)

    def begin(self, session: Session, job: JobRow, product: str) -> bool:
        """``queued → starting``: reserve and open a new attempt; return False when the ledger does not grant it.

        Parameters
        ----------
        product : str
            Folder of the attempt's data product, relative to the owner's user-space.
        """
        self._check(job, _S.STARTING)
        request = ReservationRequest(
            id=jobs.reservation_id(job.id),
            owner=job.owner,
            kind=ReservationKind.JOB,
            amount=jobs.amount(job).wire(),
            title=f"Job {job.title}",
        )
        end = time.time() + job.time_limit
        if self._ledger.reserve(session, request, end).state is not ReservationState.GRANTED:
            return False
        job.attempt += 1
        job.progress = Progress().model_dump()
        session.add(
            AttemptRow(
                job_id=job.id,
                number=job.attempt,
                # no token yet: it is made when the process is, so that it is never stored in clear
                token_hash="",
                product=product,
                created=utcnow(),
            )
        )
        message = f"attempt {job.attempt}" if job.attempt > 1 else ""
        self._move(session, job, _S.STARTING, message)
        return True

    def run(self, session: Session, job: JobRow) -> None:
        """``starting → running``; a job that runs already is left alone."""
        if job.state == _S.RUNNING.value:
            return
        self._check(job, _S.RUNNING)
        now = utcnow()
        job.started = job.started or now
        jobs.attempt(session, job).started = now
        end = now.timestamp() + job.time_limit
        self._ledger.expect_end(session, jobs.reservation_id(job.id), end)
        self._move(session, job, _S.RUNNING)

    def progress(self, session: Session, job: JobRow, progress: Progress) -> None:
        """Note how far a job is; the first report also says that it runs."""
        self.run(session, job)
        job.progress = progress.model_dump()
        events.append(session, job, EventKind.PROGRESS, progress.message)

    def request_cancel(self, session: Session, job: JobRow) -> None:
        """Cancel: at once when queued, else as soon as the process has ended; nothing when it is over."""
        state = JobState(job.state)
        if state.is_final or job.cancel_requested:
            return
        job.cancel_requested = True
        if state is _S.QUEUED:
            job.ended = utcnow()
            self._move(session, job, _S.CANCELLED)
        else:
            events.append(session, job, EventKind.PROGRESS, "stopping")

    def refuse(self, session: Session, job: JobRow, error: JobError) -> None:
        """``queued → failed``: it can never start, for example since the operator shrank the machine."""
        self._check(job, _S.FAILED)
        if job.state != _S.QUEUED.value:
            raise Conflict(f"A job that is {job.state} was not refused.")
        job.ended = utcnow()
        job.error = error.model_dump()
        self._move(session, job, _S.FAILED, error.message)

    def end(self, session: Session, job: JobRow, outcome: Outcome) -> None:
        """``starting | running →`` a final state, or ``lost → queued`` for the retry; releases the reservation."""
        self._check(job, outcome.state)
        if not JobState(job.state).holds_resources:
            raise Conflict(f"A job that is {job.state} has no attempt to end.")
        now = utcnow()
        attempt = jobs.attempt(session, job)
        attempt.ended, attempt.outcome = now, outcome.state.value
        self._ledger.release(session, jobs.reservation_id(job.id))
        if outcome.state is _S.LOST:
            job.losses += 1
            if job.losses <= RETRIES_AFTER_LOSS and not job.cancel_requested:
                why = outcome.error.message if outcome.error else "The job's process vanished."
                self._move(session, job, _S.LOST, f"{why} It is tried again.")
                self._move(session, job, _S.QUEUED, "tried again")
                return
        job.ended = now
        job.error = outcome.error.model_dump() if outcome.error else None
        job.outputs = {"files": list(outcome.outputs)}
        job.product = attempt.product
        if outcome.state is _S.SUCCEEDED:
            if attempt.started is not None:
                took = (now - attempt.started).total_seconds()
                self._history.record(session, job.avi, job.pipeline, took)
            told = Progress.model_validate(job.progress)
            job.progress = Progress(done=told.total or 1, total=told.total or 1).model_dump()
        self._move(session, job, outcome.state, outcome.error.message if outcome.error else "")

    def _check(self, job: JobRow, to: JobState) -> None:
        if to not in _ALLOWED[JobState(job.state)]:
            raise Conflict(f"A job that is {job.state} cannot become {to}.")

    def _move(self, session: Session, job: JobRow, to: JobState, message: str = "") -> None:
        self._check(job, to)
        if job.state == _S.QUEUED.value:
            self._waitlist.left(session, job)
        job.state = to.value
        session.flush()
        if to is _S.QUEUED:
            self._waitlist.entered(session, job)
        events.append(session, job, EventKind.STATE, message)
