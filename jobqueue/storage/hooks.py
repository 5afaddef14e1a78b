"""Keeping what is in memory in step with what was committed.

Invariant: an action runs once after the commit of its transaction, in the thread that committed,
and never when the transaction was rolled back. Actions must not fail: what they are about is stored.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session

_KEY = "jobqueue.on_commit"


def on_commit(session: Session, action: Callable[[], None]) -> None:
    """Run `action` once the session's transaction is committed; forget it when that is rolled back."""
    actions: list[Callable[[], None]] | None = session.info.get(_KEY)
    if actions is None:
        actions = session.info[_KEY] = []
        event.listen(session, "after_commit", _run)
        event.listen(session, "after_rollback", _forget)
    actions.append(action)


def _run(session: Session) -> None:
    actions = session.info[_KEY]
    while actions:
        actions.pop(0)()


def _forget(session: Session) -> None:
    session.info[_KEY].clear()
