"""Asynchronous jobs: /tap/async and what is below it (UWS 1.1, section 2.2)."""

from __future__ import annotations

from gavip_archive.errors import NoSuchResource, ParameterError
from gavip_archive.formats.votable import error_document
from gavip_archive.params import job_parameters, read_time, read_whole, single
from gavip_archive.uws import xml
from gavip_archive.uws.model import Job, Phase

from .base import TextErrorHandler

# WAIT is cut to this: proxies end requests that say nothing for a minute
_LONGEST_WAIT = 50.0


def _phase(text: str) -> Phase:
    try:
        return Phase(text.upper())
    except ValueError as error:
        raise ParameterError(f"There is no phase {text}.") from error


class JobsHandler(TextErrorHandler):
    """The job list."""

    async def get(self) -> None:
        """List jobs; empty unless the operator publishes the list, for jobs have no owners here."""
        pairs = self.pairs()
        # UWS 1.1 has phases we never use: asking for them finds nothing, but is no mistake
        known = {phase.value for phase in Phase}
        asked = [value.upper() for name, value in pairs if name.upper() == "PHASE"]
        phases = [Phase(value) for value in asked if value in known]
        after, last = single(pairs, "AFTER"), single(pairs, "LAST")
        moment = read_time(after, "AFTER") if after else None
        number = read_whole(last, "LAST") if last else None
        if number is not None and number < 1:
            raise ParameterError("LAST must be a positive number.")
        jobs: list[Job] = []
        if self.archive.list_jobs and (phases or not asked):
            jobs = await self.archive.jobs.find(phases, moment, number)
        self.answer(xml.jobs_document(jobs, self.archive.base), "text/xml; charset=UTF-8")

    async def post(self) -> None:
        """Create a job; with PHASE=RUN, start it."""
        pairs = self.pairs()
        job = await self.archive.jobs.create(job_parameters(pairs), self.files())
        if (single(pairs, "PHASE") or "").upper() == "RUN":
            await self.archive.jobs.run(job.id)
        self.see_other(f"/async/{job.id}")


class JobHandler(TextErrorHandler):
    """One job."""

    async def get(self, job_id: str) -> None:
        """Describe the job; WAIT makes it wait for a change."""
        job = await _waited(self, job_id)
        self.answer(xml.job_document(job, self.archive.base), "text/xml; charset=UTF-8")

    async def post(self, job_id: str) -> None:
        """Delete the job (ACTION=DELETE), change its parameters, start or abort it (PHASE)."""
        pairs = self.pairs()
        action = single(pairs, "ACTION")
        if action:
            if action.upper() != "DELETE":
                raise ParameterError(f"There is no action {action}.", hint="Write ACTION=DELETE.")
            await self.delete(job_id)
            return
        parameters = job_parameters(pairs)
        if parameters:
            await self.archive.jobs.add_parameters(job_id, parameters, self.files())
        await _change_phase(self, job_id, single(pairs, "PHASE"), required=not parameters)
        self.see_other(f"/async/{job_id}")

    async def delete(self, job_id: str) -> None:
        """Delete the job."""
        await self.archive.jobs.get(job_id)
        await self.archive.jobs.delete(job_id)
        self.see_other("/async")


async def _waited(handler: TextErrorHandler, job_id: str) -> Job:
    """Return the job, after the wait the request asks for (UWS 1.1, section 2.2.1.1)."""
    pairs = handler.pairs()
    wait, phase = single(pairs, "WAIT"), single(pairs, "PHASE")
    if wait is None:
        return await handler.archive.jobs.get(job_id)
    seconds = read_whole(wait, "WAIT")
    longest = _LONGEST_WAIT if seconds < 0 else min(float(seconds), _LONGEST_WAIT)
    return await handler.archive.jobs.wait(job_id, _phase(phase) if phase else None, longest)


async def _change_phase(
    handler: TextErrorHandler, job_id: str, phase: str | None, *, required: bool
) -> None:
    if phase is None and not required:
        return
    wanted = (phase or "").upper()
    if wanted == "RUN":
        await handler.archive.jobs.run(job_id)
    elif wanted == "ABORT":
        await handler.archive.jobs.abort(job_id)
    else:
        raise ParameterError(
            f"PHASE={phase or ''} cannot be set.", hint="Write PHASE=RUN or PHASE=ABORT."
        )


class JobPropertyHandler(TextErrorHandler):
    """One property of a job."""

    async def get(self, job_id: str, name: str) -> None:
        """Return the property."""
        if name == "phase":
            self.answer_text((await _waited(self, job_id)).phase.value)
            return
        job = await self.archive.jobs.get(job_id)
        if name == "parameters":
            self.answer(xml.parameters_document(job), "text/xml; charset=UTF-8")
        elif name == "results":
            self.answer(xml.results_document(job, self.archive.base), "text/xml; charset=UTF-8")
        elif name == "error":
            if not job.error:
                raise NoSuchResource("The job has no error.")
            self.answer(error_document(job.error), "application/x-votable+xml")
        else:
            self.answer_text(_plain_properties(job)[name])

    async def post(self, job_id: str, name: str) -> None:
        """Change the property."""
        pairs = self.pairs()
        jobs = self.archive.jobs
        if name == "phase":
            await _change_phase(self, job_id, single(pairs, "PHASE"), required=True)
        elif name == "executionduration":
            value = _given(pairs, "EXECUTIONDURATION")
            await jobs.set_duration(job_id, read_whole(value, "EXECUTIONDURATION"))
        elif name == "destruction":
            await jobs.set_destruction(
                job_id, read_time(_given(pairs, "DESTRUCTION"), "DESTRUCTION")
            )
        elif name == "parameters":
            await jobs.add_parameters(job_id, job_parameters(pairs), self.files())
        else:
            raise ParameterError(f"{name} cannot be changed.")
        self.see_other(f"/async/{job_id}")


def _given(pairs: list[tuple[str, str]], name: str) -> str:
    value = single(pairs, name)
    if value is None:
        raise ParameterError(f"The parameter {name} is missing.")
    return value


def _plain_properties(job: Job) -> dict[str, str]:
    return {
        "executionduration": str(job.execution_duration),
        "destruction": xml.timestamp(job.destruction),
        "quote": "",
        "owner": "",
    }


class ResultHandler(TextErrorHandler):
    """The result of a job."""

    async def get(self, job_id: str) -> None:
        """Send the result file."""
        job = await self.archive.jobs.get(job_id)
        path = self.archive.jobs.result_path(job)
        if job.phase is not Phase.COMPLETED or not path.is_file():
            raise NoSuchResource(f"The job has no result: it is {job.phase.value}.")
        self.set_header("Content-Disposition", f'inline; filename="result.{job.suffix}"')
        with path.open("rb") as file:
            await self.send_file(file, job.content_type or "application/x-votable+xml")
