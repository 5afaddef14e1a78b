"""Runs one query from its parameters to the file with its answer. Owns the order of the steps and the time limit.

Used alike by /sync and by the jobs of /async. Invariant: when :meth:`QueryService.execute` returns or raises, the
worker is free again and holds nothing of the query.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from .adql.translate import Translator
from .engine.pool import Pool
from .engine.uploads import Upload, read_votable
from .engine.worker import StopRequest, Worker
from .formats.registry import find_format
from .limits import Limits
from .params import QueryParameters

_WARM_UP = QueryParameters(
    "SELECT source_id, ra, dec FROM gaiadr3.gaia_source"
    " WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 56, 24, 1))"
)


@dataclass(frozen=True)
class Outcome:
    """What a finished query left: the media type of the answer, its rows, and whether MAXREC cut it."""

    content_type: str
    suffix: str
    rows: int
    overflow: bool


class QueryService:
    """Executes queries on the pool.

    Parameters
    ----------
    pool : Pool
        The workers.
    translator : Translator
        ADQL to SQL.
    limits : Limits
        Rows and uploads.
    """

    def __init__(self, pool: Pool, translator: Translator, limits: Limits) -> None:
        self._pool = pool
        self._translator = translator
        self._limits = limits

    async def execute(
        self,
        parameters: QueryParameters,
        uploads: Mapping[str, bytes],
        file: BinaryIO,
        stop: StopRequest,
        timeout: float,
        *,
        started: Callable[[], Awaitable[None]] | None = None,
    ) -> Outcome:
        """Execute one query and write its answer.

        Parameters
        ----------
        parameters : QueryParameters
            The checked parameters.
        uploads : mapping of str to bytes
            The VOTables of its uploads by table name.
        file : binary file
            Where the answer goes.
        stop : StopRequest
            Stops it early.
        timeout : float
            Longest run, seconds: with ``started`` counted from the moment a worker is free, else from now.
        started : coroutine function, optional
            Awaited when a worker is free, before the query runs.

        Raises
        ------
        ArchiveError
            As the layers below say.
        """
        loop = asyncio.get_running_loop()
        timer = None if started else loop.call_later(timeout, stop.stop, "timeout")
        try:
            async with self._pool.worker() as worker:
                stop.check()
                if started:
                    await started()
                    stop.check()
                    timer = loop.call_later(timeout, stop.stop, "timeout")
                return await self._pool.in_thread(
                    lambda: self._execute(worker, parameters, uploads, file, stop)
                )
        except asyncio.CancelledError:
            stop.stop("cancelled")
            raise
        finally:
            if timer:
                timer.cancel()

    async def warm_up(self) -> None:
        """Run a small cone on every worker, so that the first client does not pay for what is loaded lazily."""
        everyone = range(self._limits.workers)
        files = [io.BytesIO() for _ in everyone]
        # all at once, so that each gets a worker of its own
        await asyncio.gather(
            *(self.execute(_WARM_UP, {}, file, StopRequest(), 30.0) for file in files)
        )

    def _execute(
        self,
        worker: Worker,
        parameters: QueryParameters,
        contents: Mapping[str, bytes],
        file: BinaryIO,
        stop: StopRequest,
    ) -> Outcome:
        wanted = find_format(parameters.response_format)
        limit = self._limits.max_rows
        if parameters.max_rows is not None:
            limit = min(limit, parameters.max_rows)
        uploads: dict[str, Upload] = {
            name.lower(): read_votable(name, content, self._limits)
            for name, content in contents.items()
        }
        tables = {name: replace(upload.table, name=name) for name, upload in uploads.items()}
        translation = self._translator.translate(parameters.query, limit=limit + 1, uploads=tables)
        try:
            result = worker.run(translation, uploads, limit, stop)
            wanted.write(result, file, parameters.query)
            stop.check()
        finally:
            worker.clear()
        return Outcome(wanted.content_type, wanted.suffix, result.row_count, result.overflow)
