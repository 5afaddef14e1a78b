"""Running the schedulers in virtual time: for forecasts of starting times, and for the bench.

Invariants: decisions are taken by the very scheduler classes of the service, on the very queue; a
job is started only if it fits its owner's pool and the machine, so a scheduler that picks wrongly
fails loudly.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .amounts import Amount
from .schedulers import Candidate, Running, Scheduler, ShareBook, WaitingQueue

_NONE = Amount()


@dataclass(frozen=True, slots=True)
class Start:
    """A job that was started.

    Parameters
    ----------
    candidate : Candidate
        Which.
    time : float
        When, seconds.
    seconds : float
        How long it runs.
    """

    candidate: Candidate
    time: float
    seconds: float


class Simulation:
    """A machine in virtual time; it is also the room that its scheduler sees.

    Parameters
    ----------
    scheduler : Scheduler
        Picks.
    capacity : Amount
        Of the machine.
    pool : callable
        The limit of a user.
    shares : ShareBook
        What users have had; kept up to date here.
    queue : WaitingQueue
        What waits at the beginning, in the scheduler's order.
    running : iterable of Running
        What runs at the beginning; `end` is when it really ends.
    now : float
        Time at the beginning, seconds.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        capacity: Amount,
        pool: Callable[[str], Amount],
        shares: ShareBook,
        queue: WaitingQueue,
        running: Iterable[Running] = (),
        now: float = 0.0,
    ) -> None:
        self.now = now
        self.shares = shares
        self.queue = queue
        self.held: dict[str, Amount] = {}
        self._scheduler = scheduler
        self._pool = pool
        self._free = capacity
        self._count = 0
        # (real end, number, what schedulers are told)
        self._events: list[tuple[float, int, Running]] = []
        self._running: dict[int, Running] = {}
        for thing in running:
            self._occupy(thing, thing.end)

    # -- the room --

    def in_pool(self, owner: str) -> Amount:
        """Return what `owner` may still take."""
        limit = self._pool(owner)
        held = self.held.get(owner)
        return limit if held is None else limit - held

    def in_machine(self) -> Amount:
        """Return what is free in total."""
        return self._free

    def running(self) -> Iterable[Running]:
        """Return all that runs, with the latest end."""
        return self._running.values()

    # -- time --

    @property
    def next_end(self) -> float:
        """When the next thing ends; infinite when nothing does."""
        return self._events[0][0] if self._events else math.inf

    def advance(self, to: float) -> None:
        """Go on to a time, ending what ends by then."""
        while self._events and self._events[0][0] <= to:
            self.now, number, thing = heapq.heappop(self._events)
            del self._running[number]
            self._free = self._free + thing.amount
            held = self.held[thing.owner] - thing.amount
            if held == _NONE:
                del self.held[thing.owner]
            else:
                self.held[thing.owner] = held
            self.shares.hold(thing.owner, held, self.now)
        self.now = max(self.now, to) if to < math.inf else self.now

    def submit(self, candidate: Candidate) -> None:
        """Enter a job."""
        self.shares.know(candidate.owner)
        self.queue.add(candidate)

    def start_all(self, seconds: Callable[[Candidate], float]) -> Iterator[Start]:
        """Start jobs as long as the scheduler picks any.

        Parameters
        ----------
        seconds : callable
            How long a job really runs.

        Raises
        ------
        RuntimeError
            If the scheduler picks what does not fit.
        """
        while self.queue:
            candidate = self._scheduler.pick(self.queue, self)
            if candidate is None:
                return
            amount = candidate.amount
            if not (amount.fits(self._free) and amount.fits(self.in_pool(candidate.owner))):
                raise RuntimeError(f"{type(self._scheduler).__name__} picked what does not fit")
            self.queue.discard(candidate.id)
            length = min(seconds(candidate), candidate.limit)
            told = Running(self.now + candidate.limit, candidate.owner, amount)
            self._occupy(told, self.now + length)
            yield Start(candidate, self.now, length)

    def _occupy(self, thing: Running, end: float) -> None:
        self._count += 1
        self._running[self._count] = thing
        if end < math.inf:
            heapq.heappush(self._events, (end, self._count, thing))
        self._free = self._free - thing.amount
        held = self.held.get(thing.owner, _NONE) + thing.amount
        self.held[thing.owner] = held
        self.shares.hold(thing.owner, held, self.now)
