"""Why a job waits, for people.

Invariants: nothing of other users is named; an estimate says what it rests on, and where none can
be given, why.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timezone

from sqlalchemy.orm import Session

from gavip_api.enums import WaitingKind
from gavip_api.models import Reservation, Waiting
from jobqueue.schedulers import Candidate
from jobqueue.storage.orm import JobRow

from .forecast import Forecast, Forecaster
from .history import RunTimes
from .ledger import Ledger
from .occupancy import QuickRoom
from .waiting import Waitlist


class Explainer:
    """Explains waiting jobs.

    Parameters
    ----------
    ledger, waitlist, history, forecaster
        Parts it uses.
    """

    def __init__(
        self, ledger: Ledger, waitlist: Waitlist, history: RunTimes, forecaster: Forecaster
    ) -> None:
        self._ledger = ledger
        self._waitlist = waitlist
        self._history = history
        self._forecaster = forecaster

    def explain(self, session: Session, rows: list[JobRow]) -> dict[str, tuple[int, Waiting]]:
        """Return place and reason of queued jobs, by id."""
        if not rows:
            return {}
        room = self._ledger.room()
        candidates = [self._waitlist.candidate(row) for row in rows]
        places = self._waitlist.places(candidates, room)
        # an answer to a submission comes before the job is in the list, and must not wait for a forecast
        new = len(candidates) == 1 and candidates[0].id not in self._waitlist
        forecast = None if new else self._forecaster.get(session, room)

        @functools.cache
        def holders(owner: str) -> tuple[Reservation, ...]:
            return tuple(self._ledger.holders(session, owner))

        found = {}
        for row, candidate, place in zip(rows, candidates, places, strict=True):
            # who holds what is read only when it must be told
            held = functools.partial(holders, candidate.owner)
            reason = self._reason(candidate, place, room, held)
            start, basis = self._estimate(row, candidate, place, forecast)
            found[row.id] = (
                place,
                reason.model_copy(update={"estimated_start": start, "estimate": basis}),
            )
        return found

    def _reason(
        self,
        candidate: Candidate,
        place: int,
        room: QuickRoom,
        held: Callable[[], tuple[Reservation, ...]],
    ) -> Waiting:
        refusal = self._ledger.refusal(candidate.owner, candidate.amount, room, held)
        if refusal is not None:
            return Waiting(
                kind=refusal.kind,
                reason=refusal.reason,
                hint=refusal.hint,
                holders=held() if refusal.own else (),
            )
        if place > 1:
            ahead = place - 1
            text = f"{ahead} job{'s' if ahead > 1 else ''} submitted earlier start first."
            if self._waitlist.scheduler.reorders:
                text = f"{ahead} job{'s' if ahead > 1 else ''} should start before it."
            return Waiting(kind=WaitingKind.TURN, reason=text)
        return Waiting(kind=WaitingKind.TURN, reason="It starts in a moment.")

    def _estimate(
        self, row: JobRow, candidate: Candidate, place: int, forecast: Forecast | None
    ) -> tuple[datetime | None, str]:
        if forecast is None:
            return None, "It was submitted just now: ask again in a moment."
        start = forecast.start(candidate.id, place)
        if start is None:
            return None, (
                "Unknown: it depends on applications that run until somebody stops them, or on jobs"
                " too far ahead to tell."
            )
        when = datetime.fromtimestamp(max(start, forecast.made), timezone.utc)
        if forecast.guessed:
            return when, (
                "Probably earlier: some of the jobs before it never ran, and are taken to use all of"
                " their time limit."
            )
        known = self._history.estimate(row.avi, row.pipeline)
        text = "From how long past runs of the jobs before it took"
        if known is not None:
            runs = f"{known.runs} run{'s' if known.runs > 1 else ''}"
            text += f"; its own pipeline took {known.seconds:.0f} s in the last {runs}"
        return when, text + "."
