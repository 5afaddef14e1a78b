"""What AVIs may do for whom: the check before anything of an AVI starts, and telling the job queue.

Invariants: nothing starts with a permission that its user did not grant; what starts may do what the
release asks and the user granted, no more. The job queue checks the same once more when it stores a
job, by what it was told here, so that a grant that goes meanwhile counts.
"""

from __future__ import annotations

import asyncio

from gavip_api.manifest import Permissions
from gavip_api.permits import (
    NO_GRANT,
    Granted,
    PermitChange,
    beyond,
    common,
    is_nothing,
    needed_error,
)
from gavip_portal.storage import grants as store
from gavip_web.database import Database

from .jobqueue import JobqueueClient


class Permits:
    """Read access to grants, for everything that starts something.

    Parameters
    ----------
    database : Database
        The portal's.
    jobqueue : JobqueueClient
        Who is told.
    """

    def __init__(self, database: Database, jobqueue: JobqueueClient) -> None:
        self._db = database
        self._queue = jobqueue
        # two tellings of one grant must not overtake one another
        self._telling = asyncio.Lock()

    async def granted(self, owner: str, avi: str) -> Granted:
        """Return what a user grants an AVI now."""
        return store.granted(await self._db.read(store.find, owner, avi)) or NO_GRANT

    async def needed(self, owner: str, avi: str, asked: Permissions) -> Permissions:
        """Return what is asked beyond what is granted."""
        return beyond(asked, await self.granted(owner, avi))

    async def require(
        self, owner: str, avi: str, asked: Permissions, release: str | None = None
    ) -> Permissions:
        """Return what may be enforced as allowed, when nothing is missing.

        Parameters
        ----------
        owner : str
            The user for whom something starts.
        avi : str
            ``owner/name``.
        asked : Permissions
            By the release that is to start.
        release : str, optional
            Its Git SHA, for the error.

        Raises
        ------
        PermissionsNeeded
            Naming what is missing.
        """
        granted = await self.granted(owner, avi)
        missing = beyond(asked, granted)
        if not is_nothing(missing):
            raise needed_error(avi, missing, release)
        return common(asked, granted)

    async def tell(self, owner: str, avi: str) -> int:
        """Tell the job queue what a user grants an AVI now; return how many jobs it asked to end.

        Raises
        ------
        Unavailable
            If the job queue does not answer.
        """
        async with self._telling:
            row = await self._db.read(store.find, owner, avi)
            change = PermitChange(owner=owner, avi=avi, granted=store.granted(row))
            return (await self._queue.permit(change)).cancelling
