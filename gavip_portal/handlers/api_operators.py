"""``admin``: ledger, pools, scheduler and audit for operators, forwarded to jobqueue in their name."""

from __future__ import annotations

from pydantic import Field

from gavip_api.models import AuditPage, LedgerState, Model, PoolLimits, RolePools, SchedulerState
from gavip_api.scopes import PORTAL_OPERATE
from gavip_portal.services.operators import Kind
from gavip_web.openapi import operation

from .base import PortalApiHandler

OPERATE = (PORTAL_OPERATE,)
TAGS = ("operators",)


class LedgerHandler(PortalApiHandler):
    """The ledger."""

    @operation(
        "Show everything that is allocated",
        scopes=OPERATE,
        response=LedgerState,
        errors=(503,),
        tags=TAGS,
    )
    async def get(self) -> None:
        """Return capacity, the sum of what is granted, and each line of the ledger."""
        self.check_operator()
        self.reply(await self.services.operators.ledger())


class AuditQuery(Model):
    """Which part of the audit."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: int | None = Field(
        default=None, ge=1, lt=1 << 62, description="`next` of the page before"
    )


class AuditHandler(PortalApiHandler):
    """The audit."""

    @operation(
        "Show what operators changed",
        scopes=OPERATE,
        query=AuditQuery,
        response=AuditPage,
        errors=(503,),
        tags=TAGS,
    )
    async def get(self) -> None:
        """Return changes of pools and scheduler, newest first, with who made them."""
        self.check_operator()
        query = self.query(AuditQuery)
        self.reply(await self.services.operators.audit(query.model_dump(exclude_none=True)))


class RolePoolsHandler(PortalApiHandler):
    """Pools of all roles."""

    @operation(
        "Show the pools of roles", scopes=OPERATE, response=RolePools, errors=(503,), tags=TAGS
    )
    async def get(self) -> None:
        """Return the roles for which limits were set."""
        self.check_operator()
        self.reply(await self.services.operators.role_pools())


class _LimitsHandler(PortalApiHandler):
    """Limits of a role or a user."""

    kind: Kind

    @operation(
        "Show the limits that were set",
        scopes=OPERATE,
        response=PoolLimits,
        errors=(422, 503),
        tags=TAGS,
    )
    async def get(self, name: str) -> None:
        """Return what was set; a dimension that is missing follows the wider rule."""
        self.check_operator()
        self.reply(await self.services.operators.limits(self.kind, name))

    @operation(
        "Set limits",
        scopes=OPERATE,
        request=PoolLimits,
        response=PoolLimits,
        errors=(503,),
        tags=TAGS,
    )
    async def put(self, name: str) -> None:
        """Set limits at once. Nothing is taken away from who holds more; they get nothing more meanwhile."""
        who, limits = self.check_operator(), self.body(PoolLimits)
        self.reply(await self.services.operators.set_limits(who, self.kind, name, limits))

    @operation("Remove limits", scopes=OPERATE, status=204, errors=(422, 503), tags=TAGS)
    async def delete(self, name: str) -> None:
        """Let the wider rule count again; repeating is harmless."""
        await self.services.operators.remove_limits(self.check_operator(), self.kind, name)
        self.no_content()


class UserPoolHandler(_LimitsHandler):
    """The pool of one user."""

    kind = "user"


class RolePoolHandler(_LimitsHandler):
    """The pool of one role."""

    kind = "role"


class SchedulerName(Model):
    """Which scheduler."""

    name: str = Field(max_length=64, description="one of `available`")


class SchedulerHandler(PortalApiHandler):
    """The scheduler."""

    @operation(
        "Show the scheduler", scopes=OPERATE, response=SchedulerState, errors=(503,), tags=TAGS
    )
    async def get(self) -> None:
        """Return the scheduler in charge and those that could be."""
        self.check_operator()
        self.reply(await self.services.operators.scheduler())

    @operation(
        "Choose another scheduler",
        scopes=OPERATE,
        request=SchedulerName,
        response=SchedulerState,
        errors=(503,),
        tags=TAGS,
    )
    async def put(self) -> None:
        """Put a scheduler in charge from the next decision on; kept over restarts."""
        who, name = self.check_operator(), self.body(SchedulerName).name
        self.reply(await self.services.operators.set_scheduler(who, name))
