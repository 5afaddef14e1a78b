"""Reservations of the hub's spawners, and keeping them true to what the hub runs.

Invariant: a reservation whose server is gone is released after a grace time, whoever died without
saying so; one that was just made is left alone, for the hub shows a server a moment after its
spawner reserved.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.orm import Session

from gavip_api.enums import ReservationKind, ReservationState
from gavip_api.errors import GavipError, InvalidInput
from gavip_api.models import (
    ArchiveQueryRequest,
    Reservation,
    ReservationRequest,
    ResourceAmount,
)
from gavip_web.database import Database
from gavip_web.hub import HubClient
from jobqueue.storage.jobs import reservation_id
from jobqueue.storage.orm import ReservationRow

from .ledger import QUERY_LEASE, Ledger

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
        return await self._put(request)

    async def _put(self, request: ReservationRequest) -> Reservation:
        answer = await self._database.write(self._ledger.reserve, request)
        if answer.state is ReservationState.GRANTED and request.lease is not None:
            # its sleep may be longer than the lease
            self._wake()
        return answer

    async def take_turn(self, query: str, request: ArchiveQueryRequest) -> Reservation:
        """Reserve one query of the archive for a minute, or for another minute.

        Raises
        ------
        NeverFits, Conflict
        """
        return await self._put(
            ReservationRequest(
                id=_query_id(query),
                owner=request.owner.name,
                roles=request.owner.roles,
                kind=ReservationKind.ARCHIVE_QUERY,
                amount=ResourceAmount(memory=0, cpu=0, archive=1),
                title=request.title or "A query of the archive",
                lease=QUERY_LEASE,
            )
        )

    async def end_turn(self, query: str, owner: str) -> None:
        """Release a query of `owner`'s; what is gone, or somebody else's, is left alone."""

        def work(session: Session) -> bool:
            line = session.get(ReservationRow, _query_id(query))
            return (
                line is not None and line.owner == owner and self._ledger.release(session, line.id)
            )

        if await self._database.write(work):
            self._wake()

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


def _query_id(query: str) -> str:
    return f"query:{query}"


class HubWatch:
    """Releases reservations of servers that the hub no longer runs.

    Parameters
    ----------
    database, ledger, hub
        Parts it uses.
    wake : callable
        Wakes the reconciler when something was released.
    grace : float
        Seconds a server must be missing.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        hub: HubClient,
        wake: Callable[[], None],
        grace: float,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._hub = hub
        self._wake = wake
        self._grace = grace
        self._missing: dict[str, float] = {}

    async def check(self) -> list[str]:
        """Compare once; return what was released. A hub that does not answer releases nothing."""
        held = await self._database.read(self._ledger.outside)
        if not held:
            self._missing.clear()
            return []
        try:
            running = {
                f"{user['name']}/{server}"
                async for user in self._hub.active_users()
                for server in user.get("servers") or {}
            }
        except GavipError as e:
            log.warning("cannot compare the ledger with the hub: %s", e.message)
            return []
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
