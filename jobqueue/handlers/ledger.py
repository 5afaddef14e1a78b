"""The ledger: queue figures, pools, reservations."""

from __future__ import annotations

from pydantic import Field

from gavip_api.errors import BadRequest
from gavip_api.models import (
    ArchiveQueryRequest,
    LedgerState,
    Model,
    Pool,
    QueueState,
    Reservation,
    ReservationRequest,
)
from gavip_api.scopes import JOBQUEUE_OPERATE, JOBQUEUE_RESERVE
from gavip_api.slugs import check_id
from gavip_web.openapi import operation

from .base import JobQueueHandler
from .jobs import ACT_FOR

RESERVE = (JOBQUEUE_RESERVE,)
OPERATE = (JOBQUEUE_OPERATE,)


class QueueHandler(JobQueueHandler):
    """``/queue``."""

    @operation("Show the queue in figures", scopes=ACT_FOR, response=QueueState)
    async def get(self) -> None:
        """Show capacity, what of it is used, and how many jobs wait and run."""
        self.reply(await self.jobs.queue())


class PoolHandler(JobQueueHandler):
    """``/pools/{owner}``."""

    @operation("Show a user's pool", scopes=ACT_FOR, response=Pool)
    async def get(self, owner: str) -> None:
        """Show a user's limit, what is used, and by what."""
        self.reply(await self.jobs.pool(owner))


class LedgerHandler(JobQueueHandler):
    """``/ledger``."""

    @operation("Show everything that is allocated", scopes=OPERATE, response=LedgerState)
    async def get(self) -> None:
        """Show capacity, the sum of what is granted, and each line of the ledger."""
        self.reply(await self.jobs.ledger())


class ReservationHandler(JobQueueHandler):
    """``/reservations/{reservation}``; the id may hold a quoted slash."""

    @operation(
        "Reserve before starting something",
        scopes=RESERVE,
        request=ReservationRequest,
        response=Reservation,
        errors=(409, 503),
    )
    async def put(self, reservation: str) -> None:
        """Reserve; idempotent. A refusal is answered with 200, state and reason, and is not kept."""
        request = self.body(ReservationRequest)
        if request.id != reservation:
            raise BadRequest("The body's id is not that of the address.")
        self.reply(await self.reservations.put(request))

    @operation("Release", scopes=RESERVE, status=204, errors=(422, 503))
    async def delete(self, reservation: str) -> None:
        """Release; one that is gone is fine."""
        await self.reservations.delete(reservation)
        self.no_content()


class TurnQuery(Model):
    """Whose query."""

    owner: str = Field(min_length=1, max_length=255, description="the user")


class ArchiveQueryHandler(JobQueueHandler):
    """``/archive-queries/{query}``."""

    @operation(
        "Take a turn at the archive",
        scopes=ACT_FOR,
        request=ArchiveQueryRequest,
        response=Reservation,
        errors=(409, 503),
    )
    async def put(self, query: str) -> None:
        """Reserve one query for a minute; asking again extends that. A refusal is answered with 200 and why."""
        request = self.body(ArchiveQueryRequest)
        self.reply(await self.reservations.take_turn(check_id(query), request))

    @operation(
        "End a turn at the archive", scopes=ACT_FOR, query=TurnQuery, status=204, errors=(503,)
    )
    async def delete(self, query: str) -> None:
        """Release; one that is gone, or of somebody else, is left alone."""
        await self.reservations.end_turn(check_id(query), self.query(TurnQuery).owner)
        self.no_content()
