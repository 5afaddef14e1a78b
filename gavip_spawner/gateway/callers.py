"""Who asks: from the source address of a connection to the container that has it.

Invariants: an address says who asks because containers cannot send from another's (no raw sockets, no right to
change interfaces); what is remembered is forgotten the moment that the engine connects or disconnects a container,
for addresses are used again, and nothing is remembered while the engine's events are not heard.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from docker import APIClient
from docker.errors import DockerException
from requests.exceptions import RequestException

from gavip_api.errors import Unavailable
from gavip_spawner.containers import LABEL_PERMISSIONS, LABEL_PLATFORM
from gavip_spawner.specs import LABEL_AVI, LABEL_JOB, LABEL_KIND, LABEL_OWNER, LABEL_SERVER

from .policy import Caller

log = logging.getLogger("gavip.gateway")

_AGAIN = 1.0


class Callers(Protocol):
    """Knows who has an address."""

    async def find(self, address: str) -> Caller | None:
        """Return the container at an address; None if it is none of this platform's."""
        ...


def caller_of(name: str, labels: Mapping[str, str]) -> Caller:
    """Return who a container is by its labels; permissions that cannot be read grant nothing."""
    try:
        granted = json.loads(labels.get(LABEL_PERMISSIONS, "{}"))
        archive = granted.get("archive") is True
        network = tuple(str(host) for host in granted.get("network", ()))
    except (ValueError, AttributeError, TypeError):
        archive, network = False, ()
    return Caller(
        container=name,
        kind=labels.get(LABEL_KIND, ""),
        owner=labels.get(LABEL_OWNER, ""),
        avi=labels.get(LABEL_AVI, ""),
        job=labels.get(LABEL_JOB, ""),
        server=labels.get(LABEL_SERVER, ""),
        archive=archive,
        network=network,
    )


def by_address(containers: list[dict[str, Any]], network: str, platform: str) -> dict[str, Caller]:
    """Return who has which address, from the engine's list of containers."""
    found = {}
    for container in containers:
        labels = container.get("Labels") or {}
        networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
        address = (networks.get(network) or {}).get("IPAddress")
        if address and labels.get(LABEL_PLATFORM) == platform:
            name = (container.get("Names") or [""])[0].lstrip("/")
            found[address] = caller_of(name, labels)
    return found


class DockerCallers:
    """Asks a Docker engine.

    Parameters
    ----------
    connect : callable
        Makes a client; one is used for questions, one for events.
    network : str
        Name of the network of user code.
    platform : str
        Containers of others are unknown.
    """

    def __init__(self, connect: Callable[[], APIClient], network: str, platform: str) -> None:
        self._connect = connect
        self._network = network
        self._platform = platform
        self._client: APIClient | None = None
        self._thread = ThreadPoolExecutor(1, "gateway-engine")
        self._known: dict[str, Caller] = {}
        self._fresh = False
        self._hearing = False
        self._generation = 0
        self._asked = 0
        self._answered = 0
        self._turn = asyncio.Lock()
        self._stop = threading.Event()
        self._events: Any = None

    async def find(self, address: str) -> Caller | None:
        """Return the container at an address.

        Raises
        ------
        Unavailable
            If the engine does not answer.
        """
        if not self._fresh or address not in self._known:
            await self._ask()
        return self._known.get(address)

    async def _ask(self) -> None:
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._answered >= mine:
                # somebody else's question was put after ours came up
                return
            putting, generation = self._asked, self._generation
            loop = asyncio.get_running_loop()
            try:
                self._known = await loop.run_in_executor(self._thread, self._list)
            except (DockerException, RequestException) as e:
                raise Unavailable(
                    "The container engine does not say who asks.", hint="Try again in a minute."
                ) from e
            self._answered = putting
            self._fresh = self._hearing and generation == self._generation

    def _list(self) -> dict[str, Caller]:
        if self._client is None:
            self._client = self._connect()
        filters = {"network": [self._network], "label": [f"{LABEL_PLATFORM}={self._platform}"]}
        # with those about to run: a container has its address, and may ask, before the engine calls it running
        found = self._client.containers(all=True, filters=filters)
        return by_address(found, self._network, self._platform)

    def start(self) -> None:
        """Begin to hear the engine's events, in a thread."""
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._hear, args=(loop,), name="gateway-events", daemon=True
        ).start()

    def close(self) -> None:
        """Stop hearing."""
        self._stop.set()
        events = self._events
        if events is not None:
            events.close()
        self._thread.shutdown(wait=False)

    def _forget(self, hearing: bool) -> None:
        self._generation += 1
        self._fresh = False
        self._hearing = hearing

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        filters = {"type": "network", "event": ["connect", "disconnect"]}
        while not self._stop.is_set():
            try:
                self._events = self._connect().events(decode=True, filters=filters)
                loop.call_soon_threadsafe(self._forget, True)
                for _ in self._events:
                    loop.call_soon_threadsafe(self._forget, True)
            except (DockerException, RequestException, OSError, ValueError) as e:
                if not self._stop.is_set():
                    log.warning("the engine's events are not heard: %s", type(e).__name__)
            except RuntimeError:
                # the loop is closed
                return
            if not self._stop.is_set():
                loop.call_soon_threadsafe(self._forget, False)
                self._stop.wait(_AGAIN)
