"""A job and its phases (UWS 1.1, section 2.1). Pure: no storage, no clock but the one passed in.

Invariants: the phase changes only through the methods here; a finished job never changes phase again; ``attempts``
counts how often the query was started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from gavip_archive.errors import WrongPhase

# A query that was running when the service died may have killed it: it gets one more chance, not more
MAX_ATTEMPTS = 2


class Phase(str, Enum):
    """The execution phases this service uses."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ABORTED = "ABORTED"

    @property
    def active(self) -> bool:
        """Whether the job may still change by itself or by its owner."""
        return self in (Phase.PENDING, Phase.QUEUED, Phase.EXECUTING)


@dataclass
class Job:
    """One job.

    Attributes
    ----------
    id : str
        UUIDv7: time-ordered and not to be guessed.
    phase : Phase
        Where it is.
    parameters : list of (str, str)
        As given, names in upper case.
    created, started, ended, destruction : datetime
        UTC.
    execution_duration : int
        Longest run, seconds.
    attempts : int
        How often it was started.
    error : str or None
        What went wrong, for people.
    content_type, suffix, rows, overflow
        Of the result, once COMPLETED.
    """

    id: str
    created: datetime
    destruction: datetime
    execution_duration: int
    phase: Phase = Phase.PENDING
    parameters: list[tuple[str, str]] = field(default_factory=list)
    started: datetime | None = None
    ended: datetime | None = None
    attempts: int = 0
    error: str | None = None
    content_type: str | None = None
    suffix: str | None = None
    rows: int | None = None
    overflow: bool = False

    @property
    def run_id(self) -> str | None:
        """The client's RUNID."""
        return next((value for name, value in self.parameters if name == "RUNID"), None)

    def require_pending(self) -> None:
        """Check that the owner may still change the job.

        Raises
        ------
        WrongPhase
            When it was started.
        """
        if self.phase is not Phase.PENDING:
            raise WrongPhase(
                f"The job is {self.phase.value}; only a PENDING job can be changed.",
                hint="Create a new job.",
            )

    def queue(self) -> bool:
        """PENDING → QUEUED; False when it was queued or ran before, for RUN may be sent twice."""
        if self.phase is not Phase.PENDING:
            return False
        self.phase = Phase.QUEUED
        return True

    def start(self, now: datetime) -> None:
        """QUEUED → EXECUTING.

        Raises
        ------
        WrongPhase
            When it is not QUEUED.
        """
        self._require(Phase.QUEUED)
        self.phase, self.started, self.attempts = Phase.EXECUTING, now, self.attempts + 1

    def complete(
        self, now: datetime, content_type: str, suffix: str, rows: int, overflow: bool
    ) -> None:
        """EXECUTING → COMPLETED.

        Raises
        ------
        WrongPhase
            When it is not EXECUTING.
        """
        self._require(Phase.EXECUTING)
        self.phase, self.ended = Phase.COMPLETED, now
        self.content_type, self.suffix, self.rows, self.overflow = (
            content_type,
            suffix,
            rows,
            overflow,
        )

    def fail(self, now: datetime, message: str) -> None:
        """QUEUED or EXECUTING → ERROR.

        Raises
        ------
        WrongPhase
            When it is neither.
        """
        self._require(Phase.QUEUED, Phase.EXECUTING)
        self.phase, self.ended, self.error = Phase.ERROR, now, message

    def abort(self, now: datetime) -> bool:
        """Any active phase → ABORTED; False when it ended before, for ABORT may come late or twice."""
        if not self.phase.active:
            return False
        self.phase, self.ended = Phase.ABORTED, now
        return True

    def recover(self, now: datetime) -> None:
        """Bring a job back to order that the service left EXECUTING: once more QUEUED, or ERROR."""
        self._require(Phase.EXECUTING)
        if self.attempts < MAX_ATTEMPTS:
            self.phase, self.started = Phase.QUEUED, None
        else:
            self.fail(now, "The service stopped while the query ran, twice; it is not tried again.")

    def requeue(self) -> None:
        """EXECUTING → QUEUED at an orderly shutdown, which does not count as an attempt."""
        self._require(Phase.EXECUTING)
        self.phase, self.started, self.attempts = Phase.QUEUED, None, self.attempts - 1

    def _require(self, *phases: Phase) -> None:
        if self.phase not in phases:
            expected = " or ".join(phase.value for phase in phases)
            raise WrongPhase(f"The job is {self.phase.value}, not {expected}.")
