"""Granting and revoking: what people decide about AVIs, and what follows from it.

Invariants: a decision is stored before anything acts on it; what a part that is away was not told is
told by the reconciler; what was granted is what the user was shown.
"""

from __future__ import annotations

import builtins
import logging

from gavip_api.errors import Conflict, GavipError, NotFound
from gavip_api.permits import (
    NO_GRANT,
    AviPermissions,
    Granted,
    GrantEvent,
    GrantRequest,
    PermissionGrant,
    Revoked,
    beyond,
    in_words,
    is_nothing,
    same,
)
from gavip_portal.storage import grants as store
from gavip_portal.storage.tables import GrantRow
from gavip_web.database import Database

from .catalogue import Catalogue
from .instances import Instances
from .permits import Permits

log = logging.getLogger("gavip.portal.grants")

_SHOWN_EVENTS = 200


class Granting:
    """Grants of people.

    Parameters
    ----------
    database : Database
        The portal's.
    catalogue : Catalogue
        What releases ask.
    permits : Permits
        Tells the job queue.
    instances : Instances
        What is stopped at a revocation.
    """

    def __init__(
        self, database: Database, catalogue: Catalogue, permits: Permits, instances: Instances
    ) -> None:
        self._db = database
        self._catalogue = catalogue
        self._permits = permits
        self._instances = instances

    async def show(self, owner: str, avi: str, release: str | None = None) -> AviPermissions:
        """Return what a release asks, what is granted, and what is missing.

        Raises
        ------
        NotFound
            If there is no such AVI or release.
        """
        resolved = await self._catalogue.resolve(avi, release)
        asked = resolved.manifest.permissions
        row = await self._db.read(store.find, owner, avi)
        granted = store.granted(row)
        needed = beyond(asked, granted or NO_GRANT)
        return AviPermissions(
            avi=avi,
            title=resolved.manifest.title,
            release=resolved.sha,
            version=resolved.version,
            asked=asked,
            granted=granted,
            needed=needed,
            asked_in_words=in_words(asked),
            granted_in_words=in_words(granted or NO_GRANT),
            needed_in_words=in_words(needed),
            first_release=row.first_release if row is not None and granted else None,
            since=row.created if row is not None and granted else None,
        )

    async def list(self, owner: str) -> list[PermissionGrant]:
        """Return everything that a user grants, by AVI."""
        rows = await self._db.read(store.of_owner, owner)
        titles = {avi.ref: avi.title for avi in await self._catalogue.list()} if rows else {}
        return [_grant(row, titles.get(row.avi, row.avi)) for row in rows]

    async def grant(self, owner: str, avi: str, request: GrantRequest) -> AviPermissions:
        """Grant what a release asks, besides what is granted.

        Grants add up: what an earlier release was granted, and may be running with, stays until it
        is revoked.

        Raises
        ------
        NotFound
            If there is no such AVI or release.
        Conflict
            If the release asks for something else than the user was shown.
        """
        resolved = await self._catalogue.resolve(avi, request.release)
        if not same(resolved.manifest.permissions, request.permissions):
            raise Conflict(
                f"{resolved.manifest.title} asks for other permissions than you were shown.",
                hint="Look at what it asks for now, then decide again.",
            )
        if is_nothing(resolved.manifest.permissions):
            return await self.show(owner, avi, request.release)
        await self._db.write(store.grant, owner, avi, resolved.sha, resolved.manifest.permissions)
        try:
            await self._settle(owner, avi)
        except GavipError as e:
            # instances may start at once; jobs cannot be submitted anyway while the queue is away
            log.warning("the job queue was not told of a grant now: %s", e.message)
        return await self.show(owner, avi, request.release)

    async def revoke(self, owner: str, avi: str) -> Revoked:
        """Revoke what a user grants an AVI; stop its instances and cancel its jobs. Repeating is harmless.

        Raises
        ------
        NotFound
            If nothing was ever granted.
        Unavailable
            If the job queue does not answer; what is revoked stays revoked, and the jobs are
            cancelled as soon as it does.
        """
        await self._db.write(store.revoke, owner, avi)
        if await self._db.read(store.find, owner, avi) is None:
            raise NotFound(
                f"You have granted {avi[:130]} nothing.", hint="There is nothing to revoke."
            )
        return await self._settle(owner, avi)

    async def history(self, owner: str) -> builtins.list[GrantEvent]:
        """Return what a user granted and revoked, newest first."""
        return [
            GrantEvent(
                time=row.time,
                avi=row.avi,
                action=row.action,
                granted=Granted.model_validate(row.permissions),
                release=row.release,
            )
            for row in await self._db.read(store.history, owner, _SHOWN_EVENTS)
        ]

    async def settle_all(self) -> None:
        """Tell what could not be told before; run at start-up and on a timer."""
        for owner, avi in await self._db.read(store.unsettled):
            try:
                await self._settle(owner, avi)
            except GavipError as e:
                log.warning("a grant is not known everywhere yet: %s", e.message)

    async def _settle(self, owner: str, avi: str) -> Revoked:
        row = await self._db.read(store.find, owner, avi)
        if row is None:
            return Revoked(stopping=0, cancelling=0)
        stopping = 0 if row.active else await self._instances.stop_all(owner, avi)
        cancelling = await self._permits.tell(owner, avi)
        await self._db.write(store.settle, owner, avi, row.change)
        return Revoked(stopping=stopping, cancelling=cancelling)


def _grant(row: GrantRow, title: str) -> PermissionGrant:
    granted = store.granted(row) or NO_GRANT
    return PermissionGrant(
        avi=row.avi,
        title=title,
        granted=granted,
        in_words=in_words(granted),
        first_release=row.first_release,
        since=row.created,
    )
