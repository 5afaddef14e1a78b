"""From a submission to a row, with every check repeated: the portal's word is not enough.

Invariants: parameters obey their declaration; resources are computed here, from the declared
expressions and the checked parameters; what could never run is refused now, not queued for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from gavip_api import parameters, resources
from gavip_api.enums import JobState
from gavip_api.errors import InvalidInput, LimitReached
from gavip_api.manifest import ResourceSpec
from gavip_api.models import (
    HookRequest,
    Job,
    JobOrigin,
    JobSubmission,
    Progress,
    ResourceChoice,
    UserProfile,
    utcnow,
)
from gavip_api.slugs import check_slug, new_id
from gavip_spawner.layout import StateLayout, split_ref
from jobqueue.amounts import Amount
from jobqueue.storage import deliveries, jobs
from jobqueue.storage.orm import JobRow

from . import permits
from .ledger import Ledger
from .machine import JobMachine
from .queries import Queries
from .targets import Targets
from .waiting import Waitlist

_MAX_NAME = 255
_LEAST_MEMORY = 16 << 20


class Submission:
    """Accepts jobs.

    Parameters
    ----------
    ledger, machine, queries, waitlist, layout, targets
        Parts it uses.
    max_queued, max_queued_in_all : int
        Most jobs that may wait, of one user and of all together.
    max_seconds : int
        Longest wall-clock limit of a job.
    """

    def __init__(
        self,
        ledger: Ledger,
        machine: JobMachine,
        queries: Queries,
        waitlist: Waitlist,
        layout: StateLayout,
        targets: Targets,
        *,
        max_queued: int,
        max_queued_in_all: int,
        max_seconds: int,
    ) -> None:
        self._ledger = ledger
        self._machine = machine
        self._queries = queries
        self._waitlist = waitlist
        self._layout = layout
        self._targets = targets
        self._max_queued = max_queued
        self._max_queued_in_all = max_queued_in_all
        self._max_seconds = max_seconds

    def row(self, submission: JobSubmission, origin: JobOrigin | None = None) -> JobRow:
        """Return the checked row of a submission, not stored yet.

        Parameters
        ----------
        submission : JobSubmission
            What to run.
        origin : JobOrigin, optional
            What it was made from.

        Raises
        ------
        InvalidInput
            With the faulty parameters, names, resources or hooks.
        """
        if not 0 < len(submission.owner.name) <= _MAX_NAME:
            raise InvalidInput(f"A user's name has 1 to {_MAX_NAME} characters.")
        split_ref(submission.avi)
        self._check_hooks(submission.hooks)
        check_slug(submission.pipeline, "pipeline name")
        self._layout.release(submission.release)
        values = parameters.check(submission.spec.parameters, submission.parameters)
        amount, time_limit = self._resources(
            submission.spec.resources, submission.resources, values
        )
        title = submission.spec.title or submission.pipeline
        pool = self._ledger.rules.known(submission.owner.name, submission.owner.roles)
        self._ledger.check_ever(amount, f"The pipeline {title!r}", pool)
        return JobRow(
            id=new_id(),
            owner=submission.owner.name,
            owner_profile=submission.owner.model_dump(mode="json"),
            avi=submission.avi,
            release=submission.release,
            template=submission.template.value,
            pipeline=submission.pipeline,
            title=title,
            spec=submission.spec.model_dump(mode="json", by_alias=True),
            parameters=values,
            permissions=submission.permissions.model_dump(mode="json"),
            memory=amount.memory,
            millicpu=amount.millicpu,
            archive=amount.archive,
            time_limit=time_limit,
            state=JobState.QUEUED.value,
            attempt=0,
            losses=0,
            cancel_requested=False,
            progress=Progress().model_dump(),
            error=None,
            product=None,
            outputs={"files": []},
            origin=f"{origin.kind}:{origin.id}" if origin else None,
            created=utcnow(),
            started=None,
            ended=None,
        )

    def _check_hooks(self, hooks: Sequence[HookRequest]) -> None:
        for hook in hooks:
            self._targets.check(hook.url)
            if not all(state.is_final for state in hook.states):
                raise InvalidInput(
                    "Notifications tell of final states only.",
                    detail={"hooks": "names a state that is not final"},
                )

    def _resources(
        self, needs: ResourceSpec, choice: ResourceChoice | None, values: dict[str, Any]
    ) -> tuple[Amount, int]:
        """Return what the pipeline declares, or what the user chose instead, and the time limit."""
        memory: int | str = needs.memory
        cpu: float | str = needs.cpu
        limit = min(resources.seconds(needs.time), self._max_seconds)
        if choice is not None and choice.memory is not None:
            # no parameters: a user's choice is an amount, expressions are the author's
            memory = resources.memory_bytes(choice.memory)
            if memory < _LEAST_MEMORY:
                raise InvalidInput(
                    f"{resources.human_size(memory)} of memory are too few to start a program.",
                    hint=f"Ask for {resources.human_size(_LEAST_MEMORY)} at least.",
                )
        if choice is not None and choice.cpu is not None:
            cpu = choice.cpu
        if choice is not None and choice.time is not None:
            limit = resources.seconds(choice.time)
            if limit > self._max_seconds:
                raise InvalidInput(
                    f"A job may run for {self._max_seconds} seconds at most, not {limit}.",
                    hint="Ask for less, or ask the operator to raise `max_time`.",
                )
        millicpu = max(1, round(resources.cpu_cores(cpu, values) * 1000))
        return Amount(resources.memory_bytes(memory, values), millicpu, 1, needs.archive), limit

    def check_room(self, owner: str) -> None:
        """Refuse, from memory, what :meth:`store` would: a flood must cost less than what it asks for.

        Raises
        ------
        LimitReached
            If the owner, or all users together, have too many jobs waiting.
        """
        waiting = self._waitlist.count(owner)
        if waiting >= self._max_queued:
            raise LimitReached(
                f"You have {waiting} jobs waiting, and no more than {self._max_queued} are allowed.",
                hint="Wait until some have run, or cancel some.",
            )
        if self._waitlist.count() >= self._max_queued_in_all:
            raise LimitReached(
                f"The queue is full: {self._max_queued_in_all} jobs wait.",
                hint="Try again once some have run.",
            )

    def store(self, session: Session, row: JobRow, hooks: Sequence[HookRequest] = ()) -> Job:
        """Store a row from :meth:`row` with its checked hooks and return the job.

        Raises
        ------
        PermissionsNeeded
            If the owner does not grant the AVI what the job may do.
        LimitReached
            If the owner, or all users together, have too many jobs waiting.
        """
        permits.check(session, row.owner, row.avi, jobs.permissions(row))
        self.check_room(row.owner)
        roles = UserProfile.model_validate(row.owner_profile).roles
        self._ledger.rules.note_roles(session, row.owner, roles)
        self._machine.submit(session, row)
        session.add_all(deliveries.make(row.id, hook.url, list(hook.states)) for hook in hooks)
        return self._queries.model(session, row)
