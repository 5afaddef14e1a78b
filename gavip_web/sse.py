"""Server-sent events: writing them on a tornado request, reading and forwarding them with httpx.

The format is the WHATWG HTML standard, section 9.2. Invariants: a stream ends when its reader goes,
when the source ends or when the service stops; a reader that does not drain its socket is dropped
instead of filling memory; silence never exceeds :data:`HEARTBEAT_SECONDS`, so that proxies keep the
connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from httpx_sse import EventSource
from tornado.iostream import StreamClosedError

from gavip_api.errors import BadRequest, Unavailable

if TYPE_CHECKING:
    from .handlers import ServiceHandler

HEARTBEAT_SECONDS = 15.0
STALL_SECONDS = 30.0
"""A reader that takes nothing for this long is dropped; it resumes with ``Last-Event-ID``."""

RETRY_MILLISECONDS = 2000


@dataclass(frozen=True)
class ServerEvent:
    """One event.

    Parameters
    ----------
    data : str
        Payload, usually JSON; may have several lines.
    id : str, optional
        What a resuming reader sends back as ``Last-Event-ID``.
    event : str, optional
        Type; readers without a listener for it ignore the event.
    """

    data: str
    id: str | None = None
    event: str | None = None

    def encode(self) -> bytes:
        """Return the event as it goes over the wire."""
        lines = []
        if self.id is not None:
            lines.append(f"id: {_one_line(self.id)}")
        if self.event is not None:
            lines.append(f"event: {_one_line(self.event)}")
        # the format knows three line ends; any of them left inside a line would end it
        text = self.data.replace("\r\n", "\n").replace("\r", "\n")
        lines.extend(f"data: {line}" for line in text.split("\n"))
        return ("\n".join(lines) + "\n\n").encode()


def _one_line(text: str) -> str:
    return text.translate({0: None, 10: None, 13: None})


@dataclass
class StreamRegistry:
    """All open streams of a service, so that it can end them when it stops."""

    streams: set[EventStream] = field(default_factory=set)
    _emptied: asyncio.Event = field(default_factory=asyncio.Event)

    def stop_all(self) -> None:
        """End every open stream."""
        for stream in list(self.streams):
            stream.stop()

    def discard(self, stream: EventStream) -> None:
        """Forget a stream that has ended."""
        self.streams.discard(stream)
        if not self.streams:
            self._emptied.set()

    async def wait_empty(self) -> None:
        """Wait until no stream is open."""
        while self.streams:
            self._emptied.clear()
            await self._emptied.wait()


class EventStream:
    """A stream of events as the answer to a request.

    Parameters
    ----------
    handler : ServiceHandler
        The request.
    registry : StreamRegistry
        Where the stream is known while it is open.
    """

    def __init__(self, handler: ServiceHandler, registry: StreamRegistry) -> None:
        self._handler = handler
        self._registry = registry
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> EventStream:
        """Send the headers."""
        h = self._handler
        h._event_stream = self
        self._registry.streams.add(self)
        h.metrics.streams.inc()
        h.set_header("Content-Type", "text/event-stream")
        h.set_header("Cache-Control", "no-store, no-transform")
        h.set_header("X-Accel-Buffering", "no")
        await self._write(f"retry: {RETRY_MILLISECONDS}\n\n".encode())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Forget the stream."""
        self._registry.discard(self)
        self._handler.metrics.streams.dec()

    @property
    def stopped(self) -> bool:
        """Whether the reader has gone or the service stops."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the stream; idempotent."""
        self._stopped.set()

    async def _write(self, chunk: bytes) -> None:
        if self.stopped:
            return
        try:
            self._handler.write(chunk)
            await asyncio.wait_for(asyncio.shield(self._handler.flush()), STALL_SECONDS)
        except StreamClosedError:
            self.stop()
        except asyncio.TimeoutError:
            self.stop()
            # what is buffered will never be taken: finishing the answer would wait for it
            self._handler.request.connection.close()  # type: ignore[union-attr]

    async def send(self, event: ServerEvent) -> None:
        """Send one event and wait until the socket has taken it."""
        await self._write(event.encode())

    async def heartbeat(self) -> None:
        """Send a comment, which readers ignore."""
        await self._write(b": \n\n")

    async def pump(self, events: AsyncGenerator[ServerEvent, None]) -> None:
        """Send all of `events`, with heartbeats in their silences, until they or the stream end.

        Parameters
        ----------
        events : async generator of ServerEvent
            Closed at the end, so that its ``finally`` can unsubscribe.
        """
        stopped: asyncio.Future[Any] = asyncio.ensure_future(self._stopped.wait())
        upcoming: asyncio.Future[Any] | None = None
        try:
            while not self.stopped:
                if upcoming is None:
                    upcoming = asyncio.ensure_future(_next(events))
                done, _ = await asyncio.wait(
                    {upcoming, stopped},
                    timeout=HEARTBEAT_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if upcoming in done:
                    try:
                        event = upcoming.result()
                    except StopAsyncIteration:
                        break
                    finally:
                        upcoming = None
                    await self.send(event)
                elif not done:
                    await self.heartbeat()
        finally:
            stopped.cancel()
            if upcoming is not None:
                upcoming.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await upcoming
            await events.aclose()


async def _next(events: AsyncIterator[ServerEvent]) -> ServerEvent:
    return await events.__anext__()


def last_event_id(handler: ServiceHandler) -> int:
    """Return the number after which a reader wants to resume, 0 for the beginning.

    Raises
    ------
    BadRequest
        If ``Last-Event-ID`` is not one of our ids.
    """
    text = handler.request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest("Last-Event-ID is not an id of this stream.")
    return int(text)


async def read_events(
    client: httpx.AsyncClient,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    params: dict[str, Any] | None = None,
    last_id: str | None = None,
) -> AsyncGenerator[ServerEvent, None]:
    """Yield the events of another service's stream.

    Parameters
    ----------
    client : httpx.AsyncClient
        Connection pool to use.
    url : str
        Address of the stream.
    headers, params : dict, optional
        Headers (credentials) and query.
    last_id : str, optional
        Resume after this event.

    Raises
    ------
    httpx.HTTPStatusError
        If the service refuses; the response's body has been read.
    Unavailable
        If it cannot be reached or the connection breaks.
    """
    wanted = {"Accept": "text/event-stream", "Cache-Control": "no-store", **(headers or {})}
    if last_id:
        wanted["Last-Event-ID"] = last_id
    # no read timeout of seconds: heartbeats come every 15 s, three missed ones mean a dead peer
    timeout = httpx.Timeout(10.0, read=3 * HEARTBEAT_SECONDS)
    try:
        async with client.stream(
            "GET", url, headers=wanted, params=params, timeout=timeout
        ) as response:
            if response.is_error:
                await response.aread()
                response.raise_for_status()
            async for event in EventSource(response).aiter_sse():
                if not event.data:
                    continue  # heartbeats and `retry`, which httpx-sse reports as empty events
                yield ServerEvent(
                    data=event.data,
                    id=event.id or None,
                    event=event.event if event.event != "message" else None,
                )
    except httpx.TransportError as e:
        raise Unavailable(
            "The connection to another part of the platform broke.",
            hint="The stream resumes by itself.",
        ) from e
