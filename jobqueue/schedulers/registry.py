"""Schedulers by name: ours, and those that installed packages offer.

A package offers one by an entry point ``name = module:Class`` in the group ``gavip.schedulers``.
Invariant: our own names cannot be taken over by a package.
"""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from typing import Any

from gavip_api.errors import InvalidInput

from .backfill import Backfill
from .base import Scheduler
from .fairshare import FairShare
from .fifo import Fifo, ShortestFirst

log = logging.getLogger("jobqueue.schedulers")

GROUP = "gavip.schedulers"

OURS: dict[str, type[Scheduler]] = {
    "fifo": Fifo,
    "shortest-first": ShortestFirst,
    "fair-share": FairShare,
    "backfill": Backfill,
}


def available() -> dict[str, type[Scheduler]]:
    """Return all schedulers by name; one that cannot be imported is left out and logged."""
    found: dict[str, type[Scheduler]] = {}
    for point in entry_points(group=GROUP):
        if point.name in OURS:
            continue
        try:
            kind = point.load()
        except Exception as e:  # noqa: BLE001
            # whatever a package of others raises while it is imported must not stop the queue
            log.error("scheduler %s of %s cannot be loaded: %s", point.name, point.value, e)
            continue
        if isinstance(kind, type) and issubclass(kind, Scheduler):
            found[point.name] = kind
        else:
            log.error("%s is no Scheduler", point.value)
    return OURS | found


def load(name: str, **options: Any) -> Scheduler:
    """Return a new scheduler.

    Parameters
    ----------
    name : str
        One of :func:`available`.
    options
        For its constructor, such as ``parent`` (traitlets).

    Raises
    ------
    InvalidInput
        If there is none of that name.
    """
    kinds = available()
    if name not in kinds:
        raise InvalidInput(
            f"There is no scheduler {name[:60]!r}.", hint=f"There are: {', '.join(sorted(kinds))}."
        )
    return kinds[name](**options)
