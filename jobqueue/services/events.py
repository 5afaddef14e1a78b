"""Live events: who waits for what, and the streams.

Invariant: the database is the truth and the bus only wakes readers, who read everything after the
last number they saw; a lost or doubled wake-up therefore loses or doubles no event.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from gavip_api.models import JobEvent
from gavip_web.database import Database
from gavip_web.sse import ServerEvent
from jobqueue.storage import events, jobs
from jobqueue.storage.orm import JobRow


class EventBus:
    """Wakes those who wait for a job or for an owner's jobs; used on the loop only."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever something about any job was committed."""
        self._listeners.append(listener)

    def notify(self, job_id: str, owner: str) -> None:
        """Tell that something about a job was committed."""
        for listener in self._listeners:
            listener()
        for key in (f"job:{job_id}", f"owner:{owner}"):
            for flag in self._waiting.get(key, ()):
                flag.set()

    @contextmanager
    def subscribe(self, key: str) -> Iterator[asyncio.Event]:
        """Yield a flag that is set whenever something about `key` was committed."""
        flag = asyncio.Event()
        self._waiting[key].add(flag)
        try:
            yield flag
        finally:
            self._waiting[key].discard(flag)
            if not self._waiting[key]:
                del self._waiting[key]


class EventStreams:
    """Streams of events for readers.

    Parameters
    ----------
    database : Database
    bus : EventBus
    """

    def __init__(self, database: Database, bus: EventBus) -> None:
        self._database = database
        self._bus = bus

    async def of_job(self, job_id: str, after: int) -> AsyncGenerator[ServerEvent, None]:
        """Yield a job's history after `after`, then what happens, until the final state.

        Raises
        ------
        NotFound
            If there is no such job (also when it is removed meanwhile).
        """

        def read(session: Session, last: int) -> tuple[list[JobEvent], bool]:
            # state first: an event that is appended in between is then read in the next round
            row: JobRow = jobs.get(session, job_id)
            return events.of_job(session, job_id, last), row.ended is not None

        with self._bus.subscribe(f"job:{job_id}") as flag:
            while True:
                flag.clear()
                found, over = await self._database.read(read, after)
                for event in found:
                    after = event.seq
                    yield _wire(event)
                if found:
                    continue
                if over:
                    return
                await flag.wait()

    async def of_owner(self, owner: str, after: int) -> AsyncGenerator[ServerEvent, None]:
        """Yield what happens to all jobs of `owner`, from now on or, when resuming, after `after`."""
        with self._bus.subscribe(f"owner:{owner}") as flag:
            if not after:
                after = await self._database.read(events.latest)
            while True:
                flag.clear()
                found = await self._database.read(events.of_owner, owner, after)
                for event in found:
                    after = event.seq
                    yield _wire(event)
                if not found:
                    await flag.wait()


def _wire(event: JobEvent) -> ServerEvent:
    # unnamed for states and progress alike: pages listen to `message` and look at `kind`
    return ServerEvent(event.model_dump_json(), id=str(event.seq))
