"""Servers on the execution plane that the hub knows nothing of.

A hub that is killed between starting a server and writing so down, or that lost its database, leaves one behind.
Invariants: a server that the hub lists, in whatever state, is left alone; of several with the same name the
youngest is the hub's; nothing is removed before it was missing for a while, for a hub that restarts lists nothing yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime, timezone

from gavip_api.errors import GavipError
from gavip_spawner.plane import ExecutionPlane, ProcessStatus
from gavip_spawner.specs import LABEL_KIND, LABEL_SERVER

log = logging.getLogger("jobqueue.orphans")

_SERVERS = ("interface", "notebook")
_BEGINNING = datetime.min.replace(tzinfo=timezone.utc)


class Orphans:
    """Removes them.

    Parameters
    ----------
    plane : ExecutionPlane
    grace : float
        Seconds one must be missing at the hub.
    """

    def __init__(self, plane: ExecutionPlane, grace: float) -> None:
        self._plane = plane
        self._grace = grace
        self._missing: dict[str, float] = {}

    async def check(self, listed: Iterable[str]) -> list[str]:
        """Compare the plane with the hub's servers (``user/server``) once; return the names that were removed."""
        known = set(listed)
        found = [s for kind in _SERVERS for s in await self._plane.find({LABEL_KIND: kind})]
        now = time.monotonic()
        orphans = orphans_of(found, known)
        self._missing = {name: self._missing.get(name, now) for name in orphans}
        removed = []
        for name, since in list(self._missing.items()):
            if now - since < self._grace:
                continue
            try:
                await self._plane.remove(name)
            except GavipError as e:
                log.warning("%s, which the hub does not know, stays for now: %s", name, e.message)
                continue
            del self._missing[name]
            removed.append(name)
            log.warning("removed %s, which the hub does not know", name)
        return removed


def orphans_of(found: Iterable[ProcessStatus], known: set[str]) -> list[str]:
    """Return the names of what the hub does not know, or has replaced; pure.

    What ended by itself is left to the hub's spawner, which looks at how it ended, while the hub lists it.
    """
    youngest: dict[str, ProcessStatus] = {}
    orphans = []
    for status in found:
        server = status.labels.get(LABEL_SERVER, "")
        rival = youngest.get(server)
        if server not in known:
            orphans.append(status.name)
        elif rival is None or _age(rival) < _age(status):
            youngest[server] = status
            orphans += [rival.name] if rival else []
        else:
            orphans.append(status.name)
    return sorted(orphans)


def _age(status: ProcessStatus) -> datetime:
    return status.started or _BEGINNING
