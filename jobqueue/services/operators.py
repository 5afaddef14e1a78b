"""What operators may change while the queue runs: pools and the scheduler.

Invariant: a change and its line in the audit are one transaction; it counts from the next decision
on and survives a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gavip_api.enums import Role
from gavip_api.errors import InvalidInput
from gavip_api.models import (
    AuditEntry,
    AuditPage,
    PoolChange,
    PoolLimits,
    RolePools,
    SchedulerChange,
    SchedulerChoice,
    SchedulerState,
    utcnow,
)
from gavip_web.database import Database
from jobqueue.schedulers import Scheduler, available
from jobqueue.storage.hooks import on_commit
from jobqueue.storage.orm import AuditRow, SettingRow

from .forecast import Forecaster
from .pools import Kind, PoolRules
from .waiting import Waitlist

SCHEDULER = "scheduler"


class Operators:
    """Changes by operators.

    Parameters
    ----------
    database, rules, waitlist, forecaster
        Parts it uses.
    make : callable
        Constructs a scheduler from its name.
    name : str
        Name of the scheduler that the configuration chose.
    wake : callable
        Wakes the reconciler: a larger pool or another scheduler may let a job start.
    """

    def __init__(
        self,
        database: Database,
        rules: PoolRules,
        waitlist: Waitlist,
        forecaster: Forecaster,
        *,
        make: Callable[[str], Scheduler],
        name: str,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._rules = rules
        self._waitlist = waitlist
        self._forecaster = forecaster
        self._make = make
        self._name = name
        self._wake = wake

    # -- pools --

    async def role_pools(self) -> RolePools:
        """Return what was set for roles."""
        found = await self._database.read(self._rules.rules, "role")
        return RolePools(items={Role(name): limits for name, limits in found.items()})

    async def limits(self, kind: Kind, name: str) -> PoolLimits:
        """Return what was set for a role or a user; empty when nothing was."""
        found = await self._database.read(self._rules.rule, kind, _checked(kind, name))
        return found or PoolLimits()

    async def set_limits(
        self, kind: Kind, name: str, change: PoolChange | None, by: str
    ) -> PoolLimits:
        """Set the limits of a role or a user; None lets the wider rule count again.

        Raises
        ------
        InvalidInput
            If there is no such role, or the name is no name.
        """
        _checked(kind, name)
        limits = change.limits if change is not None else None

        def work(session: Session) -> None:
            before = self._rules.rule(session, kind, name)
            self._rules.put(session, kind, name, limits)
            _note(session, by, f"{kind}-pool", name, _plain(before), _plain(limits))
            on_commit(session, self._forecaster.forget)

        await self._database.write(work)
        self._wake()
        return limits or PoolLimits()

    # -- scheduler --

    def load(self, session: Session) -> None:
        """Put the scheduler in charge that an operator chose last, if that still exists."""
        row = session.get(SettingRow, SCHEDULER)
        if row is not None and row.value.get("name") in available():
            self._name = row.value["name"]
        self._waitlist.switch(self._make(self._name))

    def scheduler(self) -> SchedulerState:
        """Return the scheduler in charge, and the others."""
        kinds = available()
        choices = (SchedulerChoice(name=n, title=k.title or n) for n, k in sorted(kinds.items()))
        return SchedulerState(name=self._name, available=tuple(choices))

    async def set_scheduler(self, change: SchedulerChange) -> SchedulerState:
        """Put another scheduler in charge.

        Raises
        ------
        InvalidInput
            If there is none of that name.
        """
        scheduler = self._make(change.name)

        def work(session: Session) -> None:
            row = session.get(SettingRow, SCHEDULER)
            if row is None:
                row = SettingRow(key=SCHEDULER)
                session.add(row)
            row.value = {"name": change.name}
            _note(session, change.by, "scheduler", "", {"name": self._name}, {"name": change.name})

            def switch() -> None:
                self._waitlist.switch(scheduler)
                self._name = change.name
                self._forecaster.forget()

            on_commit(session, switch)

        await self._database.write(work)
        self._wake()
        return self.scheduler()

    # -- audit --

    async def audit(self, before: int | None, limit: int) -> AuditPage:
        """Return what was changed, newest first."""

        def read(session: Session) -> AuditPage:
            query = select(AuditRow).order_by(AuditRow.seq.desc()).limit(limit + 1)
            if before is not None:
                query = query.where(AuditRow.seq < before)
            rows = list(session.scalars(query))
            return AuditPage(
                items=tuple(
                    AuditEntry(
                        seq=r.seq,
                        time=r.time,
                        by=r.by,
                        action=r.action,
                        subject=r.subject,
                        before=r.before,
                        after=r.after,
                    )
                    for r in rows[:limit]
                ),
                next=rows[limit - 1].seq if len(rows) > limit else None,
            )

        return await self._database.read(read)


def _checked(kind: Kind, name: str) -> str:
    if kind == "role" and name not in {r.value for r in Role}:
        raise InvalidInput(
            f"There is no role {name[:60]!r}.", hint=f"There are: {', '.join(map(str, Role))}."
        )
    if not 0 < len(name) <= 255 or "\0" in name:
        raise InvalidInput("A user's name has 1 to 255 characters.")
    return name


def _plain(limits: PoolLimits | None) -> dict[str, Any] | None:
    return limits.model_dump(exclude_none=True) if limits is not None else None


def _note(
    session: Session,
    by: str,
    action: str,
    subject: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    session.add(
        AuditRow(time=utcnow(), by=by, action=action, subject=subject, before=before, after=after)
    )
    session.flush()
