"""Creates, runs, watches and destroys jobs.

Owns the one task per running job. Invariants: a state is stored before it is acted on; jobs leave one worker to
synchronous queries when there are two or more; what was QUEUED or EXECUTING when the
service stopped is taken up again at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from uuid6 import uuid7

from gavip_api.errors import GavipError
from gavip_archive.engine.worker import StopRequest
from gavip_archive.errors import Busy, NoSuchJob, ParameterError, WrongPhase
from gavip_archive.fetch import UploadFetcher
from gavip_archive.limits import Limits
from gavip_archive.params import QueryParameters, read_query, read_uploads
from gavip_archive.queries import Outcome, QueryService

from .model import Job, Phase
from .storage import JobStore

T = TypeVar("T")

log = logging.getLogger("gavip.archive.jobs")


def utcnow() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(timezone.utc)


class JobService:
    """The jobs of one archive.

    Parameters
    ----------
    store : JobStore
        Where jobs are kept.
    queries : QueryService
        Runs them.
    fetcher : UploadFetcher
        Fetches uploads given as URLs.
    limits : Limits
        Durations and numbers.
    """

    def __init__(
        self, store: JobStore, queries: QueryService, fetcher: UploadFetcher, limits: Limits
    ) -> None:
        self._store = store
        self._queries = queries
        self._fetcher = fetcher
        self._limits = limits
        # SQLite has one writer: one thread keeps changes in order without locks
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive-jobs")
        self._slots = asyncio.Semaphore(max(1, limits.workers - 1))
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, StopRequest] = {}
        self._changed = asyncio.Condition()
        # weak: requests for jobs that do not exist must leave nothing behind
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing = False

    # -- life of the service

    async def start(self) -> None:
        """Take up the jobs that an earlier run of the service left."""
        await self._blocking(self._store.prune)
        for job in await self._blocking(
            lambda: self._store.find(phases=(Phase.EXECUTING, Phase.QUEUED))
        ):
            if job.phase is Phase.EXECUTING:
                job.recover(utcnow())
                await self._save(job)
                log.warning("job interrupted by a restart id=%s phase=%s", job.id, job.phase.value)
        queued = await self._blocking(lambda: self._store.find(phases=(Phase.QUEUED,)))
        for job in reversed(queued):  # oldest first
            self._launch(job)

    async def close(self) -> None:
        """Stop the running jobs; they are taken up again at the next start."""
        self._closing = True
        for stop in self._stops.values():
            stop.stop("shutdown")
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._notify()
        self._thread.shutdown(wait=True)
        self._store.close()

    async def sweep(self) -> int:
        """Destroy the jobs whose time has come; return how many."""
        expired = await self._blocking(lambda: self._store.find(expired=utcnow()))
        for job in expired:
            await self.delete(job.id)
        return len(expired)

    # -- what clients do

    async def create(self, parameters: list[tuple[str, str]], files: Mapping[str, bytes]) -> Job:
        """Create a PENDING job.

        Parameters
        ----------
        parameters : list of (str, str)
            The job's parameters, names in upper case.
        files : mapping of str to bytes
            Files sent along, by parameter name.

        Raises
        ------
        Busy
            When too many jobs are kept already.
        ParameterError
            When UPLOAD refers to a file that was not sent.
        """
        if await self._blocking(self._store.count) >= self._limits.max_jobs:
            raise Busy(
                "The archive keeps too many jobs.",
                hint="Delete jobs you no longer need, or try later.",
            )
        uploads = inline_uploads(parameters, files)
        now = utcnow()
        job = Job(
            id=str(uuid7()),
            created=now,
            destruction=now + timedelta(seconds=self._limits.retention_default),
            execution_duration=self._limits.execution_default,
            parameters=parameters,
        )
        await self._blocking(lambda: self._store.create(job, uploads))
        return job

    async def get(self, job_id: str) -> Job:
        """Return a job.

        Raises
        ------
        NoSuchJob
            When there is none, or its time has passed.
        """
        job = await self._blocking(lambda: self._store.get(job_id)) if _is_id(job_id) else None
        if job is None or job.destruction <= utcnow():
            raise NoSuchJob(
                "There is no such job.", hint="It was deleted, or its destruction time has passed."
            )
        return job

    async def find(
        self, phases: Iterable[Phase], after: datetime | None, last: int | None
    ) -> list[Job]:
        """Return jobs, newest first (UWS 1.1, section 2.2.2.1)."""
        found = await self._blocking(
            lambda: self._store.find(phases=phases, after=after, last=last)
        )
        now = utcnow()
        return [job for job in found if job.destruction > now]

    async def add_parameters(
        self, job_id: str, parameters: list[tuple[str, str]], files: Mapping[str, bytes]
    ) -> None:
        """Change the parameters of a PENDING job: uploads are added, others replaced.

        Raises
        ------
        WrongPhase
            When it is no longer PENDING.
        """
        async with self._lock(job_id):
            job = await self.get(job_id)
            job.require_pending()
            given = {name for name, _ in parameters}
            uploads = [value for name, value in job.parameters + parameters if name == "UPLOAD"]
            rest = [pair for pair in job.parameters if pair[0] not in given] + parameters
            job.parameters = [pair for pair in rest if pair[0] != "UPLOAD"]
            if uploads:
                job.parameters.append(("UPLOAD", ";".join(uploads)))
            inline = inline_uploads(parameters, files)
            await self._blocking(lambda: self._store.add_uploads(job.id, inline))
            await self._save(job)

    async def set_duration(self, job_id: str, seconds: int) -> None:
        """Set the longest run; 0 or more than the limit gives the limit (UWS 1.1, section 2.1.10)."""
        async with self._lock(job_id):
            job = await self.get(job_id)
            job.require_pending()
            limit = self._limits.execution_max
            job.execution_duration = min(seconds, limit) if seconds > 0 else limit
            await self._save(job)

    async def set_destruction(self, job_id: str, moment: datetime) -> None:
        """Set the time of destruction, at most the limit after creation (UWS 1.1, section 2.1.8)."""
        async with self._lock(job_id):
            job = await self.get(job_id)
            job.destruction = min(
                moment, job.created + timedelta(seconds=self._limits.retention_max)
            )
            await self._save(job)

    async def run(self, job_id: str) -> None:
        """Queue a PENDING job; a job that was queued before is left alone.

        Raises
        ------
        WrongPhase
            When it ended already.
        """
        async with self._lock(job_id):
            job = await self.get(job_id)
            if job.queue():
                await self._save(job)
                self._launch(job)
            elif not job.phase.active:
                raise WrongPhase(
                    f"The job is {job.phase.value} and cannot run again.", hint="Create a new job."
                )

    async def abort(self, job_id: str) -> None:
        """Abort a job; one that ended is left alone."""
        async with self._lock(job_id):
            job = await self.get(job_id)
            if job.abort(utcnow()):
                await self._save(job)
        self._halt(job_id)

    async def delete(self, job_id: str) -> None:
        """Stop and forget a job and its files; idempotent."""
        if not _is_id(job_id):
            return
        async with self._lock(job_id):
            job = await self._blocking(lambda: self._store.get(job_id))
            if job is not None and job.abort(utcnow()):
                await self._save(job)
        task = self._running.get(job_id)
        self._halt(job_id)
        if task:
            await asyncio.wait({task})  # its thread still writes into the folder
        await self._blocking(lambda: self._store.delete(job_id))

    async def wait(self, job_id: str, phase: Phase | None, seconds: float) -> Job:
        """Return a job once its phase is no longer ``phase`` (default: the present one), or after a time.

        UWS 1.1, section 2.2.1.1: returns at once when the job cannot change any more or is in another phase.
        """
        job = await self.get(job_id)
        expected = phase or job.phase
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while job.phase is expected and job.phase.active and not self._closing:
            left = deadline - loop.time()
            if left <= 0:
                break
            async with self._changed:
                # looked at again under the lock: a change between the look and the wait would go unnoticed
                job = await self.get(job_id)
                if job.phase is not expected:
                    break
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), left)
            job = await self.get(job_id)
        return job

    def result_path(self, job: Job) -> Path:
        """Return the file of a COMPLETED job's result."""
        return self._store.folder(job.id) / "result"

    # -- running

    def _launch(self, job: Job) -> None:
        stop = StopRequest()
        self._stops[job.id] = stop
        task = asyncio.create_task(self._work(job.id, stop), name=f"job-{job.id}")
        self._running[job.id] = task
        task.add_done_callback(lambda done: self._forget(job.id, done))

    def _forget(self, job_id: str, task: asyncio.Task[None]) -> None:
        self._running.pop(job_id, None)
        self._stops.pop(job_id, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("job task failed id=%s", job_id, exc_info=task.exception())

    def _halt(self, job_id: str) -> None:
        stop = self._stops.get(job_id)
        if stop:
            stop.stop("cancelled")

    async def _work(self, job_id: str, stop: StopRequest) -> None:
        try:
            async with self._slots:
                stop.check()
                outcome = await self._execute(job_id, stop)
        except asyncio.CancelledError:
            await asyncio.shield(self._settle(job_id, None))
            raise
        except GavipError as error:
            hint = f" {error.hint}" if error.hint else ""
            await self._settle(job_id, f"{error.message}{hint}")
        except Exception:
            log.exception("job failed unexpectedly id=%s", job_id)
            await self._settle(
                job_id, "The archive failed while it ran the query; the operator's log says why."
            )
            raise
        else:
            await self._settle(job_id, outcome)

    async def _execute(self, job_id: str, stop: StopRequest) -> Outcome:
        job = await self.get(job_id)
        parameters = read_query(job.parameters)
        uploads = await self._gather_uploads(job_id, parameters)
        target = self._store.folder(job_id) / "result.part"

        async def started() -> None:
            async with self._lock(job_id):
                fresh = await self.get(job_id)
                if fresh.phase is Phase.ABORTED:
                    stop.stop("cancelled")
                    return
                fresh.start(utcnow())
                await self._save(fresh)

        with await self._blocking(lambda: _open(target)) as file:
            outcome = await self._queries.execute(
                parameters, uploads, file, stop, job.execution_duration, started=started
            )
        await self._blocking(lambda: os.replace(target, target.with_name("result")))
        return outcome

    async def _gather_uploads(self, job_id: str, parameters: QueryParameters) -> dict[str, bytes]:
        inline = await self._blocking(
            lambda: {name: path.read_bytes() for name, path in self._store.uploads(job_id).items()}
        )
        return await gather_uploads(parameters, inline, self._fetcher)

    async def _settle(self, job_id: str, ending: Outcome | str | None) -> None:
        """Store how a run ended: with a result, with an error, or (None) because the service stops."""
        async with self._lock(job_id):
            job = await self._blocking(lambda: self._store.get(job_id))
            if job is None or job.phase not in (Phase.QUEUED, Phase.EXECUTING):
                return  # aborted or deleted meanwhile
            if self._closing and not isinstance(ending, Outcome):
                if job.phase is Phase.EXECUTING:
                    job.requeue()
            elif isinstance(ending, Outcome):
                job.complete(
                    utcnow(), ending.content_type, ending.suffix, ending.rows, ending.overflow
                )
            else:
                job.fail(utcnow(), ending or "The query was stopped.")
            await self._save(job)

    # -- plumbing

    def _lock(self, job_id: str) -> asyncio.Lock:
        return self._locks.setdefault(job_id, asyncio.Lock())

    async def _save(self, job: Job) -> None:
        await self._blocking(lambda: self._store.save(job))
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _blocking(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _open(path: Path) -> BinaryIO:
    return path.open("wb")


def _is_id(text: str) -> bool:
    """Whether a text is an id of ours; anything else must not become part of a path."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def inline_uploads(
    parameters: list[tuple[str, str]], files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the inline uploads of a request by table name.

    Raises
    ------
    ParameterError
        When UPLOAD refers to a file that was not sent.
    """
    found: dict[str, bytes] = {}
    for reference in read_uploads(parameters):
        name = reference.inline_name
        if name is not None:
            if name not in files:
                raise ParameterError(
                    f"UPLOAD refers to {reference.uri}, but the request has no file {name}."
                )
            found[reference.table] = files[name]
    return found


async def gather_uploads(
    parameters: QueryParameters, inline: Mapping[str, bytes], fetcher: UploadFetcher
) -> dict[str, bytes]:
    """Return the content of every upload by table name, fetching those given as URLs.

    Raises
    ------
    ParameterError
        When an inline upload is missing.
    UploadError
        When an address is not allowed or does not answer.
    """
    known = {name.lower(): content for name, content in inline.items()}
    contents: dict[str, bytes] = {}
    for reference in parameters.uploads:
        if reference.inline_name is None:
            contents[reference.table] = await fetcher.fetch(reference.uri)
        elif reference.table.lower() in known:
            contents[reference.table] = known[reference.table.lower()]
        else:
            raise ParameterError(f"The file of the upload {reference.table} was not sent.")
    return contents
