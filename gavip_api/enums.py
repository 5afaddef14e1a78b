"""The enumerations every part shares; members are their wire values."""

from __future__ import annotations

from enum import Enum


class _Text(str, Enum):
    """An enum whose members print and serialise as their value (``StrEnum`` needs Python 3.11)."""

    def __str__(self) -> str:
        return str(self.value)


class Role(_Text):
    """What a person may be; a user may have several."""

    OPERATOR = "operator"
    DEVELOPER = "developer"
    SCIENTIST = "scientist"
    OUTREACH = "outreach"
    ANONYMOUS = "anonymous"


class Mode(_Text):
    """How an AVI's code runs."""

    STANDALONE = "standalone"
    INTERFACE = "interface"
    PIPELINE = "pipeline"


class Template(_Text):
    """The base environment an AVI starts from."""

    PYTHON = "python"
    JAVA = "java"
    FORTRAN = "fortran"


class ViewKind(_Text):
    """What a view of an AVI is for."""

    INTERFACE = "interface"
    OUTREACH = "outreach"
    DASHBOARD = "dashboard"


class JobState(_Text):
    """The life of a job: ``queued → starting → running`` and then one final state; ``lost`` may be retried once."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again (``lost`` is final only once its retry is spent)."""
        return self in {
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.TIMED_OUT,
            JobState.LOST,
        }

    @property
    def holds_resources(self) -> bool:
        """Whether a job in this state occupies memory and processors in the ledger."""
        return self in {JobState.STARTING, JobState.RUNNING}


class InstanceState(_Text):
    """The life of a running AVI interface."""

    REQUESTED = "requested"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the instance is gone for good."""
        return self in {InstanceState.STOPPED, InstanceState.FAILED}


class ReservationKind(_Text):
    """What a line in the ledger is held for."""

    NOTEBOOK = "notebook"
    INTERFACE = "interface"
    JOB = "job"
    ARCHIVE_QUERY = "archive-query"


class ReservationState(_Text):
    """The ledger's answer to a reservation."""

    GRANTED = "granted"
    WAITING = "waiting"
    REFUSED = "refused"


class WaitingKind(_Text):
    """What a queued job waits for."""

    POOL = "pool"
    MACHINE = "machine"
    ARCHIVE = "archive"
    TURN = "turn"


class EventKind(_Text):
    """What a job event tells."""

    STATE = "state"
    PROGRESS = "progress"


class OriginKind(_Text):
    """What a job was made from, when not from a plain submission."""

    RETRY = "retry"
    CLONE = "clone"
    SCHEDULE = "schedule"


class OverlapPolicy(_Text):
    """What a schedule does when it is due while a job of its earlier runs is not over."""

    ALLOW = "allow"
    """Submit all the same."""

    SKIP = "skip"
    """Leave this run out."""

    QUEUE_ONE = "queue-one"
    """Submit unless one already waits: at most one runs and one waits."""


class DeliveryState(_Text):
    """The life of one notification: ``waiting`` for the job's end, ``pending`` until delivered or given up."""

    WAITING = "waiting"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    NOT_WANTED = "not-wanted"
    """The job ended in a state that was not asked for."""
