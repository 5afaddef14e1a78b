"""The portal's public API as an AVI uses it, with the instance's own limited token.

Invariant: every failure is a :class:`~gavip_api.errors.GavipError` that says cause and next step; the token never
appears in a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gavip_api.errors import GavipError
from gavip_api.models import Job, JobEvent, JobPage, JobRequest, UserProfile

from .errors import Conflict, Forbidden, InvalidInput, NotFound, PlatformUnavailable
from .net import client
from .surroundings import Context

if TYPE_CHECKING:
    import httpx

_BY_STATUS: dict[int, type[GavipError]] = {
    400: InvalidInput,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: InvalidInput,
}


class Portal:
    """A connection to the portal.

    Parameters
    ----------
    url : str
        Base of ``/api/v1``.
    token : str
        The instance's token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._http = client(
            base_url=url,
            headers={"Authorization": f"token {token}", "Accept": "application/json"},
            timeout=30,
        )

    @classmethod
    def of(cls, ctx: Context) -> Portal:
        """Return the portal of a context.

        Raises
        ------
        PlatformUnavailable
            If there is no platform.
        """
        if ctx.api is None:
            raise PlatformUnavailable("This code does not run on a GAVIP platform.")
        return cls(*ctx.api)

    def me(self) -> UserProfile:
        """Return for whom the instance runs."""
        return UserProfile.model_validate(self._json("GET", "users/me"))

    def submit(self, pipeline: str, parameters: dict[str, Any]) -> Job:
        """Submit a job of this AVI."""
        request = JobRequest(pipeline=pipeline, parameters=parameters)
        body = request.model_dump(mode="json", exclude_unset=True)
        return Job.model_validate(self._json("POST", "jobs", json=body))

    def job(self, job_id: str) -> Job:
        """Return a job."""
        return Job.model_validate(self._json("GET", f"jobs/{job_id}"))

    def jobs(self, limit: int) -> list[Job]:
        """Return this AVI's jobs of its user, newest first."""
        page = self._json("GET", "jobs", params={"limit": limit})
        return list(JobPage.model_validate(page).items)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; idempotent."""
        return Job.model_validate(self._json("POST", f"jobs/{job_id}/cancel"))

    def take_turn(self, query: str) -> str | None:
        """Reserve a query of the archive in the ledger, or extend that; return why not, None when granted."""
        answer = self._json("PUT", f"archive-queries/{query}", json={})
        return None if answer["state"] == "granted" else str(answer["reason"])

    def end_turn(self, query: str) -> None:
        """Release a query of the archive; idempotent."""
        self._send("DELETE", f"archive-queries/{query}")

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def log(self, job_id: str) -> str:
        """Return a job's log so far."""
        return self._send("GET", f"jobs/{job_id}/log", params={"offset": 0}).text

    def events(self, job_id: str, after: int) -> Iterator[JobEvent]:
        """Yield a job's events after number `after`, live; ends when the job or the connection does."""
        import httpx
        from httpx_sse import connect_sse

        headers = {"Last-Event-ID": str(after)} if after else {}
        try:
            with connect_sse(
                self._http,
                "GET",
                f"jobs/{job_id}/events",
                headers=headers,
                # the service sends a comment line at least every 15 s: longer silence is a dead connection
                timeout=httpx.Timeout(10, read=60),
            ) as source:
                if source.response.status_code >= 400:
                    source.response.read()
                    self._raise_for(source.response)
                for event in source.iter_sse():
                    if event.data:
                        yield JobEvent.model_validate(json.loads(event.data))
        except httpx.HTTPError as e:
            raise self._down(e) from None

    def _json(self, method: str, path: str, **kw: Any) -> Any:
        response = self._send(method, path, **kw)
        try:
            return response.json()
        except ValueError:
            raise PlatformUnavailable("GAVIP's answer cannot be read.") from None

    def _send(self, method: str, path: str, **kw: Any) -> httpx.Response:
        import httpx

        try:
            response = self._http.request(method, path, **kw)
        except httpx.HTTPError as e:
            raise self._down(e) from None
        self._raise_for(response)
        return response

    @staticmethod
    def _down(error: Exception) -> PlatformUnavailable:
        return PlatformUnavailable(
            "GAVIP does not answer.",
            hint="Your jobs go on without this page; try again in a moment.",
            detail={"cause": type(error).__name__},
        )

    @staticmethod
    def _raise_for(response: httpx.Response) -> None:
        if response.status_code < 400:
            return
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        kind = _BY_STATUS.get(response.status_code, PlatformUnavailable)
        message = problem.get("detail") or problem.get("title")
        raise kind(
            str(message or f"GAVIP answered with the status {response.status_code}."),
            hint=problem.get("hint"),
            detail=problem.get("errors") if isinstance(problem.get("errors"), dict) else None,
        )
