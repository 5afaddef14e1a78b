"""Instances in the database. Functions run inside a transaction of :class:`gavip_web.database.Database`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gavip_api.enums import InstanceState
from gavip_api.errors import LimitReached
from gavip_api.models import Instance, utcnow

from .tables import InstanceRow

LIVE = tuple(s.value for s in InstanceState if not s.is_final)


def to_model(row: InstanceRow) -> Instance:
    """Return what callers see of an instance."""
    return Instance(
        id=row.id,
        owner=row.owner,
        avi=row.avi,
        title=row.title,
        view=row.view,
        release=row.release,
        state=InstanceState(row.state),
        message=row.message,
        hint=row.hint,
        progress=row.progress,
        url=row.url,
        created=row.created,
        stopped=row.stopped,
    )


def claim(session: Session, row: InstanceRow, limit: int) -> tuple[InstanceRow, bool]:
    """Store a requested instance, or return the live one that shows the same: two clicks are one.

    Parameters
    ----------
    row : InstanceRow
        The new instance.
    limit : int
        Most live instances its owner may have.

    Returns
    -------
    tuple
        The row, and whether it is new.

    Raises
    ------
    LimitReached
        If the owner has `limit` live instances.
    """
    same = session.scalar(
        select(InstanceRow).where(
            InstanceRow.owner == row.owner,
            InstanceRow.avi == row.avi,
            InstanceRow.view == row.view,
            InstanceRow.release == row.release,
            InstanceRow.state.in_(
                [
                    InstanceState.REQUESTED.value,
                    InstanceState.STARTING.value,
                    InstanceState.READY.value,
                ]
            ),
        )
    )
    if same is not None:
        return same, False
    live = session.scalar(
        select(func.count())
        .select_from(InstanceRow)
        .where(InstanceRow.owner == row.owner, InstanceRow.state.in_(LIVE))
    )
    if (live or 0) >= limit:
        raise LimitReached(
            f"You have {live} AVIs open; at most {limit} are allowed at a time.",
            hint="Stop one that you no longer need under Running AVIs, then try again.",
        )
    session.add(row)
    return row, True


def find(session: Session, instance_id: str) -> InstanceRow | None:
    """Return an instance, or None."""
    return session.get(InstanceRow, instance_id)


def find_by_technical_user(session: Session, name: str) -> InstanceRow | None:
    """Return the instance that a technical hub user serves, or None."""
    return session.scalar(select(InstanceRow).where(InstanceRow.technical_user == name))


def of_owner(session: Session, owner: str) -> list[InstanceRow]:
    """Return the live instances of a user, and those that ended lately, newest first."""
    query = (
        select(InstanceRow)
        .where(InstanceRow.owner == owner)
        .order_by(InstanceRow.created.desc())
        .limit(100)
    )
    return list(session.scalars(query))


def live(session: Session) -> list[InstanceRow]:
    """Return all instances that have not ended."""
    return list(session.scalars(select(InstanceRow).where(InstanceRow.state.in_(LIVE))))


_FOLLOWS: dict[InstanceState, frozenset[InstanceState]] = {
    InstanceState.STARTING: frozenset({InstanceState.REQUESTED, InstanceState.STARTING}),
    InstanceState.READY: frozenset({InstanceState.STARTING}),
    InstanceState.STOPPING: frozenset(
        {
            InstanceState.REQUESTED,
            InstanceState.STARTING,
            InstanceState.READY,
            InstanceState.STOPPING,
        }
    ),
    InstanceState.STOPPED: frozenset(s for s in InstanceState if not s.is_final),
    InstanceState.FAILED: frozenset({InstanceState.REQUESTED, InstanceState.STARTING}),
}
"""Which states each state may follow; `requested` follows nothing."""


def move(
    session: Session, /, instance_id: str, state: InstanceState, **facts: Any
) -> InstanceRow | None:
    """Move an instance on, with what changes besides; the one place where an instance's state changes.

    Parameters
    ----------
    instance_id : str
        Which.
    state : InstanceState
        The next state.
    **facts
        ``message``, ``hint``, ``progress``, ``url``.

    Returns
    -------
    InstanceRow or None
        The changed row; None when its present state does not lead there (it was stopped meanwhile, say).
    """
    row = session.get(InstanceRow, instance_id)
    if row is None or InstanceState(row.state) not in _FOLLOWS[state]:
        return None
    row.state = state.value
    if state.is_final:
        row.stopped = utcnow()
        row.url = None
    for name, value in facts.items():
        if name == "progress":
            value = max(row.progress, value)  # a bar that goes back looks broken
        setattr(row, name, value)
    return row
