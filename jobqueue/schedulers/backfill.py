"""EASY backfilling: small jobs pass a big one only where they do not delay it."""

from __future__ import annotations

import math
from typing import ClassVar

from traitlets import Integer

from jobqueue.amounts import Amount

from .base import Candidate, Room
from .fifo import Fifo
from .waiting import WaitingQueue


class Backfill(Fifo):
    """First in, first out, and meanwhile whatever does not delay the job that waits longest.

    The head of the queue gets a reservation at the earliest time at which it will fit, given the
    time limits of all that runs; later jobs start before it if they end by then or use what it
    leaves free. This is EASY: Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995; Mu'alem and
    Feitelson, "Utilization, predictability, workloads, and user runtime estimates in scheduling the
    IBM SP2 with backfilling", IEEE TPDS 12, 2001. Time limits are enforced, so the reservation
    holds and big jobs never starve; only servers, which have no limit, may make it move.
    """

    title: ClassVar[str] = "First in, first out, with backfilling"
    reorders: ClassVar[bool] = True

    window = Integer(
        200, min=1, help="Most jobs looked at for one backfilling decision. Default: 200."
    ).tag(config=True)

    depth = Integer(
        20, min=1, help="Most jobs of one user looked at for one backfilling decision. Default: 20."
    ).tag(config=True)

    def pick(self, queue: WaitingQueue, room: Room) -> Candidate | None:
        """Return the oldest job that fits, or one that does not delay the oldest that does not."""
        choice, head = self.fitting(queue, room)
        if head is None:
            return choice
        return backfill(head, queue, room, window=self.window, depth=self.depth)


def backfill(
    head: Candidate, queue: WaitingQueue, room: Room, *, window: int, depth: int
) -> Candidate | None:
    """Return a job that may start now without delaying `head`, or None.

    Parameters
    ----------
    head : Candidate
        The job that waits for the machine.
    window, depth : int
        Most jobs to look at, in all and per user.
    """
    free = room.in_machine()
    if free.memory <= 0 or free.millicpu <= 0 or free.slots <= 0:
        return None
    shadow, spare = reservation(head, room)
    now = room.now
    memory, millicpu = free.memory, free.millicpu
    for seen, (candidate, first) in enumerate(queue.abreast(depth)):
        if seen >= window:
            return None
        amount = candidate.amount
        # the two commonest reasons first, without a call
        if amount.millicpu > millicpu or amount.memory > memory or candidate is head:
            continue
        if not amount.fits(free):
            continue
        # passing one's own first job must leave it the room in the pool, or it would starve there
        needed = amount if candidate is first else amount + first.amount
        if not needed.fits(room.in_pool(candidate.owner)):
            continue
        if now + candidate.limit <= shadow or amount.fits(spare):
            return candidate
    return None


def reservation(head: Candidate, room: Room) -> tuple[float, Amount]:
    """Return when `head` fits at the latest (the shadow time), and what is then free beside it."""
    free = room.in_machine()
    running = sorted(room.running())
    for n, (end, _, amount) in enumerate(running):
        if end == math.inf:
            break
        free = free + amount
        if head.amount.fits(free):
            # what ends at the same instant is free as well
            for later in running[n + 1 :]:
                if later.end > end:
                    break
                free = free + later.amount
            return end, free - head.amount
    return math.inf, Amount()
