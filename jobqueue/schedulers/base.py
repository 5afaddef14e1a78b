"""What schedulers see and what they are: candidates, the room there is, and the base class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from traitlets.config import Configurable

from jobqueue.amounts import Amount

if TYPE_CHECKING:
    from .shares import ShareBook
    from .waiting import WaitingQueue


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A queued job as schedulers see it.

    Parameters
    ----------
    id : str
        Sorts by submission.
    owner : str
        Whose pool it counts against.
    amount : Amount
        What it needs.
    submitted : float
        When, seconds since the epoch.
    limit : float
        Seconds after which it is stopped whatever it does.
    estimate : float, optional
        Seconds that past runs of its pipeline took; None when nothing is known.
    """

    id: str
    owner: str
    amount: Amount
    submitted: float = 0.0
    limit: float = math.inf
    estimate: float | None = None

    @property
    def expected(self) -> float:
        """Seconds it should take: the estimate, at most the limit, or the limit when nothing is known."""
        return self.limit if self.estimate is None else min(self.estimate, self.limit)


class Running(NamedTuple):
    """Something that holds resources.

    Parameters
    ----------
    end : float
        When it is over at the latest, seconds since the epoch; infinite for servers.
    owner : str
        Whose.
    amount : Amount
        What it holds.
    """

    end: float
    owner: str
    amount: Amount


class Room(Protocol):
    """What is free at the moment of the decision."""

    now: float
    """The time, seconds since the epoch."""

    shares: ShareBook
    """What everybody has had of the machine."""

    def in_pool(self, owner: str) -> Amount:
        """Return what `owner` may still take."""
        ...

    def in_machine(self) -> Amount:
        """Return what is free in total."""
        ...

    def running(self) -> Iterable[Running]:
        """Return all that holds resources, in any order."""
        ...


class Scheduler(Configurable):
    """Picks the next job.

    Subclasses override :meth:`pick`, and :meth:`rank` when jobs of one user shall not run in the
    order of their submission. They keep no state between calls.
    """

    title: ClassVar[str] = ""
    """One line for operators."""

    reorders: ClassVar[bool] = False
    """Whether jobs may start in another order than that of their submission."""

    def pick(self, queue: WaitingQueue, room: Room) -> Candidate | None:
        """Return the job to start now, or None to wait.

        Parameters
        ----------
        queue : WaitingQueue
            The queued jobs, per user in the order of :meth:`rank`.
        room : Room
            What is free.
        """
        raise NotImplementedError

    def rank(self, candidate: Candidate) -> Any:
        """Return what the jobs of a user are sorted by; must not change while a job waits."""
        return candidate.id

    def places(self, queue: WaitingQueue, candidates: Sequence[Candidate], room: Room) -> list[int]:
        """Return the places of jobs in the queue, from 1, as far as they can be told.

        Parameters
        ----------
        candidates : sequence of Candidate
            Jobs that are, or are about to be, in the queue.
        """
        return [queue.place(candidate) for candidate in candidates]
