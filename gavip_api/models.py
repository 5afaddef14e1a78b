"""Wire models of the public API (portal) and of the internal one (jobqueue).

Invariants: times are timezone-aware UTC, sizes bytes, ids UUIDv7 strings; unknown input members are refused.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .enums import (
    EventKind,
    InstanceState,
    JobState,
    OriginKind,
    ReservationKind,
    ReservationState,
    Role,
    Template,
    ViewKind,
    WaitingKind,
)
from .manifest import NOTHING_GRANTED, Permissions, PipelineSpec


def utcnow() -> datetime:
    """Return the present time, timezone-aware in UTC."""
    return datetime.now(timezone.utc)


class Model(BaseModel):
    """Base of the wire models: unknown members are refused, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UserProfile(Model):
    """For whom something is done."""

    name: str
    roles: tuple[Role, ...] = ()


class ResourceAmount(Model):
    """An amount of the machine."""

    memory: int = Field(ge=0, description="bytes")
    cpu: float = Field(ge=0, description="processor cores")
    slots: int = Field(
        default=0, ge=0, description="things running at once; servers and jobs take one each"
    )
    archive: int = Field(default=0, ge=0, description="archive queries at once")


class View(Model):
    """One notebook of an AVI that can be shown by itself."""

    name: str = Field(description="slug used in URLs, from the notebook's name")
    title: str
    kind: ViewKind
    notebook: str = Field(description="path in the release")


class Release(Model):
    """One commit of a project, offered to users."""

    sha: str
    version: str
    created: datetime
    public: bool
    notes: str = ""


class AviSummary(Model):
    """A line of the catalogue."""

    owner: str
    name: str
    title: str
    description: str = ""
    authors: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    template: Template = Template.PYTHON
    release: Release

    @property
    def ref(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"


class Avi(AviSummary):
    """An AVI with all that its page shows."""

    readme: str = Field(default="", description="Markdown source of the long description")
    license: str = ""
    permissions: Permissions = Permissions()
    views: tuple[View, ...] = ()
    pipelines: dict[str, PipelineSpec] = {}


class InstanceRequest(Model):
    """Ask for a running AVI interface."""

    avi: str = Field(description="owner/name", max_length=130)
    view: str | None = Field(
        default=None, max_length=64, description="slug of the view; default: the interface"
    )
    release: str | None = Field(
        default=None, max_length=64, description="Git SHA; default: the current release"
    )


class Instance(Model):
    """A running AVI interface, for one user."""

    id: str
    owner: str
    avi: str
    title: str
    view: str
    release: str
    state: InstanceState
    message: str = Field(default="", description="the step it is at, or why it failed")
    hint: str = ""
    progress: int = Field(default=0, ge=0, le=100)
    url: str | None = Field(default=None, description="where the browser finds it, once ready")
    created: datetime
    stopped: datetime | None = None


class InstanceOptions(Model):
    """What the portal tells the spawner about a technical user's server (``user_options['instance']``)."""

    id: str
    owner: UserProfile
    avi: str
    release: str
    template: Template
    view: str
    notebook: str
    permissions: Permissions
    resources: ResourceAmount


class HookRequest(Model):
    """Ask for a signed notification when a job has ended."""

    url: str = Field(max_length=2000, description="where to POST; the operator lists allowed hosts")
    states: tuple[JobState, ...] = Field(
        default=(), max_length=8, description="only for these final states; default: for each"
    )


class JobOrigin(Model):
    """What a job was made from."""

    kind: OriginKind
    id: str = Field(description="id of the earlier job or of the schedule")


_Text = Annotated[str, Field(max_length=100)]


class ResourceChoice(Model):
    """Resources that a user asks for instead of the pipeline's own; what is left out stays as declared."""

    memory: Annotated[int, Field(ge=1, le=1 << 60)] | _Text | None = Field(
        default=None, description="bytes, or a size such as `2G`"
    )
    cpu: float | None = Field(default=None, gt=0, le=1024, description="processor cores")
    time: Annotated[int, Field(ge=1, le=1 << 31)] | _Text | None = Field(
        default=None, description="wall-clock limit: seconds, or text such as `1h 30m`"
    )


class JobRequest(Model):
    """Ask for a job; what people and AVIs send to the portal."""

    avi: str | None = Field(
        default=None, max_length=130, description="owner/name; implied by an instance's token"
    )
    pipeline: str = Field(max_length=64)
    parameters: dict[str, Any] = {}
    release: str | None = Field(
        default=None, max_length=64, description="Git SHA; default: the current release"
    )
    hooks: tuple[HookRequest, ...] = Field(
        default=(), max_length=5, description="whom to tell when the job has ended"
    )
    resources: ResourceChoice | None = Field(
        default=None, description="more or less than the pipeline declares, within one's pool"
    )


class JobSubmission(Model):
    """A job as the portal hands it to jobqueue: everything is resolved, nothing is looked up again."""

    owner: UserProfile
    avi: str
    release: str
    template: Template
    pipeline: str
    spec: PipelineSpec
    parameters: dict[str, Any] = Field(
        description="complete: defaults filled in, checked against the spec"
    )
    permissions: Permissions = Field(
        default=NOTHING_GRANTED, description="what the release asks and the owner granted"
    )
    resources: ResourceChoice | None = None
    hooks: tuple[HookRequest, ...] = Field(
        default=(), max_length=5, description="whom to tell when the job has ended"
    )


class JobClone(Model):
    """Run a job again with other parameters."""

    parameters: dict[str, Any] = Field(
        default={}, description="replace those of the earlier job; the others stay"
    )
    hooks: tuple[HookRequest, ...] = Field(
        default=(), max_length=5, description="whom to tell when the job has ended"
    )
    resources: ResourceChoice | None = Field(
        default=None, description="more or less than the pipeline declares, within one's pool"
    )


class Progress(Model):
    """How far a job is; ``total`` may be unknown (0)."""

    done: float = Field(default=0, ge=0)
    total: float = Field(default=0, ge=0)
    task: str = Field(default="", max_length=200, description="what runs now")
    message: str = Field(default="", max_length=500)

    @property
    def fraction(self) -> float | None:
        """Share done, 0 to 1, or None when the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else None


class ProgressReport(Progress):
    """What the runner of one attempt sends; reports of another attempt are refused."""

    attempt: int = Field(ge=1)


class JobError(Model):
    """Why a job ended badly, for people."""

    code: str
    message: str
    hint: str = ""
    cell: int | None = Field(default=None, description="number of the failing code cell, from 1")
    task: str | None = None


class RunResult(Model):
    """What the runner leaves in ``result.json`` of its run folder, written atomically as its last act."""

    ok: bool
    error: JobError | None = None
    outputs: tuple[str, ...] = Field(
        default=(), description="files of the product, relative to its folder"
    )


class ReservationRequest(Model):
    """Ask the ledger before starting anything."""

    id: str = Field(max_length=200, description="chosen by the asker; asking again is idempotent")
    owner: str = Field(max_length=255)
    kind: ReservationKind
    amount: ResourceAmount
    title: str = Field(default="", max_length=200, description="what people see as the holder")
    roles: tuple[Role, ...] | None = Field(
        default=None,
        description="the owner's roles, if the asker knows them; default: the last known",
    )
    lease: int | None = Field(
        default=None,
        ge=1,
        le=86400,
        description="seconds after which it ends by itself unless asked for again; default: archive queries"
        " 60, anything else never",
    )


class ArchiveQueryRequest(Model):
    """Ask for a turn at the archive, or for more time."""

    owner: UserProfile
    title: str = Field(default="", max_length=200, description="what people see as the holder")


class ArchiveQueryTurn(Model):
    """What to call a query of the archive in the ledger."""

    title: str = Field(default="", max_length=200, description="what people see as the holder")


class Reservation(ReservationRequest):
    """A line of the ledger."""

    state: ReservationState
    reason: str = ""
    created: datetime


class Waiting(Model):
    """Why a queued job does not run yet."""

    kind: WaitingKind
    reason: str
    hint: str = ""
    holders: tuple[Reservation, ...] = Field(
        default=(), description="the user's own things that are in the way"
    )
    estimated_start: datetime | None = Field(
        default=None, description="when it should start; None when that cannot be told"
    )
    estimate: str = Field(
        default="", description="what the estimate rests on, or why there is none"
    )


class Job(Model):
    """One execution of a pipeline."""

    id: str
    owner: str
    avi: str
    release: str
    pipeline: str
    title: str
    parameters: dict[str, Any]
    resources: ResourceAmount
    time_limit: int = Field(description="seconds of wall clock an attempt may take")
    permissions: Permissions = Field(default=NOTHING_GRANTED, description="what it may do")
    state: JobState
    attempt: int = 0
    progress: Progress = Progress()
    waiting_for: str | None = Field(default=None, description="why a queued job does not run yet")
    position: int | None = Field(default=None, description="place in the queue, from 1")
    waiting: Waiting | None = Field(
        default=None, description="the same in full: what it waits for, who holds it, until when"
    )
    error: JobError | None = None
    product: str | None = Field(
        default=None, description="folder of the data product, relative to the owner's user-space"
    )
    outputs: tuple[str, ...] = ()
    origin: JobOrigin | None = Field(
        default=None, description="the job or schedule it was made from"
    )
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None


class JobEvent(Model):
    """One line of a job's append-only history; also the data of a server-sent event, whose id is ``seq``."""

    seq: int
    job: str
    time: datetime
    kind: EventKind
    state: JobState
    progress: Progress = Progress()
    message: str = ""


class JobPage(Model):
    """A page of jobs, newest first."""

    items: tuple[Job, ...]
    next: str | None = Field(default=None, description="cursor of the next page")


class Pool(Model):
    """The most a user may hold at one instant, and what is held now."""

    owner: str
    limit: ResourceAmount
    used: ResourceAmount
    free: ResourceAmount | None = Field(
        default=None,
        description="what the user could hold besides now: the rest of the pool, or of the machine where that is less",
    )
    holders: tuple[Reservation, ...] = ()


class PoolLimits(Model):
    """Limits of a role or a user; a dimension that is left out follows the wider rule."""

    memory: int | None = Field(default=None, ge=0, le=1 << 60, description="bytes")
    cpu: float | None = Field(default=None, ge=0, le=1_000_000, description="processor cores")
    slots: int | None = Field(default=None, ge=0, le=1_000_000_000, description="things at once")
    archive: int | None = Field(
        default=None, ge=0, le=1_000_000_000, description="archive queries at once"
    )


class PoolChange(Model):
    """An operator sets limits."""

    by: str = Field(min_length=1, max_length=255, description="the operator, for the audit")
    limits: PoolLimits


class RolePools(Model):
    """Limits that were set for roles."""

    items: dict[Role, PoolLimits]


class SchedulerChoice(Model):
    """A scheduler that operators may choose."""

    name: str
    title: str


class SchedulerState(Model):
    """The scheduler in charge, and those that could be."""

    name: str
    available: tuple[SchedulerChoice, ...]


class SchedulerChange(Model):
    """An operator chooses another scheduler."""

    by: str = Field(min_length=1, max_length=255, description="the operator, for the audit")
    name: str = Field(max_length=64)


class AuditEntry(Model):
    """One thing that an operator changed."""

    seq: int
    time: datetime
    by: str
    action: str
    subject: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class AuditPage(Model):
    """What operators changed, newest first."""

    items: tuple[AuditEntry, ...]
    next: int | None = Field(default=None, description="cursor of the next page")


class LedgerState(Model):
    """Everything that is allocated."""

    capacity: ResourceAmount
    used: ResourceAmount
    items: tuple[Reservation, ...]


class QueueState(Model):
    """The queue in figures."""

    capacity: ResourceAmount
    used: ResourceAmount
    queued: int
    running: int


class FileEntry(Model):
    """One entry of a folder in a user-space."""

    name: str
    path: str = Field(description="relative to the user-space, POSIX separators")
    kind: Literal["file", "folder", "other"]
    size: int = 0
    modified: datetime
    deletable: bool = Field(default=True, description="false for what the platform made")


class UserSpaceUsage(Model):
    """How much of a user-space is used."""

    used: int = Field(description="bytes on disk")
    limit: int | None = Field(default=None, description="bytes; none where nothing limits them")
    entries: int = Field(description="files, folders and links")
    entries_limit: int | None = None
    complete: bool = Field(
        default=True, description="false when there is more than was counted in the time allowed"
    )
    level: Literal["normal", "warning", "full"] = Field(
        default="normal", description="`warning` from 80 % on, of bytes or entries"
    )


class Deletion(Model):
    """How far a deletion came."""

    removed: int = Field(description="entries that this call removed")
    done: bool = Field(description="false when there is more to delete: ask again")


class FolderListing(Model):
    """A folder of a user-space."""

    path: str
    entries: tuple[FileEntry, ...]
