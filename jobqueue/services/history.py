"""How long the runs of each pipeline took, and what is to be expected of the next one.

Invariants: only successful runs count, for failures end early and say nothing; an estimate is a
median, which a few odd runs do not move; nothing is made up where nothing is known.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from gavip_api.models import utcnow
from jobqueue.storage.hooks import on_commit
from jobqueue.storage.orm import RunTimeRow

KEPT = 30
"""Runs that an estimate looks back on: parameters and data change with time."""


class Estimate(NamedTuple):
    """What is expected of a run.

    Parameters
    ----------
    seconds : float
        Median of the last runs.
    runs : int
        How many those were.
    """

    seconds: float
    runs: int


class RunTimes:
    """Run times per AVI and pipeline, in memory and in the database."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Estimate] = {}

    def load(self, session: Session) -> None:
        """Read everything into memory."""
        self._known = {
            (row.avi, row.pipeline): _estimate(row.recent["seconds"])
            for row in session.scalars(select(RunTimeRow))
        }

    def estimate(self, avi: str, pipeline: str) -> Estimate | None:
        """Return what to expect of a pipeline, None when it never ran."""
        return self._known.get((avi, pipeline))

    def record(self, session: Session, avi: str, pipeline: str, seconds: float) -> None:
        """Note a successful run."""
        row = session.get(RunTimeRow, (avi, pipeline))
        if row is None:
            row = RunTimeRow(avi=avi, pipeline=pipeline, runs=0, recent={"seconds": []})
            session.add(row)
        recent = [*row.recent["seconds"], round(seconds, 3)][-KEPT:]
        row.runs, row.recent, row.updated = row.runs + 1, {"seconds": recent}, utcnow()
        session.flush()
        on_commit(session, lambda: self._known.update({(avi, pipeline): _estimate(recent)}))


def _estimate(recent: list[float]) -> Estimate:
    return Estimate(statistics.median(recent), len(recent))
