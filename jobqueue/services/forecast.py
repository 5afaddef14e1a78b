"""When waiting jobs should start: the scheduler in charge, run ahead in virtual time.

Jobs are taken to last as long as past runs of their pipeline did (the median), running ones at
least as long as they have. Invariants: bounded work, however long the queue; a forecast is kept for
a few seconds, for many readers ask at once; nothing is foretold that rests on servers, which end
when people stop them, and what rests on time limits only is said to.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from jobqueue.schedulers import Candidate, Running, WaitingQueue
from jobqueue.simulation import Simulation
from jobqueue.storage import jobs

from .history import RunTimes
from .ledger import Ledger
from .occupancy import QuickRoom
from .waiting import Waitlist

_KEPT_SECONDS = 5.0
_FEW_JOBS = 200
_MOST_STARTS = 200
_MOST_JOBS = 1000
_PER_OWNER = 50
_ENOUGH_FOR_A_RATE = 20
_LEAST_LEFT = 1.0


@dataclass(frozen=True)
class Forecast:
    """Expected starts, seconds since the epoch.

    Parameters
    ----------
    made : float
        When it was made.
    starts : dict
        Of the first jobs, by id.
    guessed : bool
        Whether time limits had to stand in for unknown run times.
    rate : float
        Starts per second, from which later ones follow; 0 when that cannot be told.
    version : int
        Of the waitlist that it was made from.
    """

    made: float
    starts: dict[str, float] = field(default_factory=dict)
    guessed: bool = False
    rate: float = 0.0
    version: int = -1

    def start(self, job_id: str, place: int) -> float | None:
        """Return the expected start of the job at `place` of the queue, or None when it cannot be told."""
        found = self.starts.get(job_id)
        if found is None and self.rate > 0 and place > len(self.starts):
            return self.made + place / self.rate
        return found


class Forecaster:
    """Makes forecasts.

    Parameters
    ----------
    ledger, waitlist, history
        Parts it uses.
    """

    def __init__(self, ledger: Ledger, waitlist: Waitlist, history: RunTimes) -> None:
        self._ledger = ledger
        self._waitlist = waitlist
        self._history = history
        self._lock = threading.Lock()
        self._last = Forecast(-math.inf)

    def get(self, session: Session, room: QuickRoom) -> Forecast:
        """Return a forecast: of this moment while few jobs wait, else one a few seconds old."""
        last = self._last
        fresh = time.time() - last.made < _KEPT_SECONDS
        if fresh and (last.version == self._waitlist.version or self._waitlist.count() > _FEW_JOBS):
            return last
        if not self._lock.acquire(blocking=False):
            # somebody else is at it
            return last
        try:
            self._last = self._make(session, room)
        finally:
            self._lock.release()
        return self._last

    def forget(self) -> None:
        """Make a new forecast when next asked: scheduler or pools have changed."""
        self._last = Forecast(-math.inf)

    def _make(self, session: Session, room: QuickRoom) -> Forecast:
        now, version = room.now, self._waitlist.version
        running: list[Running] = []
        guessed = False
        for job in jobs.active(session):
            known = self._history.estimate(job.avi, job.pipeline)
            begun = (job.started or job.created).timestamp()
            lasts = float(job.time_limit)
            if known is not None:
                lasts = min(lasts, known.seconds)
            guessed = guessed or known is None
            end = max(begun + lasts, now + _LEAST_LEFT)
            running.append(Running(end, job.owner, jobs.amount(job)))
        running += [thing for thing in room.running() if thing.end == math.inf]
        scheduler = self._waitlist.scheduler
        queue = WaitingQueue(scheduler.rank, self._waitlist.excerpt(_MOST_JOBS, _PER_OWNER))
        ahead = Simulation(
            scheduler,
            self._ledger.capacity,
            self._ledger.rules.known,
            self._ledger.shares.copy(),
            queue,
            running,
            now,
        )
        starts: dict[str, float] = {}
        while queue and len(starts) < _MOST_STARTS:
            for start in ahead.start_all(_expected):
                starts[start.candidate.id] = start.time
                guessed = guessed or start.candidate.estimate is None
                if len(starts) >= _MOST_STARTS:
                    break
            if ahead.next_end == math.inf:
                break
            ahead.advance(ahead.next_end)
        last = max(starts.values(), default=now)
        enough = len(starts) >= _ENOUGH_FOR_A_RATE and last > now
        rate = len(starts) / (last - now) if enough else 0.0
        return Forecast(now, starts, guessed, rate, version)


def _expected(candidate: Candidate) -> float:
    return max(_LEAST_LEFT, candidate.expected)
