"""What operators may look at and change in the job queue, on behalf of the person who asks.

Invariant: the name in the audit is that of the signed-in person, never one from the request.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from gavip_api.models import (
    AuditPage,
    LedgerState,
    PoolChange,
    PoolLimits,
    RolePools,
    SchedulerChange,
    SchedulerState,
    UserProfile,
)

from .jobqueue import JobqueueClient

Kind = Literal["user", "role"]


class Operators:
    """Forwards to jobqueue's calls for operators.

    Parameters
    ----------
    jobqueue : JobqueueClient
        Where ledger, pools and scheduler are.
    """

    def __init__(self, jobqueue: JobqueueClient) -> None:
        self._queue = jobqueue

    async def ledger(self) -> LedgerState:
        """Return everything that is allocated."""
        return await self._queue.ask("GET", "/ledger", LedgerState)

    async def audit(self, params: dict[str, Any]) -> AuditPage:
        """Return what operators changed, newest first."""
        return await self._queue.ask("GET", "/audit", AuditPage, params=params)

    async def role_pools(self) -> RolePools:
        """Return what was set for roles."""
        return await self._queue.ask("GET", "/role-pools", RolePools)

    async def limits(self, kind: Kind, name: str) -> PoolLimits:
        """Return what was set for a role or a user."""
        return await self._queue.ask("GET", _path(kind, name), PoolLimits)

    async def set_limits(
        self, who: UserProfile, kind: Kind, name: str, limits: PoolLimits
    ) -> PoolLimits:
        """Set the limits of a role or a user, at once."""
        change = PoolChange(by=who.name, limits=limits)
        return await self._queue.ask("PUT", _path(kind, name), PoolLimits, body=change)

    async def remove_limits(self, who: UserProfile, kind: Kind, name: str) -> None:
        """Let the wider rule count again."""
        await self._queue.ask("DELETE", _path(kind, name), PoolLimits, params={"by": who.name})

    async def scheduler(self) -> SchedulerState:
        """Return the scheduler in charge, and the others."""
        return await self._queue.ask("GET", "/scheduler", SchedulerState)

    async def set_scheduler(self, who: UserProfile, name: str) -> SchedulerState:
        """Put another scheduler in charge."""
        change = SchedulerChange(by=who.name, name=name)
        return await self._queue.ask("PUT", "/scheduler", SchedulerState, body=change)


def _path(kind: Kind, name: str) -> str:
    quoted = quote(name, safe="")
    return f"/pools/{quoted}/limits" if kind == "user" else f"/role-pools/{quoted}"
