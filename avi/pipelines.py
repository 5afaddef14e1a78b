"""Pipelines of this AVI and handles on their jobs.

Invariant: parameters are checked here before anything is sent, with the same rules that the portal and the runner use.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from gavip_api import models
from gavip_api import parameters as declared
from gavip_api.enums import JobState, Mode
from gavip_api.manifest import PipelineSpec

from .errors import Conflict
from .surroundings import Context, context

POLL = 1.0


class Service(Protocol):
    """What runs jobs: the portal, or the local worker."""

    def submit(self, pipeline: str, parameters: dict[str, Any]) -> models.Job:
        """Submit a job."""

    def job(self, job_id: str) -> models.Job:
        """Return a job."""

    def jobs(self, limit: int) -> list[models.Job]:
        """Return jobs, newest first."""

    def cancel(self, job_id: str) -> models.Job:
        """Cancel a job."""

    def log(self, job_id: str) -> str:
        """Return a log."""

    def events(self, job_id: str, after: int) -> Iterator[models.JobEvent]:
        """Yield events."""


_services: dict[int, Service] = {}


def service(ctx: Context | None = None) -> Service:
    """Return what runs jobs in this context, made once.

    Raises
    ------
    Conflict
        In pipeline mode: a job cannot submit jobs.
    """
    ctx = ctx or context()
    if id(ctx) not in _services:
        if ctx.mode is Mode.PIPELINE:
            raise Conflict(
                "A job cannot submit jobs.", hint="Submit them from the AVI's interface instead."
            )
        # in JupyterLab there is a platform too, but an author tries out what is not published yet
        if ctx.api is not None and ctx.mode is Mode.INTERFACE:
            from .portal import Portal

            _services[id(ctx)] = Portal.of(ctx)
        else:
            from .local import LocalJobs

            _services[id(ctx)] = LocalJobs(ctx)
    return _services[id(ctx)]


class Job:
    """A handle on one job.

    Parameters
    ----------
    state : gavip_api.models.Job
        As the service tells it.
    run_by : Service
        Who runs it.
    """

    def __init__(self, state: models.Job, run_by: Service) -> None:
        self._now = state
        self._service = run_by

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.pipeline}: {self.state}>"

    @property
    def id(self) -> str:
        """Id of the job."""
        return self._now.id

    @property
    def pipeline(self) -> str:
        """Name of its pipeline."""
        return self._now.pipeline

    @property
    def state(self) -> JobState:
        """State when it was last refreshed."""
        return self._now.state

    @property
    def progress(self) -> models.Progress:
        """Progress when it was last refreshed."""
        return self._now.progress

    @property
    def info(self) -> models.Job:
        """Everything that was known when it was last refreshed."""
        return self._now

    @property
    def error(self) -> models.JobError | None:
        """Why it ended badly."""
        return self._now.error

    @property
    def outputs(self) -> tuple[str, ...]:
        """Files of the data product, relative to :attr:`product_dir`."""
        return self._now.outputs

    @property
    def product_dir(self) -> Path | None:
        """Folder of the data product as this code can read it, or None while there is none.

        The portal names it relative to the user's user-space; what an AVI sees is its own folder in that.
        """
        product = self._now.product
        if product is None:
            return None
        path = Path(product)
        if path.is_absolute():  # the local worker's
            return path
        if len(path.parts) < 3 or path.parts[0] != "avis" or ".." in path.parts:
            return None
        return context().user_space.joinpath(*path.parts[2:])

    def refresh(self) -> Job:
        """Ask how it stands; returns itself."""
        self._now = self._service.job(self.id)
        return self

    def events(self, after: int = 0) -> Iterator[models.JobEvent]:
        """Yield its history after event `after`, then live events until it has ended."""
        for event in self._service.events(self.id, after):
            self._now = self._now.model_copy(
                update={"state": event.state, "progress": event.progress}
            )
            yield event

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until it has ended; returns itself.

        Parameters
        ----------
        timeout : float, optional
            Most seconds.

        Raises
        ------
        TimeoutError
            If it has not ended by then; it goes on.
        """
        limit = None if timeout is None else time.monotonic() + timeout
        while not self.refresh().state.is_final:
            if limit is not None and time.monotonic() > limit:
                raise TimeoutError(f"job {self.id} is still {self.state} after {timeout} s")
            time.sleep(POLL)
        return self

    def cancel(self) -> Job:
        """Stop it; idempotent; returns itself."""
        self._now = self._service.cancel(self.id)
        return self

    def log(self) -> str:
        """Return its log so far."""
        return self._service.log(self.id)


class Pipeline:
    """A declared pipeline of this AVI."""

    def __init__(self, name: str, spec: PipelineSpec, run_by: Service) -> None:
        self.name = name
        self.spec = spec
        self._service = run_by

    def __repr__(self) -> str:
        return f"<Pipeline {self.name}({', '.join(self.spec.parameters)})>"

    def check(self, **parameters: Any) -> dict[str, Any]:
        """Return the complete parameters.

        Raises
        ------
        InvalidInput
            With ``detail`` naming each faulty parameter.
        """
        return declared.check(self.spec.parameters, parameters)

    def submit(self, **parameters: Any) -> Job:
        """Submit a job.

        Parameters
        ----------
        **parameters
            Values of declared parameters; the others take their defaults.

        Raises
        ------
        InvalidInput
            If a parameter is faulty.
        PlatformUnavailable, Forbidden, Conflict
            If the platform does not take it.
        """
        return Job(self._service.submit(self.name, self.check(**parameters)), self._service)


def pipeline(name: str) -> Pipeline:
    """Return a pipeline of this AVI.

    Raises
    ------
    NotFound
        If the AVI declares none of that name.
    """
    return Pipeline(name, context().pipeline(name), service())


def jobs(limit: int = 10, pipeline: str | None = None) -> list[Job]:
    """Return this AVI's jobs of this user, newest first.

    Parameters
    ----------
    limit : int
        Most jobs to look at.
    pipeline : str, optional
        Only jobs of this pipeline.
    """
    run_by = service()
    found = run_by.jobs(limit)
    return [Job(j, run_by) for j in found if pipeline is None or j.pipeline == pipeline]


def job(job_id: str) -> Job:
    """Return one job by its id."""
    run_by = service()
    return Job(run_by.job(job_id), run_by)
