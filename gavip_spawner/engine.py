"""The Docker engine as asynchronous code sees it: calls in threads, its faults as ours, its events as wake-ups.

Invariants: no call blocks the event loop; an engine that does not answer raises :class:`Unavailable`
and never looks like a container that is gone; whoever waits for a container wakes when it ends, and looks
again after :data:`LOOK_AGAIN` seconds when an event was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException
from docker.errors import NotFound as NoSuchObject
from requests.exceptions import RequestException

from gavip_api.errors import Unavailable

log = logging.getLogger("gavip.engine")

T = TypeVar("T")

LOOK_AGAIN = 10.0
"""Seconds after which a waiting task looks by itself."""

AWAY = (DockerException, RequestException)
"""What docker-py raises when the engine does not do what it was asked."""

_RECONNECT = 1.0
_CALL_SECONDS = 60


class Engine:
    """Calls of docker-py's low-level client, outside the event loop.

    Parameters
    ----------
    threads : int
        Most calls at once.
    """

    def __init__(self, threads: int = 8) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="docker")
        # a client holds one pool of connections; one for each thread, for it is not made to be shared
        self._local = threading.local()

    @property
    def _client(self) -> docker.APIClient:
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = connect()
        return client

    async def call(self, work: Callable[[docker.APIClient], T]) -> T:
        """Return what `work` makes of a client.

        Raises
        ------
        docker.errors.NotFound
            If the engine knows no such object.
        docker.errors.APIError
            If the engine refuses.
        Unavailable
            If the engine does not answer.
        """

        def run() -> T:
            try:
                return work(self._client)
            except APIError as e:
                if e.status_code is not None and e.status_code >= 500:
                    raise away(e) from e
                raise
            except AWAY as e:
                raise away(e) from e

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def close(self) -> None:
        """Let go of the threads; what they are doing is finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def connect() -> docker.APIClient:
    """Return a client of the engine that the environment names (``DOCKER_HOST``), else of this machine's."""
    return docker.APIClient(**docker.utils.kwargs_from_env(), version="auto", timeout=_CALL_SECONDS)


def away(fault: Exception) -> Unavailable:
    """Return our error for an engine that does not answer."""
    log.warning("the engine does not do it: %s", explanation(fault))
    return Unavailable(
        "The container engine does not answer.",
        hint="Try again in a minute; operators: is Docker running?",
    )


def explanation(fault: Exception) -> str:
    """Return what the engine said, in one line, for operators."""
    said = fault.explanation if isinstance(fault, APIError) and fault.explanation else fault
    return " ".join(str(said).split())[:500]


class Endings:
    """Wakes tasks when containers of one platform end.

    One thread listens to the engine's events; names that nobody waits for are passed over.

    Parameters
    ----------
    label : str
        ``key=value`` that the containers carry.
    name_label : str
        Label that holds the name that tasks wait for.
    """

    def __init__(self, label: str, name_label: str) -> None:
        self._label = label
        self._name_label = name_label
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._thread: threading.Thread | None = None
        self._stream: Any = None
        self._closed = threading.Event()

    @contextlib.asynccontextmanager
    async def watch(self, name: str) -> AsyncIterator[Callable[[], Any]]:
        """Subscribe to the end of `name`; the body calls what it gets to pause until a look is worth it."""
        woken = asyncio.Event()
        self._waiting.setdefault(name, set()).add(woken)
        self._listen()

        async def pause() -> None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(woken.wait(), LOOK_AGAIN)
            woken.clear()

        try:
            yield pause
        finally:
            waiting = self._waiting.get(name, set())
            waiting.discard(woken)
            if not waiting:
                self._waiting.pop(name, None)

    def _listen(self) -> None:
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(
                target=self._run, args=(loop,), name="docker-events", daemon=True
            )
            self._thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        filters = {"type": "container", "event": ["die", "destroy"], "label": [self._label]}
        while not self._closed.is_set():
            try:
                client = connect()
                # no read time-out: an idle platform has no events for hours
                client.timeout = None
                self._stream = client.events(decode=True, filters=filters)
                # whatever ended before we listened
                self._tell(loop, None)
                for event in self._stream:
                    attributes = event.get("Actor", {}).get("Attributes", {})
                    self._tell(loop, attributes.get(self._name_label))
            except AWAY as e:
                log.info("no events from the engine now: %s", explanation(e))
            except (ValueError, AttributeError, OSError) as e:
                # close() pulls the connection away from under the reader
                log.debug("the stream of events ended: %s", e)
            self._tell(loop, None)
            self._closed.wait(_RECONNECT)

    def _tell(self, loop: asyncio.AbstractEventLoop, name: str | None) -> None:
        # a loop that has gone has nobody waiting
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._wake, name)

    def _wake(self, name: str | None) -> None:
        for waiting in [self._waiting.get(name, set())] if name else self._waiting.values():
            for woken in waiting:
                woken.set()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._stream is not None:
            # docker-py closes the socket under the response; whichever fault that makes, the thread ends
            with contextlib.suppress(*AWAY, OSError, ValueError, AttributeError):
                self._stream.close()


__all__ = [
    "AWAY",
    "APIError",
    "Endings",
    "Engine",
    "NoSuchObject",
    "away",
    "connect",
    "explanation",
]
