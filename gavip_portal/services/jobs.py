"""Jobs on behalf of people and of AVI instances.

Invariants: the owner is the principal's, never the request's; an instance reaches the jobs of its
own AVI only; a job of somebody else does not exist for the asker; a job may do what its release asks
and its owner grants.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gavip_api import parameters
from gavip_api.errors import Forbidden, InvalidInput, NotFound, PermissionsNeeded
from gavip_api.models import (
    ArchiveQueryRequest,
    Job,
    JobClone,
    JobPage,
    JobRequest,
    JobSubmission,
    Pool,
    QueueState,
    Reservation,
    UserProfile,
)
from gavip_api.schedules import DeliveryList
from gavip_api.slugs import check_id
from gavip_web.sse import ServerEvent

from .catalogue import Catalogue
from .jobqueue import JobqueueClient
from .permits import Permits

Made = TypeVar("Made")


@dataclass(frozen=True)
class Principal:
    """For whom a request acts.

    Attributes
    ----------
    owner : UserProfile
        The person.
    avi : str or None
        ``owner/name`` when an instance of that AVI asks; None when the person does.
    release : str or None
        The instance's release: what an AVI submits runs the same code that the person sees.
    """

    owner: UserProfile
    avi: str | None = None
    release: str | None = None


class Jobs:
    """Submits, shows and cancels jobs.

    Parameters
    ----------
    catalogue : Catalogue
        Resolves releases and their declared parameters.
    jobqueue : JobqueueClient
        Where jobs live.
    permits : Permits
        What the owners of jobs grant.
    """

    def __init__(self, catalogue: Catalogue, jobqueue: JobqueueClient, permits: Permits) -> None:
        self._catalogue = catalogue
        self._queue = jobqueue
        self._permits = permits

    async def submit(self, who: Principal, request: JobRequest) -> Job:
        """Resolve, check and submit a job.

        Raises
        ------
        InvalidInput
            Naming each faulty parameter.
        NotFound
            If there is no such AVI, release or pipeline.
        Forbidden
            If an instance asks for another AVI than its own.
        PermissionsNeeded
            If the owner does not grant what the release asks.
        """
        submission = (
            await self.resolve(
                who, request.avi, request.release, request.pipeline, request.parameters
            )
        ).model_copy(update={"resources": request.resources, "hooks": request.hooks})
        return await self.hand_over(who, submission.avi, lambda: self._queue.submit(submission))

    async def resolve(
        self,
        who: Principal,
        avi: str | None,
        release: str | None,
        pipeline: str,
        given: dict[str, Any],
    ) -> JobSubmission:
        """Return what the queue needs to run a pipeline for the principal.

        Raises
        ------
        InvalidInput, NotFound, Forbidden, PermissionsNeeded
            See :meth:`submit`.
        """
        avi = _avi(who, avi)
        if release is None and who.avi is not None:
            release = who.release
        resolved = await self._catalogue.resolve(avi, release)
        spec = resolved.manifest.pipelines.get(pipeline)
        if spec is None:
            names = ", ".join(resolved.manifest.pipelines) or "none"
            raise NotFound(f"{avi} has no pipeline {pipeline!r}.", hint=f"It has: {names}.")
        # first what the person can correct, then what they have to decide
        values = parameters.check(spec.parameters, given)
        permissions = await self._permits.require(
            who.owner.name, avi, resolved.manifest.permissions, resolved.sha
        )
        return JobSubmission(
            owner=who.owner,
            avi=avi,
            release=resolved.sha,
            template=resolved.manifest.template,
            pipeline=pipeline,
            spec=spec,
            parameters=values,
            permissions=permissions,
        )

    async def hand_over(
        self, who: Principal, avi: str, submit: Callable[[], Awaitable[Made]]
    ) -> Made:
        """Submit something that the principal grants the AVI, also when jobqueue does not know of the grant yet.

        Raises
        ------
        PermissionsNeeded
            If the grant went meanwhile.
        """
        try:
            return await submit()
        except PermissionsNeeded:
            # jobqueue was away when this was granted, or has been restored from a copy
            await self._permits.tell(who.owner.name, avi)
            return await submit()

    async def retry(self, who: Principal, job_id: str) -> Job:
        """Submit a job of the principal's once more, when its owner still grants what it may do.

        Raises
        ------
        Conflict
            While it is not over.
        PermissionsNeeded
            If the owner does not.
        """
        job = await self._allowed(who, job_id)
        return await self.hand_over(who, job.avi, lambda: self._queue.retry(job.id))

    async def clone(self, who: Principal, job_id: str, change: JobClone) -> Job:
        """Submit a job of the principal's with other parameters; see :meth:`retry`."""
        job = await self._allowed(who, job_id)
        return await self.hand_over(who, job.avi, lambda: self._queue.clone(job.id, change))

    async def _allowed(self, who: Principal, job_id: str) -> Job:
        job = await self.show(who, job_id)
        await self._permits.require(who.owner.name, job.avi, job.permissions, job.release)
        return job

    async def deliveries(self, who: Principal, job_id: str) -> DeliveryList:
        """Return the notifications of a job of the principal's."""
        return await self._queue.deliveries((await self.show(who, job_id)).id)

    async def list(self, who: Principal, **wanted: Any) -> JobPage:
        """List the principal's jobs, newest first.

        Parameters
        ----------
        who : Principal
            Whose.
        **wanted
            Filters of jobqueue's list; what is None or empty narrows nothing.
        """
        params = {name: value for name, value in wanted.items() if value not in (None, (), [])}
        params["owner"] = who.owner.name
        if who.avi is not None or "avi" in params:
            params["avi"] = _avi(who, params.get("avi"))
        return await self._queue.jobs(params)

    async def show(self, who: Principal, job_id: str) -> Job:
        """Show a job of the principal's.

        Raises
        ------
        NotFound
            If it does not exist, or is not theirs: the two cannot be told apart.
        """
        missing = NotFound("You have no such job.", hint="Look at your list of jobs.")
        try:
            job = await self._queue.job(check_id(job_id))
        except (InvalidInput, NotFound):
            raise missing from None
        if job.owner != who.owner.name or (who.avi is not None and job.avi != who.avi):
            raise missing
        return job

    async def cancel(self, who: Principal, job_id: str) -> Job:
        """Cancel a job of the principal's; one that has ended stays as it is."""
        return await self._queue.cancel((await self.show(who, job_id)).id)

    async def log(self, who: Principal, job_id: str, offset: int) -> tuple[bytes, str]:
        """Return a job's log from a byte offset, and its size as jobqueue says."""
        return await self._queue.log((await self.show(who, job_id)).id, offset)

    async def follow_log(
        self, who: Principal, job_id: str, offset: int, last_id: int
    ) -> AsyncGenerator[ServerEvent, None]:
        """Return the stream of a job's log from a byte offset or after `last_id`, after the ownership check."""
        job = await self.show(who, job_id)
        return self._queue.events(
            f"/jobs/{job.id}/log",
            params={"follow": "true", "offset": offset},
            last_id=str(last_id) if last_id else None,
        )

    async def events(
        self, who: Principal, job_id: str, last_id: int
    ) -> AsyncGenerator[ServerEvent, None]:
        """Return the stream of a job's events, after the ownership check."""
        job = await self.show(who, job_id)
        return self._queue.events(
            f"/jobs/{job.id}/events", last_id=str(last_id) if last_id else None
        )

    async def own_events(
        self, who: Principal, last_id: int = 0
    ) -> AsyncGenerator[ServerEvent, None]:
        """Return the live stream of all events of the principal's jobs, from now on or after `last_id`.

        Raises
        ------
        Forbidden
            If an instance asks: the stream spans all AVIs.
        """
        if who.avi is not None:
            raise Forbidden(
                "An AVI sees the events of its own jobs only.", hint="Follow jobs/{id}/events."
            )
        return self._queue.events(
            "/events",
            params={"owner": who.owner.name},
            last_id=str(last_id) if last_id else None,
        )

    async def take_turn(self, who: Principal, query: str, title: str) -> Reservation:
        """Reserve one query of the archive for the principal, for a minute or a minute longer."""
        shown = title or (
            f"{who.avi}: a query of the archive" if who.avi else "A query of the archive"
        )
        return await self._queue.take_turn(
            check_id(query), ArchiveQueryRequest(owner=who.owner, title=shown[:200])
        )

    async def end_turn(self, who: Principal, query: str) -> None:
        """Release a query of the principal's; repeating is harmless."""
        await self._queue.end_turn(check_id(query), who.owner.name)

    async def queue(self) -> QueueState:
        """Return the queue in figures."""
        return await self._queue.queue()

    async def pool(self, who: Principal) -> Pool:
        """Return the principal's pool; an instance does not see what else its user runs."""
        pool = await self._queue.pool(who.owner.name)
        return pool.model_copy(update={"holders": ()}) if who.avi is not None else pool


def _avi(who: Principal, asked: str | None) -> str:
    if who.avi is not None:
        if asked not in (None, who.avi):
            raise Forbidden(
                f"This AVI may not act for {str(asked)[:80]}.", hint="Leave out the AVI's name."
            )
        return who.avi
    if asked is None:
        raise InvalidInput(
            "Name the AVI.", hint="Send `avi` as owner/name.", detail={"avi": "is required"}
        )
    return asked
