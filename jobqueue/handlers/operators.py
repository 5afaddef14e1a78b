"""What operators change while the queue runs: pools, the scheduler; and the audit of it."""

from __future__ import annotations

from pydantic import Field

from gavip_api.models import (
    AuditPage,
    Model,
    PoolChange,
    PoolLimits,
    RolePools,
    SchedulerChange,
    SchedulerState,
)
from gavip_web.openapi import operation

from .base import JobQueueHandler
from .ledger import OPERATE


class ByQuery(Model):
    """Who changes something."""

    by: str = Field(min_length=1, max_length=255, description="the operator, for the audit")


class _LimitsHandler(JobQueueHandler):
    """Limits of a role or a user."""

    kind: str

    @operation("Show the limits that were set", scopes=OPERATE, response=PoolLimits, errors=(422,))
    async def get(self, name: str) -> None:
        """Show what was set; what is missing follows the wider rule."""
        self.reply(await self.operators.limits(self.kind, name))  # type: ignore[arg-type]

    @operation(
        "Set limits", scopes=OPERATE, request=PoolChange, response=PoolLimits, errors=(400, 503)
    )
    async def put(self, name: str) -> None:
        """Set limits at once. Nothing is taken away from who holds more; they get nothing more meanwhile."""
        change = self.body(PoolChange)
        self.reply(
            await self.operators.set_limits(self.kind, name, change, change.by)  # type: ignore[arg-type]
        )

    @operation("Remove limits", scopes=OPERATE, query=ByQuery, response=PoolLimits, errors=(503,))
    async def delete(self, name: str) -> None:
        """Let the wider rule count again; idempotent."""
        by = self.query(ByQuery).by
        self.reply(await self.operators.set_limits(self.kind, name, None, by))  # type: ignore[arg-type]


class UserLimitsHandler(_LimitsHandler):
    """``/pools/{name}/limits``."""

    kind = "user"


class RolePoolHandler(_LimitsHandler):
    """``/role-pools/{name}``."""

    kind = "role"


class RolePoolsHandler(JobQueueHandler):
    """``/role-pools``."""

    @operation("Show the limits of all roles", scopes=OPERATE, response=RolePools)
    async def get(self) -> None:
        """Show the roles for which limits were set."""
        self.reply(await self.operators.role_pools())


class SchedulerHandler(JobQueueHandler):
    """``/scheduler``."""

    @operation("Show the scheduler", scopes=OPERATE, response=SchedulerState)
    async def get(self) -> None:
        """Show the scheduler in charge and those that could be."""
        self.reply(self.operators.scheduler())

    @operation(
        "Choose another scheduler",
        scopes=OPERATE,
        request=SchedulerChange,
        response=SchedulerState,
        errors=(400, 503),
    )
    async def put(self) -> None:
        """Put a scheduler in charge from the next decision on; kept over restarts."""
        self.reply(await self.operators.set_scheduler(self.body(SchedulerChange)))


class AuditQuery(Model):
    """Which part of the audit."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: int | None = Field(
        default=None, ge=1, lt=1 << 62, description="`next` of the page before"
    )


class AuditHandler(JobQueueHandler):
    """``/audit``."""

    @operation("Show what operators changed", scopes=OPERATE, query=AuditQuery, response=AuditPage)
    async def get(self) -> None:
        """List changes, newest first."""
        query = self.query(AuditQuery)
        self.reply(await self.operators.audit(query.cursor, query.limit))
