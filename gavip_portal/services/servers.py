"""Technical users and their servers in the hub: the only place that creates, shares and deletes them.

Invariants: a technical user exists for one instance and is shared with one person; removing is idempotent and complete.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
)

from gavip_api.errors import Conflict, Forbidden, GavipError, NotFound, Unavailable
from gavip_api.models import InstanceOptions
from gavip_api.slugs import TECHNICAL_PREFIX, is_technical
from gavip_web.hub import HubClient

log = logging.getLogger("gavip.portal.servers")

STOP_SECONDS = 60
_PAGE = 200
# what the hub itself says, in words of the people who read it
_FRIENDLIER = {
    "Server requested": "Asking for memory and processors.",
    "Spawning server...": "Starting its kernel and its page.",
}
_PREFIX_OF_FAILURE = "Spawn failed: "


class StartFailed(GavipError):
    """The hub could not start the server; the message is the spawner's reason."""

    code = "start-failed"
    status = 500
    title = "The AVI did not start"


def new_technical_user() -> str:
    """Return a new opaque name: nothing about owner or AVI can be read from its host name."""
    return TECHNICAL_PREFIX + secrets.token_hex(16)


@dataclass(frozen=True)
class Step:
    """How far a start is: percent and what happens now."""

    progress: int
    message: str


class TechnicalServers:
    """Servers of technical users.

    Parameters
    ----------
    hub : HubClient
        The hub, called as the portal.
    """

    def __init__(self, hub: HubClient) -> None:
        self._hub = hub

    async def start(self, name: str, options: InstanceOptions) -> AsyncGenerator[Step, None]:
        """Create, start and share a server; yield its steps; end when it is ready.

        Parameters
        ----------
        name : str
            A technical user that does not exist yet.
        options : InstanceOptions
            What to run, for whom.

        Raises
        ------
        StartFailed
            With the reason the spawner or the ledger gave.
        """
        yield Step(5, "Making a private address for it.")
        await self._hub.create_user(name)
        yield Step(10, "Asking for memory and processors.")
        try:
            await self._hub.start_server(name, {"instance": options.model_dump(mode="json")})
        except Conflict:
            log.info("server of %s is starting already", name)
        except (Unavailable, Forbidden) as e:
            # the hub answers a start that failed at once with a bare 500; its progress stream knows why
            async for step in self._follow(name, e):
                yield step
        await self._hub.share_server(name, options.owner.name)
        async for step in self._follow(name, None):
            yield step

    async def resume(self, name: str) -> AsyncGenerator[Step, None]:
        """Follow a start that began before the portal was restarted; otherwise like :meth:`start`."""
        async for step in self._follow(name, None):
            yield step

    async def _follow(self, name: str, known: GavipError | None) -> AsyncGenerator[Step, None]:
        while True:
            try:
                async for event in self._hub.server_progress(name):
                    said = _event(event.data)
                    if said.get("failed"):
                        raise _start_failed(said)
                    if said.get("ready"):
                        return
                    yield Step(_percent(said), _words(said))
            except httpx.HTTPStatusError as e:
                # 400: neither starting nor failed, which is also how a start ends that was cancelled
                if await self.is_ready(name):
                    return
                if known is not None:
                    raise known from None
                raise StartFailed("The hub did not start it.", hint="Try again in a moment.") from e
            except Unavailable:
                log.info("lost the progress of %s; looking again", name)
            if await self.is_ready(name):
                return
            if not await self.is_active(name):
                raise known or StartFailed(
                    "Its start was interrupted.", hint="Try again in a moment."
                )

    async def is_ready(self, name: str) -> bool:
        """Whether the hub has reached the server over HTTP and routes to it."""
        return bool((await self._server(name)).get("ready"))

    async def is_active(self, name: str) -> bool:
        """Whether the server runs, starts or stops."""
        server = await self._server(name)
        return bool(server.get("ready") or server.get("pending"))

    async def _server(self, name: str) -> dict[str, Any]:
        try:
            user = await self._hub.user(name)
        except NotFound:
            return {}
        server = (user.get("servers") or {}).get("") or {}
        return server if isinstance(server, dict) else {}

    async def remove(self, name: str) -> None:
        """Stop the server and delete the technical user with its tokens and shares; repeatable.

        Raises
        ------
        GavipError
            If the hub did not manage within :data:`STOP_SECONDS`; the reconciler tries again.
        """
        if not is_technical(name):
            raise ValueError("only technical users may be removed")
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((Conflict, Unavailable)),
            stop=stop_after_delay(STOP_SECONDS),
            wait=wait_exponential(multiplier=0.3, max=3),
            reraise=True,
        )
        # the hub refuses to delete a user whose server is still stopping
        await retrying(self._remove_once, name)

    async def _remove_once(self, name: str) -> None:
        await self._hub.stop_server(name)
        await self._hub.delete_user(name)

    async def all(self) -> dict[str, bool]:
        """Return every technical user the hub has, and whether its server is active."""
        found: dict[str, bool] = {}
        offset = 0
        while True:
            page = await self._hub.request(
                "GET",
                "/users",
                params={"name_filter": TECHNICAL_PREFIX, "offset": offset, "limit": _PAGE},
            )
            for user in page:
                server = (user.get("servers") or {}).get("") or {}
                # the hub's filter matches anywhere in a name
                if is_technical(user["name"]):
                    found[user["name"]] = bool(server.get("ready") or server.get("pending"))
            if len(page) < _PAGE:
                return found
            offset += _PAGE


def _event(data: str) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _percent(said: dict[str, Any]) -> int:
    value = said.get("progress")
    # the last percent is the portal's own: ready means ready for the browser
    return max(10, min(99, int(value))) if isinstance(value, (int, float)) else 10


def _words(said: dict[str, Any]) -> str:
    message = str(said.get("message") or "")[:300]
    return _FRIENDLIER.get(message, message) or "Starting."


def _start_failed(said: dict[str, Any]) -> StartFailed:
    message = str(said.get("message") or "").removeprefix(_PREFIX_OF_FAILURE).strip()
    return StartFailed(
        message[:600] or "The server did not start.",
        hint="Press Retry; if it fails again, tell the AVI's author or the operators.",
    )
