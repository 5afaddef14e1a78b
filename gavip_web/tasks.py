"""Background tasks that really end.

Owns waking a loop early and ending tasks. Invariant: :func:`end` returns only after every task is over.
Both exist because ``asyncio.wait_for`` of Python 3.10 and 3.11 swallows a cancellation that arrives
together with the result it waits for (python/cpython#86296): a loop around it then goes on for ever,
and whoever awaits the cancelled loop hangs with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 5.0
"""Long enough for what a task still has to put in order: a second cancellation would interrupt that too."""


async def woken(event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, at most `seconds`; return whether it is."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()
    return event.is_set()


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel `tasks` until they are over.

    A task that swallowed one cancellation is cancelled again; what one raised instead of ending is logged.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
        for task in done:
            if not task.cancelled() and task.exception() is not None:
                log.error("a background task failed", exc_info=task.exception())
