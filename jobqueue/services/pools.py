"""Pools: the most that a user may hold at one instant, and who decides that.

A dimension's limit is what an operator set for the user; else the largest that was set for one of
the user's roles; else the service's default; and never more than the machine has. Invariants: the
rules in the database are the truth that grants are checked against, in the transaction that
grants; those in memory follow each commit and serve schedulers and explanations. A pool that
shrinks takes nothing away: it only grants nothing more until enough was released.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from gavip_api.enums import Role
from gavip_api.models import PoolLimits, utcnow
from jobqueue.amounts import Amount
from jobqueue.storage.hooks import on_commit
from jobqueue.storage.orm import OwnerRow, PoolRow

Kind = Literal["role", "user"]
_Rule = tuple[int | None, int | None, int | None, int | None]

_NO_RULE: _Rule = (None, None, None, None)


class PoolRules:
    """Limits per user and role.

    Parameters
    ----------
    capacity : Amount
        Of the machine.
    default : Amount
        Limit of users for whom nothing was set.
    """

    def __init__(self, capacity: Amount, default: Amount) -> None:
        self._capacity = capacity
        self._default = default.least(capacity)
        self._lock = threading.Lock()
        self._rules: dict[tuple[str, str], _Rule] = {}
        self._roles: dict[str, tuple[str, ...]] = {}
        self._limits: dict[str, Amount] = {}

    def load(self, session: Session) -> None:
        """Read everything into memory."""
        rules = {(row.kind, row.name): _rule(row) for row in session.scalars(select(PoolRow))}
        roles = {row.name: tuple(row.roles["names"]) for row in session.scalars(select(OwnerRow))}
        with self._lock:
            self._rules, self._roles = rules, roles
            self._limits.clear()

    # -- limits --

    def limit(self, session: Session, owner: str) -> Amount:
        """Return the limit of `owner` as stored."""
        row = session.get(OwnerRow, owner)
        roles = tuple(row.roles["names"]) if row is not None else ()
        stored = session.scalars(
            select(PoolRow).where(
                ((PoolRow.kind == "user") & (PoolRow.name == owner))
                | ((PoolRow.kind == "role") & PoolRow.name.in_(roles))
            )
        )
        return self._combine({(r.kind, r.name): _rule(r) for r in stored}, owner, roles)

    def known(self, owner: str, roles: Iterable[Role] | None = None) -> Amount:
        """Return the limit of `owner` as last committed, with the roles given or else the last known."""
        with self._lock:
            if roles is not None:
                return self._combine(self._rules, owner, tuple(r.value for r in roles))
            limit = self._limits.get(owner)
            if limit is None:
                limit = self._combine(self._rules, owner, self._roles.get(owner, ()))
                self._limits[owner] = limit
            return limit

    def _combine(
        self, rules: dict[tuple[str, str], _Rule], owner: str, roles: Iterable[str]
    ) -> Amount:
        own = rules.get(("user", owner), _NO_RULE)
        of_roles = [rules[key] for role in roles if (key := ("role", role)) in rules]
        limits = []
        for dimension, default in enumerate(self._default):
            value = own[dimension]
            if value is None:
                value = max(
                    (v for r in of_roles if (v := r[dimension]) is not None), default=default
                )
            limits.append(value)
        return Amount(*limits).least(self._capacity)

    # -- changing --

    def note_roles(self, session: Session, owner: str, roles: Iterable[Role]) -> None:
        """Keep the roles that somebody is known to have now."""
        names = tuple(sorted(r.value for r in roles))
        row = session.get(OwnerRow, owner)
        if row is None:
            row = OwnerRow(name=owner, used_at=None)
            session.add(row)
        elif tuple(row.roles["names"]) == names:
            return
        row.roles = {"names": list(names)}
        session.flush()

        def remember() -> None:
            with self._lock:
                self._roles[owner] = names
                self._limits.pop(owner, None)

        on_commit(session, remember)

    def rule(self, session: Session, kind: Kind, name: str) -> PoolLimits | None:
        """Return what was set for a role or a user."""
        row = session.get(PoolRow, (kind, name))
        return _limits(row) if row is not None else None

    def rules(self, session: Session, kind: Kind) -> dict[str, PoolLimits]:
        """Return all that was set for roles or for users."""
        rows = session.scalars(select(PoolRow).where(PoolRow.kind == kind).order_by(PoolRow.name))
        return {row.name: _limits(row) for row in rows}

    def put(self, session: Session, kind: Kind, name: str, limits: PoolLimits | None) -> None:
        """Set the limits of a role or a user; None takes them away."""
        row = session.get(PoolRow, (kind, name))
        rule = _NO_RULE
        if limits is None:
            if row is not None:
                session.delete(row)
        else:
            if row is None:
                row = PoolRow(kind=kind, name=name)
                session.add(row)
            row.memory, row.slots, row.archive = limits.memory, limits.slots, limits.archive
            # rounded down: a pool must not grow by rounding
            row.millicpu = None if limits.cpu is None else int(limits.cpu * 1000 + 1e-6)
            row.updated = utcnow()
            rule = _rule(row)
        session.flush()

        def remember() -> None:
            with self._lock:
                if limits is None:
                    self._rules.pop((kind, name), None)
                else:
                    self._rules[kind, name] = rule
                self._limits.clear()

        on_commit(session, remember)


def _rule(row: PoolRow) -> _Rule:
    return (row.memory, row.millicpu, row.slots, row.archive)


def _limits(row: PoolRow) -> PoolLimits:
    return PoolLimits(
        memory=row.memory,
        cpu=None if row.millicpu is None else row.millicpu / 1000,
        slots=row.slots,
        archive=row.archive,
    )
