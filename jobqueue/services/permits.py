"""What users grant AVIs, as the portal last said: the last check before a job is stored.

The portal keeps the grants and asks people; here is what it told. Invariants: a job that may do more
than its owner grants its AVI now is not stored, whoever submits it, a schedule included; when a
grant goes, the jobs that need it are asked to end in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from gavip_api.manifest import Permissions
from gavip_api.models import utcnow
from gavip_api.permits import (
    NO_GRANT,
    Granted,
    PermitApplied,
    PermitChange,
    beyond,
    is_nothing,
    needed_error,
)
from gavip_spawner.layout import split_ref
from gavip_web.database import Database
from jobqueue.storage import jobs
from jobqueue.storage.orm import PermitRow

from .machine import JobMachine

Told = Callable[[str, str], None]


class Permits:
    """Takes the portal's word on grants and checks jobs against it.

    Parameters
    ----------
    database, machine
        Parts it uses.
    changed : callable
        Called with job id and owner after a job was asked to end.
    """

    def __init__(self, database: Database, machine: JobMachine, changed: Told) -> None:
        self._database = database
        self._machine = machine
        self._changed = changed

    async def put(self, change: PermitChange) -> PermitApplied:
        """Take what a user grants an AVI from now on; idempotent.

        Raises
        ------
        InvalidInput
            If the AVI's name is none.
        """
        split_ref(change.avi)
        ended = await self._database.write(self._put, change)
        for job_id in ended:
            self._changed(job_id, change.owner)
        return PermitApplied(cancelling=len(ended))

    def _put(self, session: Session, change: PermitChange) -> list[str]:
        row = session.get(PermitRow, (change.owner, change.avi))
        if change.granted is None:
            if row is not None:
                session.delete(row)
        else:
            if row is None:
                row = PermitRow(owner=change.owner, avi=change.avi)
                session.add(row)
            row.granted = change.granted.model_dump(mode="json")
            row.updated = utcnow()
        ended = []
        for job in jobs.unfinished(session, change.owner, change.avi):
            kept = change.granted is not None and is_nothing(
                beyond(jobs.permissions(job), change.granted)
            )
            if not kept and not job.cancel_requested:
                self._machine.request_cancel(session, job)
                ended.append(job.id)
        return ended


def check(session: Session, owner: str, avi: str, permissions: Permissions) -> None:
    """Refuse what the owner does not grant the AVI now.

    Raises
    ------
    PermissionsNeeded
        With what is missing.
    """
    row = session.get(PermitRow, (owner, avi))
    granted = Granted.model_validate(row.granted) if row is not None else NO_GRANT
    missing = beyond(permissions, granted)
    if not is_nothing(missing):
        raise needed_error(avi, missing)
