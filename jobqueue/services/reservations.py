"""Reservations of the hub's spawners, and keeping them, and the plane, true to what the hub runs.

Invariants: a reservation whose server is gone is released after a grace time, whoever died without
saying so; one that was just made is left alone, for the hub shows a server a moment after its
spawner reserved.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gavip_api.enums import ReservationKind
from gavip_api.errors import GavipError, InvalidInput
from gavip_api.models import Reservation, ReservationRequest
from gavip_web.database import Database
from gavip_web.hub import HubClient
from jobqueue.storage.jobs import reservation_id

from .ledger import Ledger
from .orphans import Orphans

log = logging.getLogger("jobqueue.reservations")


class Reservations:
    """Reserve and release, for handlers.

    Parameters
    ----------
    database, ledger
        Parts it uses.
    wake : callable
        Wakes the reconciler when something was released.
    """

    def __init__(self, database: Database, ledger: Ledger, wake: Callable[[], None]) -> None:
        self._database = database
        self._ledger = ledger
        self._wake = wake

    async def put(self, request: ReservationRequest) -> Reservation:
        """Reserve; see :meth:`Ledger.reserve`.

        Raises
        ------
        InvalidInput
            If it is for a job: the queue itself reserves for those.
        NeverFits, Conflict
        """
        if request.kind is ReservationKind.JOB or request.id.startswith(reservation_id("")):
            raise InvalidInput("Jobs are submitted, not reserved.")
        return await self._database.write(self._ledger.reserve, request)

    async def delete(self, reservation: str) -> None:
        """Release; what is gone is fine.

        Raises
        ------
        InvalidInput
            If it is a job's.
        """
        if reservation.startswith(reservation_id("")):
            raise InvalidInput("A job's reservation ends with the job.", hint="Cancel the job.")
        if await self._database.write(self._ledger.release, reservation):
            self._wake()


class HubWatch:
    """Makes ledger and plane agree with the servers that the hub runs.

    Parameters
    ----------
    database, ledger, hub
        Parts it uses.
    wake : callable
        Wakes the reconciler when something was released.
    grace : float
        Seconds a server must be missing.
    orphans : Orphans
        Removes servers that the hub does not know.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        hub: HubClient,
        wake: Callable[[], None],
        grace: float,
        orphans: Orphans,
    ) -> None:
        self._orphans = orphans
        self._database = database
        self._ledger = ledger
        self._hub = hub
        self._wake = wake
        self._grace = grace
        self._missing: dict[str, float] = {}

    async def check(self) -> list[str]:
        """Compare once; return what was released. A hub that does not answer releases nothing."""
        held = await self._database.read(self._ledger.outside)
        try:
            running = {
                f"{user['name']}/{server}"
                async for user in self._hub.active_users()
                for server in user.get("servers") or {}
            }
        except GavipError as e:
            log.warning("cannot compare ledger and servers with the hub: %s", e.message)
            return []
        await self._orphans.check(running)
        now = time.monotonic()
        gone = set(held) - running
        self._missing = {name: self._missing.get(name, now) for name in gone}
        released = []
        for name, since in list(self._missing.items()):
            if now - since >= self._grace:
                await self._database.write(self._ledger.release, name)
                del self._missing[name]
                released.append(name)
                log.warning("released %s: its server is gone", name)
        if released:
            self._wake()
        return released
