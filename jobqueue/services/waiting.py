"""The waiting jobs in memory, in step with the database, and the scheduler that picks from them.

Invariants: a job is in the list exactly while it is committed as queued (changes follow their
commit, see :mod:`jobqueue.storage.hooks`); should the two ever differ, the database is right and
:meth:`Waitlist.load` makes them agree. Every method may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from jobqueue.amounts import Amount
from jobqueue.schedulers import Candidate, Room, Scheduler, ShareBook, WaitingQueue
from jobqueue.storage import jobs
from jobqueue.storage.hooks import on_commit
from jobqueue.storage.orm import JobRow

from .history import RunTimes


class Waitlist:
    """Waiting jobs and their scheduler.

    Parameters
    ----------
    scheduler : Scheduler
        Picks; may be exchanged while the queue runs.
    history : RunTimes
        What runs are expected to take.
    shares : ShareBook
        Told of users when they first appear.

    Attributes
    ----------
    version : int
        Grows with every change.
    """

    def __init__(self, scheduler: Scheduler, history: RunTimes, shares: ShareBook) -> None:
        self._lock = threading.RLock()
        self._scheduler = scheduler
        self._history = history
        self._shares = shares
        self._queue = WaitingQueue(scheduler.rank)
        self.version = 0
        # equal strings and amounts are kept once: 100,000 jobs of 500 users repeat them all
        self._same: dict[object, object] = {}

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler in charge."""
        return self._scheduler

    def switch(self, scheduler: Scheduler) -> None:
        """Put another scheduler in charge, from the next decision on."""
        with self._lock:
            self._scheduler = scheduler
            self._queue = self._queue.ranked(scheduler.rank)
            self.version += 1

    # -- in step with the database --

    def load(self, session: Session) -> None:
        """Read all queued jobs."""
        with self._lock:
            self._same.clear()
            candidates = [self._candidate(*facts) for facts in jobs.queued(session)]
            for candidate in candidates:
                self._shares.know(candidate.owner)
            self._queue = WaitingQueue(self._scheduler.rank, candidates)
            self.version += 1

    def check(self, session: Session) -> bool:
        """Compare with the database and read anew when they differ; return whether they agreed."""
        with self._lock:
            if len(self._queue) == jobs.count(session, ("queued",)):
                return True
            self.load(session)
            return False

    def entered(self, session: Session, job: JobRow) -> None:
        """Enter a job once its transaction is committed."""
        candidate = self.candidate(job)

        def enter() -> None:
            with self._lock:
                self._shares.know(candidate.owner)
                self._queue.add(candidate)
                self.version += 1

        on_commit(session, enter)

    def left(self, session: Session, job: JobRow) -> None:
        """Take a job out once its transaction is committed."""
        job_id = job.id

        def leave() -> None:
            with self._lock:
                self._queue.discard(job_id)
                self.version += 1

        on_commit(session, leave)

    def candidate(self, job: JobRow) -> Candidate:
        """Return a job as schedulers see it."""
        return self._candidate(
            job.id,
            job.owner,
            job.avi,
            job.pipeline,
            job.memory,
            job.millicpu,
            job.archive or 0,
            job.time_limit,
            job.created,
        )

    def _candidate(
        self,
        job_id: str,
        owner: str,
        avi: str,
        pipeline: str,
        memory: int,
        millicpu: int,
        archive: int,
        time_limit: int,
        created: datetime,
    ) -> Candidate:
        known = self._history.estimate(avi, pipeline)
        amount = Amount(memory, millicpu, 1, archive)
        if len(self._same) > _MOST_KEPT:
            self._same.clear()
        return Candidate(
            id=job_id,
            owner=str(self._same.setdefault(owner, owner)),
            amount=self._same.setdefault(amount, amount),  # type: ignore[arg-type]
            submitted=created.timestamp(),
            limit=float(time_limit),
            estimate=known.seconds if known is not None else None,
        )

    # -- asking --

    def pick(self, room: Room) -> Candidate | None:
        """Return the job to start now, or None."""
        # the locks are always taken in this order
        with self._lock, self._shares.lock:
            return self._scheduler.pick(self._queue, room) if self._queue else None

    def places(self, candidates: Sequence[Candidate], room: Room) -> list[int]:
        """Return the places of jobs in the queue, from 1."""
        with self._lock, self._shares.lock:
            return self._scheduler.places(self._queue, candidates, room)

    def count(self, owner: str | None = None) -> int:
        """Return how many jobs wait, in all or of `owner`."""
        with self._lock:
            return len(self._queue) if owner is None else self._queue.count(owner)

    def __contains__(self, job_id: str) -> bool:
        with self._lock:
            return job_id in self._queue

    def beyond(self, limit: Callable[[str], Amount], most: int) -> list[str]:
        """Return the ids of jobs that need more than their owner's limit, at most `most`."""
        with self._lock:
            limits = {owner: limit(owner) for owner in self._queue.owners()}
            found = (c.id for c in self._queue if not c.amount.fits(limits[c.owner]))
            return [job_id for job_id, _ in zip(found, range(most), strict=False)]

    def excerpt(self, most: int, per_owner: int) -> list[Candidate]:
        """Return the first jobs of each owner, at most `most` in all."""
        with self._lock:
            rows = self._queue.abreast(per_owner)
            return [candidate for (candidate, _), _ in zip(rows, range(most), strict=False)]


_MOST_KEPT = 20_000
