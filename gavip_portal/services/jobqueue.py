"""Client of jobqueue's internal API.

Invariant: errors are ours; an answer of jobqueue that is an error keeps its code, message and hint.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from gavip_api import errors
from gavip_api.errors import GavipError, NotFound, Unavailable
from gavip_api.models import (
    ArchiveQueryRequest,
    Job,
    JobClone,
    JobPage,
    JobSubmission,
    Pool,
    QueueState,
    Reservation,
)
from gavip_api.permits import PermitApplied, PermitChange
from gavip_api.schedules import (
    DeliveryList,
    HookSecret,
    Schedule,
    SchedulePage,
    ScheduleSubmission,
)
from gavip_web.logs import REQUEST_ID_HEADER, request_id
from gavip_web.sse import ServerEvent, read_events

M = TypeVar("M", bound=BaseModel)

_BY_CODE: dict[str, type[GavipError]] = {
    kind.code: kind
    for kind in (
        errors.InvalidInput,
        errors.BadRequest,
        errors.NotFound,
        errors.Conflict,
        errors.PermissionsNeeded,
        errors.TooLarge,
        errors.LimitReached,
        errors.Unavailable,
    )
}


class JobqueueClient:
    """Calls jobqueue as the portal.

    Parameters
    ----------
    url : str
        Base of the internal API, ending in ``/api/v1``.
    token : str
        The portal's hub token, with scope ``custom:jobqueue:act-for``.
    transport : httpx.AsyncBaseTransport, optional
        For tests.
    """

    def __init__(
        self, url: str, token: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._base = url.rstrip("/")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"token {token}"},
            timeout=httpx.Timeout(15.0, connect=3.0),
            transport=transport,
            trust_env=False,
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def submit(self, submission: JobSubmission) -> Job:
        """Submit a job."""
        answer = await self._call(
            "POST",
            "/jobs",
            content=submission.model_dump_json(by_alias=True),
            headers={"Content-Type": "application/json"},
        )
        return Job.model_validate_json(answer.content)

    async def jobs(self, params: dict[str, Any]) -> JobPage:
        """List jobs; `params` name the owner."""
        answer = await self._call("GET", "/jobs", params=params)
        return JobPage.model_validate_json(answer.content)

    async def job(self, job_id: str) -> Job:
        """Show a job of anybody; the caller checks whose it is."""
        answer = await self._call("GET", f"/jobs/{quote(job_id, safe='')}")
        return Job.model_validate_json(answer.content)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job."""
        answer = await self._call("POST", f"/jobs/{quote(job_id, safe='')}/cancel")
        return Job.model_validate_json(answer.content)

    async def retry(self, job_id: str) -> Job:
        """Submit a job that is over once more."""
        answer = await self._call("POST", f"/jobs/{quote(job_id, safe='')}/retry")
        return Job.model_validate_json(answer.content)

    async def clone(self, job_id: str, change: JobClone) -> Job:
        """Submit a job with other parameters."""
        answer = await self._post(f"/jobs/{quote(job_id, safe='')}/clone", change)
        return Job.model_validate_json(answer.content)

    async def deliveries(self, job_id: str) -> DeliveryList:
        """Return a job's notifications."""
        answer = await self._call("GET", f"/jobs/{quote(job_id, safe='')}/hooks")
        return DeliveryList.model_validate_json(answer.content)

    async def hook_secret(self, owner: str) -> HookSecret:
        """Return what a user's receivers check signatures with."""
        answer = await self._call("GET", f"/hooks/{quote(owner, safe='')}/secret")
        return HookSecret.model_validate_json(answer.content)

    async def schedules(self, params: dict[str, Any]) -> SchedulePage:
        """List schedules; `params` name the owner."""
        answer = await self._call("GET", "/schedules", params=params)
        return SchedulePage.model_validate_json(answer.content)

    async def make_schedule(self, request: ScheduleSubmission) -> Schedule:
        """Make a schedule."""
        return Schedule.model_validate_json((await self._post("/schedules", request)).content)

    async def schedule(self, schedule_id: str) -> Schedule:
        """Show a schedule of anybody; the caller checks whose it is."""
        answer = await self._call("GET", f"/schedules/{quote(schedule_id, safe='')}")
        return Schedule.model_validate_json(answer.content)

    async def pause_schedule(self, schedule_id: str, paused: bool) -> Schedule:
        """Pause or resume a schedule."""
        what = "pause" if paused else "resume"
        answer = await self._call("POST", f"/schedules/{quote(schedule_id, safe='')}/{what}")
        return Schedule.model_validate_json(answer.content)

    async def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule."""
        await self._call("DELETE", f"/schedules/{quote(schedule_id, safe='')}")

    async def ask(
        self,
        method: str,
        path: str,
        answer: type[M],
        *,
        params: dict[str, Any] | None = None,
        body: BaseModel | None = None,
    ) -> M:
        """Call any path and return its answer; the caller has checked who asks."""
        found = await self._call(
            method,
            path,
            params=params,
            content=body.model_dump_json() if body is not None else None,
            headers={"Content-Type": "application/json"} if body is not None else None,
        )
        return answer.model_validate_json(found.content)

    async def _post(self, path: str, body: BaseModel) -> httpx.Response:
        return await self._call(
            "POST",
            path,
            content=body.model_dump_json(by_alias=True),
            headers={"Content-Type": "application/json"},
        )

    async def log(self, job_id: str, offset: int) -> tuple[bytes, str]:
        """Return the log from a byte offset, and the size that jobqueue says it has."""
        answer = await self._call(
            "GET", f"/jobs/{quote(job_id, safe='')}/log", params={"offset": offset}
        )
        return answer.content, answer.headers.get("X-Log-Size", "")

    async def permit(self, change: PermitChange) -> PermitApplied:
        """Say what a user grants an AVI from now on."""
        answer = await self._call(
            "PUT",
            "/permits",
            content=change.model_dump_json(),
            headers={"Content-Type": "application/json"},
        )
        return PermitApplied.model_validate_json(answer.content)

    async def queue(self) -> QueueState:
        """Return the queue in figures."""
        return QueueState.model_validate_json((await self._call("GET", "/queue")).content)

    async def pool(self, owner: str) -> Pool:
        """Return the pool of a user."""
        answer = await self._call("GET", f"/pools/{quote(owner, safe='')}")
        return Pool.model_validate_json(answer.content)

    async def take_turn(self, query: str, request: ArchiveQueryRequest) -> Reservation:
        """Reserve one query of the archive, or extend that."""
        path = f"/archive-queries/{quote(query, safe='')}"
        return await self.ask("PUT", path, Reservation, body=request)

    async def end_turn(self, query: str, owner: str) -> None:
        """Release a query of the archive."""
        path = f"/archive-queries/{quote(query, safe='')}"
        await self._call("DELETE", path, params={"owner": owner})

    async def events(
        self,
        path: str,
        params: dict[str, Any] | None = None,
        last_id: str | None = None,
    ) -> AsyncGenerator[ServerEvent, None]:
        """Yield the events of one of jobqueue's streams."""
        stream = read_events(self._client, self._base + path, params=params, last_id=last_id)
        try:
            async for event in stream:
                yield event
        except httpx.HTTPStatusError as e:
            raise _error(e.response) from None
        finally:
            await stream.aclose()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        content: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if request_id.get():
            sent[REQUEST_ID_HEADER] = request_id.get()
        try:
            answer = await self._client.request(
                method, self._base + path, params=params, content=content, headers=sent
            )
        except httpx.TransportError as e:
            raise Unavailable(
                "The job queue does not answer.",
                hint="It may be restarting: try again in a moment.",
            ) from e
        if answer.is_error:
            raise _error(answer)
        return answer


def _error(answer: httpx.Response) -> GavipError:
    try:
        problem = answer.json()
        kind = _BY_CODE.get(problem["code"])
        message, hint = str(problem["detail"]), problem.get("hint")
        detail = problem.get("errors")
    except (ValueError, KeyError, TypeError):
        kind, message, hint, detail = None, "", None, None
    if kind is not None:
        return kind(message, hint=hint, detail=detail if isinstance(detail, dict) else None)
    if answer.status_code == 404:
        return NotFound("There is no such job.")
    # 401 and 403 are between the portal and jobqueue: the person can do nothing about them
    return Unavailable(
        "The job queue refuses to work with the portal."
        if answer.status_code in (401, 403)
        else f"The job queue failed (status {answer.status_code}).",
        hint="Try again in a moment; if it stays, tell the operators.",
    )
