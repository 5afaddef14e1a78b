"""Schedulers: which queued job starts next.

A scheduler is a class with one method, :meth:`Scheduler.pick`; the application chooses the class by
a trait. Invariant: a scheduler only chooses; granting is the ledger's, in the transaction that
starts the job, so a wrong choice can delay a job but never over-allocate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from .amounts import Amount


@dataclass(frozen=True)
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
    """

    id: str
    owner: str
    amount: Amount


class Room(Protocol):
    """What is free at the moment of the decision."""

    def in_pool(self, owner: str) -> Amount:
        """Return what `owner` may still take."""
        ...

    def in_machine(self) -> Amount:
        """Return what is free in total."""
        ...


class Scheduler(ABC):
    """Picks the next job."""

    @abstractmethod
    def pick(self, queue: Iterable[Candidate], room: Room) -> Candidate | None:
        """Return the job to start now, or None to wait.

        Parameters
        ----------
        queue : iterable of Candidate
            Queued jobs in order of submission, read lazily: stop as soon as the answer is known.
        room : Room
            What is free.
        """


class Fifo(Scheduler):
    """First in, first out: per user strictly, over users as far as their pools let them.

    A job that waits for its owner's own pool steps aside for other users; one that waits for the
    machine holds everybody behind it, for otherwise small jobs would starve big ones.
    """

    def pick(self, queue: Iterable[Candidate], room: Room) -> Candidate | None:
        """Return the oldest job whose owner's pool has room, if the machine has room for it."""
        full: set[str] = set()
        for candidate in queue:
            if candidate.owner in full:
                continue
            if not candidate.amount.fits(room.in_pool(candidate.owner)):
                full.add(candidate.owner)
                continue
            return candidate if candidate.amount.fits(room.in_machine()) else None
        return None
