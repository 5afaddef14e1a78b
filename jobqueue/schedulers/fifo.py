"""Queues in one order: by submission, or by expected length."""

from __future__ import annotations

from typing import Any, ClassVar

from traitlets import Float

from .base import Candidate, Room, Scheduler
from .waiting import WaitingQueue


class Fifo(Scheduler):
    """First in, first out: per user strictly, over users as far as their pools let them.

    A job that waits for its owner's own pool steps aside for other users; one that waits for the
    machine holds everybody behind it, for otherwise small jobs would starve big ones. One that only
    waits for the archive holds those that need the archive too.
    """

    title: ClassVar[str] = "First in, first out"

    def pick(self, queue: WaitingQueue, room: Room) -> Candidate | None:
        """Return the oldest job whose owner's pool has room, if the machine has room for it."""
        return self.fitting(queue, room)[0]

    @staticmethod
    def fitting(queue: WaitingQueue, room: Room) -> tuple[Candidate | None, Candidate | None]:
        """Return the job to start, or else the one that holds the queue."""
        free = room.in_machine()
        for candidate in queue.heads():
            amount = candidate.amount
            if not amount.fits(room.in_pool(candidate.owner)):
                continue
            if amount.fits(free):
                return candidate, None
            if amount._replace(archive=0).fits(free):
                # nobody behind may take the queries that it waits for; all else may go on
                free = free._replace(archive=0)
                continue
            return None, candidate
        return None, None


class ShortestFirst(Fifo):
    """The job that should be over first goes first, with ageing so that long ones do not starve.

    Shortest-job-first minimises the mean waiting time on one machine (Smith, "Various optimizers
    for single-stage production", Naval Research Logistics Quarterly 3, 1956); expected lengths come
    from past runs of the pipeline (as in Tsafrir, Etsion and Feitelson, "Backfilling using
    system-generated predictions rather than user runtime estimates", IEEE TPDS 18, 2007), else from
    the time limit. Jobs are sorted by ``submitted + patience · expected``: priority grows linearly
    with the time waited (Kleinrock, "A delay dependent queue discipline", Naval Research Logistics
    Quarterly 11, 1964), so a job is overtaken only by those submitted less than `patience` times
    the difference of their lengths after it.
    """

    title: ClassVar[str] = "Shortest first, by past run times"
    reorders: ClassVar[bool] = True

    patience = Float(
        10.0,
        min=0,
        help="How many times its expected length a job waits before new shorter ones stop overtaking it. Default: 10.",
    ).tag(config=True)

    def rank(self, candidate: Candidate) -> Any:
        """Return the age-corrected length."""
        return (candidate.submitted + self.patience * candidate.expected, candidate.id)
