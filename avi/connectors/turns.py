"""Turns at the platform's archive: no query runs that the ledger did not grant.

A job's share was reserved with the job, so its queries take turns among themselves; an application, and a person's
own notebook in JupyterLab, reserves each query in the platform's ledger, renews that while it runs, and lets go.
Invariants: other archives, and code that does not run on a platform, are not counted; a turn ends whatever happens to
the query, and when this process dies its lease runs out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from avi.errors import ArchiveUnavailable, GavipError, QueryError
from avi.surroundings import Context
from gavip_api import environment as env
from gavip_api.enums import Mode

if TYPE_CHECKING:
    from avi.portal import Portal

RENEW_SECONDS = 20.0
"""A third of the lease that the ledger gives."""

PATIENCE = 300.0
"""Seconds to wait for a turn."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0

Say = Callable[[str, float], None]

_lock = threading.Lock()
_of_job: dict[int, threading.Semaphore] = {}


@contextmanager
def turn(
    ctx: Context, url: str, say: Say, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[bool]:
    """Hold a turn at the archive at `url`.

    Parameters
    ----------
    say : callable
        Told in words why it waits, and since how many seconds.
    should_stop : callable
        Asked while it waits.

    Yields
    ------
    bool
        False when `should_stop` said yes before the turn came.

    Raises
    ------
    QueryError
        If this job may run no queries.
    ArchiveUnavailable
        If the turn did not come in time.
    PlatformUnavailable
        If the platform does not answer.
    """
    if url != (ctx.environ.get(env.ARCHIVE_URL) or "").rstrip("/"):
        yield True
    elif ctx.mode is Mode.PIPELINE and env.ARCHIVE_QUERIES in ctx.environ:
        with _turn_of_job(int(ctx.environ[env.ARCHIVE_QUERIES]), say, should_stop) as got:
            yield got
    elif ctx.api is not None:
        with _turn_of_application(ctx, say, should_stop) as got:
            yield got
    else:
        yield True


@contextmanager
def _turn_of_job(most: int, say: Say, should_stop: Callable[[], bool]) -> Iterator[bool]:
    if most < 1:
        raise QueryError(
            "This pipeline declares that it runs no archive queries.",
            hint="Set `resources: {archive: 1}` of the pipeline in avi.yaml.",
        )
    with _lock:
        turns = _of_job.setdefault(most, threading.Semaphore(most))
    began = time.monotonic()
    while not turns.acquire(timeout=1):
        say("Waiting for this job's other queries", time.monotonic() - began)
        if should_stop():
            yield False
            return
    try:
        yield True
    finally:
        turns.release()


@contextmanager
def _turn_of_application(ctx: Context, say: Say, should_stop: Callable[[], bool]) -> Iterator[bool]:
    # late: httpx and the models are heavy, and jobs need neither
    from avi.portal import Portal
    from gavip_api.slugs import new_id

    portal, query = Portal.of(ctx), new_id()
    if not _wait(portal, query, say, should_stop):
        yield False
        return
    over = threading.Event()
    threading.Thread(target=_renew, args=(portal, query, over), daemon=True).start()
    try:
        yield True
    finally:
        over.set()


def _wait(portal: Portal, query: str, say: Say, should_stop: Callable[[], bool]) -> bool:
    began, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        reason = portal.take_turn(query)
        if reason is None:
            return True
        waited = time.monotonic() - began
        say("Waiting for a turn at the archive", waited)
        if should_stop():
            return False
        if waited > PATIENCE:
            raise ArchiveUnavailable(
                f"No turn at the archive came in {PATIENCE:.0f} seconds. {reason}",
                hint="Try again later.",
            )
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.5)


def _renew(portal: Portal, query: str, over: threading.Event) -> None:
    """Keep the turn until it is over, then let go; neither may hold up or fail the query."""
    while not over.wait(RENEW_SECONDS):
        with suppress(GavipError):
            portal.take_turn(query)
    with suppress(GavipError):
        portal.end_turn(query)
    portal.close()
