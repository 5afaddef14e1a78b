"""Output of jobs, as a part or followed live.

Invariant: text is cut between characters, never inside one; what is no UTF-8 is shown as
replacement characters.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import AsyncGenerator

from sqlalchemy.orm import Session

from gavip_web.database import Database
from gavip_web.sse import ServerEvent
from jobqueue.backends import JobBackend
from jobqueue.storage import jobs

_CHUNK = 1 << 16
_LOOK_SECONDS = 0.5
_STRIDE = 10**12
"""An event's id is attempt × this + offset, so that a reader resumes in the right attempt."""


class JobLogs:
    """Reads the output of jobs from the plane.

    Parameters
    ----------
    database, backend
        Parts it uses.
    """

    def __init__(self, database: Database, backend: JobBackend) -> None:
        self._database = database
        self._backend = backend

    async def read(self, job_id: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Return a part of the newest attempt's output and its present size; nothing for a job not started."""
        attempt, _ = await self._database.read(_where, job_id)
        if not attempt:
            return b"", 0
        return await self._backend.read_log(job_id, attempt, offset, limit)

    async def follow(
        self, job_id: str, offset: int, after: int
    ) -> AsyncGenerator[ServerEvent, None]:
        """Yield the output from `offset` (or after the event `after`) until the job has ended.

        Output grows without telling, so an attached reader costs one look per half second.
        """
        attempt, over = await self._database.read(_where, job_id)
        if after:
            resumed, position = divmod(after, _STRIDE)
            offset = position if resumed == attempt else 0
        decoder = codecs.getincrementaldecoder("utf8")("replace")
        while True:
            newest, over = await self._database.read(_where, job_id)
            if newest != attempt:
                attempt, offset = newest, 0
                decoder.reset()
            if attempt:
                chunk, _ = await self._backend.read_log(job_id, attempt, offset, _CHUNK)
                while chunk:
                    text = decoder.decode(chunk)
                    data = {"attempt": attempt, "offset": offset, "text": text}
                    offset += len(chunk)
                    # bytes of an unfinished character belong to the next event
                    done = offset - len(decoder.getstate()[0])
                    yield ServerEvent(
                        json.dumps(data), id=str(attempt * _STRIDE + done), event="log"
                    )
                    chunk, _ = await self._backend.read_log(job_id, attempt, offset, _CHUNK)
            if over:
                return
            await asyncio.sleep(_LOOK_SECONDS)


def _where(session: Session, job_id: str) -> tuple[int, bool]:
    row = jobs.get(session, job_id)
    return row.attempt, row.ended is not None
