"""Running AVIs: from the request to the end, for their owners.

Invariants: what was asked for is stored before anything is started; a state changes only through
:func:`gavip_portal.storage.instances.move`; every start ends as ready, failed or stopped, also
across restarts; a technical user without a live instance is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any

from gavip_api.enums import InstanceState, Role
from gavip_api.errors import GavipError, NotFound
from gavip_api.models import (
    Instance,
    InstanceOptions,
    InstanceRequest,
    ResourceAmount,
    UserProfile,
    utcnow,
)
from gavip_api.slugs import new_id
from gavip_portal.storage import instances as store
from gavip_portal.storage.tables import InstanceRow
from gavip_web import tasks
from gavip_web.database import Database

from .bus import InstanceBus
from .catalogue import Catalogue
from .permits import Permits
from .servers import Step, TechnicalServers, new_technical_user

log = logging.getLogger("gavip.portal.instances")


@dataclass(frozen=True)
class InstanceSettings:
    """What operators decide about instances.

    Attributes
    ----------
    most_per_user : int
        Live instances one person may have.
    resources : ResourceAmount
        What each instance may use.
    url_template : str
        Address of a server, with ``{user}``.
    """

    most_per_user: int
    resources: ResourceAmount
    url_template: str


class Instances:
    """All instances.

    Parameters
    ----------
    database : Database
        The portal's.
    catalogue : Catalogue
        What can be started.
    permits : Permits
        What users grant it.
    servers : TechnicalServers
        Where it is started.
    bus : InstanceBus
        Who is told.
    settings : InstanceSettings
        Limits.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        permits: Permits,
        servers: TechnicalServers,
        bus: InstanceBus,
        settings: InstanceSettings,
    ) -> None:
        self._db = database
        self._catalogue = catalogue
        self._permits = permits
        self._servers = servers
        self._bus = bus
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # between the commit of a new row and its task nobody may think that the row is orphaned
        self._handing_over = asyncio.Lock()

    # -- what callers ask --

    async def request(self, owner: UserProfile, request: InstanceRequest) -> Instance:
        """Start an AVI's view for a user, or return the live instance that shows it.

        Raises
        ------
        NotFound
            If there is no such AVI, release or view.
        PermissionsNeeded
            If the user does not grant what the release asks.
        LimitReached
            If the user has too many instances.
        """
        resolved = await self._catalogue.resolve(request.avi, request.release)
        await self._permits.require(
            owner.name, resolved.avi, resolved.manifest.permissions, resolved.sha
        )
        view = resolved.view(request.view)
        row = InstanceRow(
            id=new_id(),
            owner=owner.name,
            owner_roles=[role.value for role in owner.roles],
            technical_user=new_technical_user(),
            avi=resolved.avi,
            title=view.title[:200],
            view=view.name,
            notebook=view.notebook,
            release=resolved.sha,
            state=InstanceState.REQUESTED.value,
            message="Requested.",
            hint="",
            progress=0,
            created=utcnow(),
        )
        async with self._handing_over:
            stored, new = await self._db.write(store.claim, row, self._settings.most_per_user)
            if new:
                self._spawn(stored.id, self._launch(stored))
        if new:
            self._bus.publish(store.to_model(stored))
        return store.to_model(stored)

    async def list(self, owner: str) -> list[Instance]:
        """Return a user's instances, newest first."""
        return [store.to_model(row) for row in await self._db.read(store.of_owner, owner)]

    async def show(self, owner: str, instance_id: str) -> Instance:
        """Return one instance of a user.

        Raises
        ------
        NotFound
            If it is not theirs, or none.
        """
        return store.to_model(await self._own(owner, instance_id))

    async def stop(self, owner: str, instance_id: str) -> None:
        """Stop an instance of a user; one that has ended is fine.

        Raises
        ------
        NotFound
            If it is not theirs, or none.
        """
        await self._begin_stop(await self._own(owner, instance_id))

    async def stop_all(self, owner: str, avi: str | None = None) -> int:
        """Stop all live instances of a user, or those of one AVI; return how many there were."""
        # a start that is between its row and its task is then past it
        async with self._handing_over:
            live = await self._db.read(store.live)
        rows = [r for r in live if r.owner == owner and avi in (None, r.avi)]
        for row in rows:
            await self._begin_stop(row)
        return len(rows)

    async def follow(self, owner: str, instance_id: str) -> AsyncGenerator[Instance, None]:
        """Yield an instance now and at every change, until it has ended."""
        # subscribed before the first read, so that no change falls in between
        with self._bus.subscribe(owner) as changes:
            present = await self.show(owner, instance_id)
            yield present
            while not present.state.is_final:
                change = await changes.get()
                if change.id == instance_id:
                    present = change
                    yield present

    async def changes(self, owner: str) -> AsyncGenerator[Instance, None]:
        """Yield every change of a user's instances from now on."""
        with self._bus.subscribe(owner) as changes:
            while True:
                yield await changes.get()

    async def of_technical_user(self, name: str) -> InstanceRow:
        """Return the live instance that a technical user serves: who it acts for, and with which AVI.

        Raises
        ------
        NotFound
            If there is none.
        """
        row = await self._db.read(store.find_by_technical_user, name)
        if row is None or InstanceState(row.state).is_final:
            raise NotFound("This instance has ended.", hint="Open the AVI again.")
        return row

    # -- starting and stopping --

    async def _launch(self, row: InstanceRow) -> None:
        await self._run_start(row, self._start(row))

    async def _start(self, row: InstanceRow) -> AsyncGenerator[Step, None]:
        options = await self._options(row)
        async with contextlib.aclosing(self._servers.start(row.technical_user, options)) as steps:
            async for step in steps:
                yield step

    async def _options(self, row: InstanceRow) -> InstanceOptions:
        resolved = await self._catalogue.resolve(row.avi, row.release)
        # asked again: it may have been revoked since the request, also before a restart
        permissions = await self._permits.require(
            row.owner, row.avi, resolved.manifest.permissions, row.release
        )
        return InstanceOptions(
            id=row.id,
            owner=owner_of(row),
            avi=row.avi,
            release=row.release,
            template=resolved.manifest.template,
            view=row.view,
            notebook=row.notebook,
            permissions=permissions,
            resources=self._settings.resources,
        )

    async def _run_start(self, row: InstanceRow, steps: AsyncGenerator[Step, None]) -> None:
        try:
            async for step in steps:
                await self._move(
                    row.id, InstanceState.STARTING, message=step.message, progress=step.progress
                )
            url = self._settings.url_template.format(user=row.technical_user)
            ready = await self._move(
                row.id, InstanceState.READY, message="Running.", progress=100, url=url
            )
            if ready is None:
                log.info("instance %s was stopped while it started", row.id)
        except GavipError as e:
            log.warning("instance %s did not start: %s", row.id, e.message)
            await self._move(
                row.id, InstanceState.FAILED, message=e.message, hint=e.hint or "Try again."
            )
            await self._remove(row.technical_user)
        except Exception:
            # a defect of ours: whoever waits for the instance must still be told that it will not come
            log.exception("instance %s did not start", row.id)
            await self._move(
                row.id,
                InstanceState.FAILED,
                message="The platform could not start it.",
                hint="Try again; if it fails again, tell the operators.",
            )
            await self._remove(row.technical_user)
            raise
        finally:
            await steps.aclose()

    async def _begin_stop(self, row: InstanceRow) -> None:
        if await self._move(row.id, InstanceState.STOPPING, message="Stopping.") is None:
            return  # it has ended
        running = self._tasks.get(row.id)
        if running is not None:
            await tasks.end(running)
        self._spawn(row.id, self._finish_stop(row))

    async def _finish_stop(self, row: InstanceRow) -> None:
        if await self._remove(row.technical_user):
            await self._move(row.id, InstanceState.STOPPED, message="Stopped.")

    async def _remove(self, technical_user: str) -> bool:
        try:
            await self._servers.remove(technical_user)
        except GavipError as e:
            log.warning("%s not removed now, the reconciler will: %s", technical_user, e.message)
            return False
        return True

    # -- keeping promises --

    async def reconcile(self) -> None:
        """Make the table and the hub agree; run at start-up and on a timer.

        Raises
        ------
        GavipError
            If the hub or the database does not answer; the next run tries again.
        """
        # the hub is read first: whatever it has then has had its row before, so that nothing new is taken for left over
        in_hub = await self._servers.all()
        async with self._handing_over:
            rows = {row.technical_user: row for row in await self._db.read(store.live)}
            orphans = [row for row in rows.values() if row.id not in self._tasks]
        for row in orphans:
            await self._reconcile_one(row, in_hub.get(row.technical_user))
        for name in in_hub.keys() - rows.keys():
            log.info("removing left-over technical user %s", name)
            await self._remove(name)

    async def _reconcile_one(self, row: InstanceRow, active: bool | None) -> None:
        state = InstanceState(row.state)
        if state is InstanceState.STOPPING:
            self._spawn(row.id, self._finish_stop(row))
        elif state is InstanceState.READY:
            # asked again, for the list is older than the row when the instance became ready just now
            if not active and not await self._servers.is_active(row.technical_user):
                log.info("instance %s has ended by itself", row.id)
                await self._move(
                    row.id,
                    InstanceState.STOPPED,
                    message="It ended by itself, or was stopped for being idle.",
                )
                await self._remove(row.technical_user)
        elif active:
            self._spawn(row.id, self._run_start(row, self._servers.resume(row.technical_user)))
        elif active is None and state is InstanceState.REQUESTED:
            self._spawn(row.id, self._launch(row))
        else:
            await self._move(
                row.id,
                InstanceState.FAILED,
                message="Its start was interrupted by a restart of the platform.",
                hint="Press Retry.",
            )
            await self._remove(row.technical_user)

    async def close(self) -> None:
        """End all tasks; what they did not finish is taken up at the next start."""
        await tasks.end(*self._tasks.values())

    # -- helpers --

    async def _own(self, owner: str, instance_id: str) -> InstanceRow:
        row = await self._db.read(store.find, instance_id)
        if row is None or row.owner != owner:
            raise NotFound("You have no such instance.", hint="Open the AVI from the catalogue.")
        return row

    async def _move(
        self, instance_id: str, state: InstanceState, **facts: str | int
    ) -> InstanceRow | None:
        row = await self._db.write(store.move, instance_id, state, **facts)
        if row is not None:
            self._bus.publish(store.to_model(row))
        return row

    def _spawn(self, instance_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[instance_id] = task
        task.add_done_callback(lambda done: self._forget(instance_id, done))

    def _forget(self, instance_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(instance_id) is task:
            del self._tasks[instance_id]
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("task of instance %s failed", instance_id, exc_info=fault)


def owner_of(row: InstanceRow) -> UserProfile:
    """Return for whom an instance runs."""
    return UserProfile(name=row.owner, roles=tuple(Role(r) for r in row.owner_roles))
