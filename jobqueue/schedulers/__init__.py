"""Schedulers: which queued job starts next.

A scheduler is a class with one method, :meth:`Scheduler.pick`; operators choose one by name, at the
start or while the queue runs, and packages offer more by the entry point group
``gavip.schedulers``. Invariant: a scheduler only chooses; granting is the ledger's, in the
transaction that starts the job, so a wrong choice can delay a job but never over-allocate.
"""

from .backfill import Backfill
from .base import Candidate, Room, Running, Scheduler
from .fairshare import FairShare
from .fifo import Fifo, ShortestFirst
from .registry import available, load
from .shares import ShareBook
from .waiting import WaitingQueue

__all__ = [
    "Backfill",
    "Candidate",
    "FairShare",
    "Fifo",
    "Room",
    "Running",
    "Scheduler",
    "ShareBook",
    "ShortestFirst",
    "WaitingQueue",
    "available",
    "load",
]
