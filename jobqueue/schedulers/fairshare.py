"""Dominant resource fairness with a memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar

from traitlets import Bool, Integer

from .backfill import backfill
from .base import Candidate, Room, Scheduler
from .waiting import WaitingQueue


class FairShare(Scheduler):
    """The user who has had the least goes next.

    "The least" is the smallest dominant share: the largest, over memory, cores, slots and archive
    queries, of the fraction of the machine that a user holds (Ghodsi, Zaharia, Hindman, Konwinski,
    Shenker and Stoica, "Dominant resource fairness: fair allocation of multiple resource types",
    NSDI 2011). Past holdings count with a weight that halves every half-life (`half_life` of the
    service), as in the share schedulers since Kay and Lauder, "A fair share scheduler", CACM 31,
    1988; see :class:`~jobqueue.schedulers.shares.ShareBook`. Jobs of one user run in the order of
    submission. The job of the user with the least that does not fit the machine holds its place:
    others run before it only by the rule of :mod:`~jobqueue.schedulers.backfill`.
    """

    title: ClassVar[str] = "Fair share of the dominant resource, with backfilling"
    reorders: ClassVar[bool] = True

    backfilling = Bool(
        True, help="Let jobs that do not delay the next one run before it. Default: true."
    ).tag(config=True)

    window = Integer(
        200, min=1, help="Most jobs looked at for one backfilling decision. Default: 200."
    ).tag(config=True)

    depth = Integer(
        20, min=1, help="Most jobs of one user looked at for one backfilling decision. Default: 20."
    ).tag(config=True)

    def pick(self, queue: WaitingQueue, room: Room) -> Candidate | None:
        """Return the first job of the user with the smallest share whose pool has room for it."""
        free = room.in_machine()
        if not queue or free.memory <= 0 or free.millicpu <= 0 or free.slots <= 0:
            return None
        for owner in room.shares.ascending(room.now, queue.owners()):
            candidate = queue.head(owner)
            if candidate is None or not candidate.amount.fits(room.in_pool(owner)):
                continue
            amount = candidate.amount
            if amount.fits(free):
                return candidate
            if amount._replace(archive=0).fits(free):
                free = free._replace(archive=0)
                continue
            if not self.backfilling:
                return None
            return backfill(candidate, queue, room, window=self.window, depth=self.depth)
        return None

    def places(self, queue: WaitingQueue, candidates: Sequence[Candidate], room: Room) -> list[int]:
        """Return the places if all users took turns, the one with the smallest share first."""
        turn = self._turns(queue, {c.owner for c in candidates}, room)
        lengths = sorted(queue.lengths())
        sums = [0, *accumulate(lengths)]
        found = []
        for candidate in candidates:
            rounds = queue.place_of_owner(candidate) - 1
            short = bisect_left(lengths, rounds + 1)
            longer = len(lengths) - short
            before = sums[short] + longer * rounds
            # of those who are in this round too, as many go first as have a smaller share
            ahead = turn.get(candidate.owner, len(lengths)) * longer // max(1, len(lengths))
            found.append(before + ahead + 1)
        return found

    @staticmethod
    def _turns(queue: WaitingQueue, wanted: set[str], room: Room) -> dict[str, int]:
        """Return how many waiting users have a smaller share than each of `wanted` that wait."""
        left = {owner for owner in wanted if queue.count(owner)}
        found: dict[str, int] = {}
        waiting = (o for o in room.shares.ascending(room.now, queue.owners()) if queue.count(o))
        for n, owner in enumerate(waiting):
            # few are asked for: the order of the rest does not matter
            if not left:
                break
            if owner in left:
                found[owner] = n
                left.discard(owner)
        return found
