"""Grants in the database. Functions run inside a transaction of :class:`gavip_web.database.Database`.

Invariant: each change of what is granted appends an event in the same transaction.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from gavip_api.errors import LimitReached
from gavip_api.manifest import Permissions
from gavip_api.models import utcnow
from gavip_api.permits import NO_GRANT, Granted, together
from gavip_api.slugs import new_id

from .tables import GrantEventRow, GrantRow


def granted(row: GrantRow | None) -> Granted | None:
    """Return what a row grants, or None for nothing."""
    return Granted.model_validate(row.permissions) if row is not None and row.active else None


def find(session: Session, owner: str, avi: str) -> GrantRow | None:
    """Return the row of a user and an AVI, active or not."""
    return session.get(GrantRow, (owner, avi))


def of_owner(session: Session, owner: str) -> list[GrantRow]:
    """Return what a user grants, by AVI."""
    query = select(GrantRow).where(GrantRow.owner == owner, GrantRow.active)
    return list(session.scalars(query.order_by(GrantRow.avi)))


def unsettled(session: Session) -> list[tuple[str, str]]:
    """Return owner and AVI of changes that not all parts know of."""
    query = select(GrantRow.owner, GrantRow.avi).where(~GrantRow.settled)
    return [(owner, avi) for owner, avi in session.execute(query)]


def grant(
    session: Session, owner: str, avi: str, release: str, permissions: Permissions
) -> GrantRow:
    """Grant `permissions` besides what is granted.

    Raises
    ------
    LimitReached
        If that would be too many hosts.
    """
    row = find(session, owner, avi)
    try:
        total = together(granted(row) or NO_GRANT, permissions)
    except ValidationError:
        raise LimitReached(
            f"You have granted {avi} more hosts than one AVI may have.",
            hint="Revoke its permissions, then allow what it asks now.",
        ) from None
    event = _append(session, owner, avi, "granted", total, release)
    if row is None:
        row = GrantRow(owner=owner, avi=avi, active=False)
        session.add(row)
    if not row.active:
        row.active, row.first_release, row.created = True, release, event.time
    row.permissions, row.change, row.settled = event.permissions, event.id, False
    return row


def revoke(session: Session, owner: str, avi: str) -> None:
    """Revoke everything; repeating is harmless."""
    row = find(session, owner, avi)
    if row is None or not row.active:
        return
    event = _append(session, owner, avi, "revoked", NO_GRANT, None)
    row.active, row.permissions = False, event.permissions
    row.change, row.settled = event.id, False


def settle(session: Session, owner: str, avi: str, change: str) -> None:
    """Note that all parts know of a change, unless there is a newer one."""
    row = find(session, owner, avi)
    if row is not None and row.change == change:
        row.settled = True


def history(session: Session, owner: str, limit: int) -> list[GrantEventRow]:
    """Return the last things that a user granted and revoked, newest first."""
    query = select(GrantEventRow).where(GrantEventRow.owner == owner)
    return list(session.scalars(query.order_by(GrantEventRow.id.desc()).limit(limit)))


def _append(
    session: Session,
    owner: str,
    avi: str,
    action: Literal["granted", "revoked"],
    permissions: Granted,
    release: str | None,
) -> GrantEventRow:
    event = GrantEventRow(
        id=new_id(),
        owner=owner,
        avi=avi,
        action=action,
        permissions=permissions.model_dump(mode="json"),
        release=release,
        time=utcnow(),
    )
    session.add(event)
    return event
