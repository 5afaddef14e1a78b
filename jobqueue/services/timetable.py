"""When a cron expression is due: a pure function of expression, zone and time.

Invariants: an expression is read in its own zone and what comes out is UTC; clock changes follow
Debian's cron (an hour that is skipped or repeated neither drops nor doubles a daily run; see
cronsim).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from gavip_api.errors import InvalidInput

_FIELDS = 5


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises
    ------
    InvalidInput
        If there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(
            f"{name[:64]!r} is not a time zone.",
            hint="Use a name of the IANA database, such as Europe/Madrid or UTC.",
            detail={"timezone": "is not known"},
        ) from None


def due_after(cron: str, zone_name: str, after: datetime, count: int = 1) -> list[datetime]:
    """Return the next `count` times, UTC, at which a schedule is due after `after`.

    Parameters
    ----------
    cron : str
        Five fields as in crontab(5).
    zone_name : str
        IANA time zone.
    after : datetime
        Timezone-aware.
    count : int
        How many.

    Raises
    ------
    InvalidInput
        If the expression or the zone is not valid, or the expression is never due.
    """
    local = after.astimezone(zone(zone_name))
    fault = {"cron": "is not a valid cron expression"}
    hint = "Write minute, hour, day of month, month and day of week, such as `30 6 * * 1`."
    if len(cron.split()) != _FIELDS:
        raise InvalidInput("A cron expression has five fields.", hint=hint, detail=fault)
    try:
        times: Iterator[datetime] = CronSim(cron, local)
        found = [time.astimezone(timezone.utc) for time in islice(times, count)]
    except CronSimError as e:
        raise InvalidInput(
            f"The cron expression is not valid: {str(e)[:120]}.", hint=hint, detail=fault
        ) from None
    if not found:
        raise InvalidInput("The cron expression is never due.", hint=hint, detail=fault)
    return found
