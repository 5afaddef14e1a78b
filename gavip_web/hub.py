"""A small client of the hub's REST API.

Invariants: only calls that may be repeated are repeated; a 429 or 503 is waited out as long as
``Retry-After`` says, within bounds (the hub slows spawns down with it, facts: hub load); errors are
ours, never httpx's.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from gavip_api.errors import Conflict, Forbidden, GavipError, NotFound, Unavailable

from .logs import REQUEST_ID_HEADER, request_id
from .sse import ServerEvent, read_events

log = logging.getLogger("gavip.hub")

_ATTEMPTS = 5
_LONGEST_SECONDS = 30.0
_backoff = wait_random_exponential(multiplier=0.2, max=5)


class _TryAgain(Exception):
    """The hub is busy or does not answer."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, _TryAgain) else None
    jittered = _backoff(state)
    return jittered if after is None else min(after + jittered, _LONGEST_SECONDS)


def _retry_after(response: httpx.Response) -> float | None:
    # the hub sends seconds; the date form (RFC 9110, section 10.2.3) falls back to our own pace
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


class HubClient:
    """Calls the hub as this service.

    Parameters
    ----------
    api_url : str
        ``…/hub/api``.
    token : str
        The service's own token.
    transport : httpx.AsyncBaseTransport, optional
        For tests.
    """

    def __init__(
        self, api_url: str, token: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._base = api_url.rstrip("/")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"token {token}"},
            timeout=httpx.Timeout(20.0, connect=5.0),
            transport=transport,
            trust_env=False,
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, Any] | None = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Call the hub.

        Parameters
        ----------
        method, path : str
            HTTP method and path below the API's base; segments already quoted.
        json, params : optional
            Body and query.
        idempotent : bool, optional
            Whether repeating is harmless; default: for GET, PUT and DELETE (RFC 9110, section
            9.2.2).

        Returns
        -------
        JSON value or None
            The answer.

        Raises
        ------
        NotFound, Conflict, Forbidden, Unavailable
            As the hub answers; what it never should answer is :class:`GavipError`.
        """
        repeat = method in ("GET", "PUT", "DELETE") if idempotent is None else idempotent
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TryAgain),
            stop=stop_after_attempt(_ATTEMPTS if repeat else 1) | stop_after_delay(60),
            wait=_wait,
            reraise=True,
        )
        try:
            return await retrying(self._once, method, path, json, params)
        except _TryAgain as e:
            log.warning("hub: %s %s: %s", method, path, e)
            raise Unavailable(
                "The hub does not answer or is too busy.", hint="Try again in a moment."
            ) from e

    async def _once(self, method: str, path: str, json: Any, params: dict[str, Any] | None) -> Any:
        headers = {REQUEST_ID_HEADER: request_id.get()} if request_id.get() else None
        try:
            response = await self._client.request(
                method, self._base + path, json=json, params=params, headers=headers
            )
        except httpx.TransportError as e:
            raise _TryAgain(type(e).__name__) from e
        if response.status_code in (429, 502, 503, 504):
            raise _TryAgain(f"status {response.status_code}", _retry_after(response))
        if response.is_error:
            raise _error(response)
        return response.json() if response.content else None

    # -- what the services need --

    async def user(self, name: str) -> dict[str, Any]:
        """Return the model of a user with its servers."""
        result: dict[str, Any] = await self.request("GET", f"/users/{quote(name, safe='')}")
        return result

    async def active_users(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the models of users with a running, starting or stopping server."""
        offset, page = 0, 200
        while True:
            found: list[dict[str, Any]] = await self.request(
                "GET", "/users", params={"state": "active", "offset": offset, "limit": page}
            )
            for user in found:
                yield user
            if len(found) < page:
                return
            offset += page

    async def create_user(self, name: str) -> None:
        """Create a user; one that exists is left as it is."""
        try:
            await self.request("POST", f"/users/{quote(name, safe='')}", idempotent=True)
        except Conflict:
            log.debug("hub user %s exists already", name)

    async def delete_user(self, name: str) -> None:
        """Delete a user; one that is gone is fine."""
        try:
            await self.request("DELETE", f"/users/{quote(name, safe='')}")
        except NotFound:
            log.debug("hub user %s is gone already", name)

    async def start_server(self, name: str, options: dict[str, Any]) -> None:
        """Start the default server of a user.

        Raises
        ------
        Conflict
            If it runs or starts already.
        """
        await self.request(
            "POST", f"/users/{quote(name, safe='')}/server", json=options, idempotent=False
        )

    async def stop_server(self, name: str) -> None:
        """Stop the default server of a user; one that does not run is fine."""
        try:
            await self.request("DELETE", f"/users/{quote(name, safe='')}/server")
        except NotFound:
            log.debug("server of %s is gone already", name)

    async def share_server(self, owner: str, user: str) -> None:
        """Let `user` access the default server of `owner`; idempotent."""
        await self.request(
            "POST", f"/shares/{quote(owner, safe='')}/", json={"user": user}, idempotent=True
        )

    def server_progress(self, name: str) -> AsyncGenerator[ServerEvent, None]:
        """Yield the hub's progress events of a starting server."""
        url = f"{self._base}/users/{quote(name, safe='')}/server/progress"
        return read_events(self._client, url)


def _error(response: httpx.Response) -> GavipError:
    try:
        message = str(response.json().get("message", ""))[:300]
    except (ValueError, AttributeError):
        message = ""
    if response.status_code == 404:
        return NotFound(message or "The hub does not know this.")
    if response.status_code in (400, 409):
        # the hub answers 400 for "already running" and "pending"
        return Conflict(message or "The hub refuses this now.")
    if response.status_code in (401, 403):
        return Forbidden(
            message or "The hub does not let this service do that.",
            hint="The operator must check the service's roles in the hub's configuration.",
        )
    return Unavailable(
        f"The hub failed (status {response.status_code}).", hint="Try again in a moment."
    )
