"""The queue of waiting jobs in memory: per user, in rank order, with every step in O(log n).

Invariants: a job is in it once; an owner is in it exactly while having a waiting job; the heads are
the first job of each owner. Not thread-safe; :class:`jobqueue.services.waiting.Waitlist` is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from sortedcontainers import SortedKeyList

from .base import Candidate


class WaitingQueue:
    """Waiting jobs.

    Parameters
    ----------
    rank : callable
        :meth:`Scheduler.rank` of the scheduler that picks from it.
    candidates : iterable of Candidate
        What it begins with.
    """

    def __init__(
        self, rank: Callable[[Candidate], Any], candidates: Iterable[Candidate] = ()
    ) -> None:
        self._rank = rank
        self._by_id: dict[str, Candidate] = {c.id: c for c in candidates}
        self._all = SortedKeyList(self._by_id.values(), key=rank)
        self._of: dict[str, SortedKeyList] = {}
        for candidate in self._all:
            self._own(candidate.owner).add(candidate)
        self._heads = SortedKeyList((own[0] for own in self._of.values()), key=rank)

    def _own(self, owner: str) -> Any:
        own = self._of.get(owner)
        if own is None:
            own = self._of[owner] = SortedKeyList(key=self._rank)
        return own

    # -- changing --

    def add(self, candidate: Candidate) -> None:
        """Enter a job; one that is in it already is left alone."""
        if candidate.id in self._by_id:
            return
        self._by_id[candidate.id] = candidate
        self._all.add(candidate)
        own = self._own(candidate.owner)
        before = own[0] if own else None
        own.add(candidate)
        if own[0] is candidate:
            if before is not None:
                self._heads.remove(before)
            self._heads.add(candidate)

    def discard(self, job_id: str) -> bool:
        """Take a job out; return whether it was in."""
        candidate = self._by_id.pop(job_id, None)
        if candidate is None:
            return False
        self._all.remove(candidate)
        own = self._of[candidate.owner]
        was_head = own[0] is candidate
        own.remove(candidate)
        if was_head:
            self._heads.remove(candidate)
            if own:
                self._heads.add(own[0])
            else:
                del self._of[candidate.owner]
        return True

    def ranked(self, rank: Callable[[Candidate], Any]) -> WaitingQueue:
        """Return a queue of the same jobs in the order of another scheduler."""
        return WaitingQueue(rank, self._by_id.values())

    # -- reading --

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._by_id

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._all)

    def heads(self) -> Iterator[Candidate]:
        """Yield the first job of each owner, in rank order."""
        return iter(self._heads)

    def head(self, owner: str) -> Candidate | None:
        """Return the first job of `owner`, if any waits."""
        own = self._of.get(owner)
        return own[0] if own else None

    def of(self, owner: str) -> Iterator[Candidate]:
        """Yield the jobs of `owner` in rank order."""
        return iter(self._of.get(owner, ()))

    def owners(self) -> Collection[str]:
        """Return who has waiting jobs."""
        return self._of.keys()

    def count(self, owner: str) -> int:
        """Return how many jobs of `owner` wait."""
        return len(self._of.get(owner, ()))

    def lengths(self) -> list[int]:
        """Return how many jobs each owner has waiting, in no order."""
        return [len(own) for own in self._of.values()]

    def abreast(self, depth: int) -> Iterator[tuple[Candidate, Candidate]]:
        """Yield pairs of a waiting job and the head of its owner: all heads, all seconds, … `depth` rows."""
        for head in self._heads:
            yield head, head
        deep = [own for own in self._of.values() if len(own) > 1] if depth > 1 else []
        for row in range(1, depth):
            for own in deep:
                if len(own) > row:
                    yield own[row], own[0]

    def place(self, candidate: Candidate) -> int:
        """Return the place of a job in rank order over all owners, from 1; it need not be in the queue."""
        place: int = self._all.bisect_key_left(self._rank(candidate)) + 1
        return place

    def place_of_owner(self, candidate: Candidate) -> int:
        """Return the place of a job among those of its owner, from 1; it need not be in the queue."""
        own = self._of.get(candidate.owner)
        return own.bisect_key_left(self._rank(candidate)) + 1 if own else 1
