"""The workers, and the order in which queries get them.

Invariants: a worker serves one query at a time; at most ``limits.queue_length`` queries wait; all state is touched
from the event loop only, the database from the pool's threads only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from gavip_archive.errors import Busy
from gavip_archive.limits import Limits

from .worker import Worker

T = TypeVar("T")

log = logging.getLogger("gavip.archive.pool")


class Pool:
    """A fixed number of workers with a bounded, first-come-first-served queue.

    Parameters
    ----------
    database : Path
        The archive's file.
    limits : Limits
        ``workers`` and ``queue_length`` among them.
    """

    def __init__(self, database: Path, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="archive-query")
        self._workers = [Worker(database, limits) for _ in range(limits.workers)]
        self._free = deque(self._workers)
        self._waiting: deque[asyncio.Future[Worker]] = deque()

    @property
    def waiting(self) -> int:
        """Queries that wait for a worker."""
        return len(self._waiting)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Wait for a worker and hold it for the body.

        Raises
        ------
        Busy
            When too many queries wait already.
        """
        worker = await self._acquire()
        try:
            yield worker
        finally:
            if worker.broken:
                worker = await asyncio.shield(asyncio.to_thread(self._replace, worker))
            self._release(worker)

    def _replace(self, worker: Worker) -> Worker:
        fresh = Worker(self._database, self._limits)
        self._workers[self._workers.index(worker)] = fresh
        worker.close()
        log.warning("worker replaced after a fatal database error")
        return fresh

    async def _acquire(self) -> Worker:
        if self._free:
            return self._free.popleft()
        if len(self._waiting) >= self._limits.queue_length:
            raise Busy("The archive is busy: too many queries wait.", hint="Try again in a minute.")
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            # the turn may have come in the very moment the waiter gave up: then the worker goes on to the next
            if turn.done() and not turn.cancelled():
                self._release(turn.result())
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _release(self, worker: Worker) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(worker)
                return
        self._free.append(worker)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run blocking work of the holder of a worker in the pool's threads, to its end even when cancelled."""
        work = asyncio.get_running_loop().run_in_executor(self._threads, function)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # the worker may only be released when its thread is done with it
            await asyncio.wait({work})
            work.exception()  # the cancellation is what counts; looked at so that asyncio does not complain
            raise

    def close(self) -> None:
        """Wait for the threads and free the workers."""
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.close()
