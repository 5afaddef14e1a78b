"""One connection of a container: one request, judged, forwarded, answered, closed.

Invariants: nothing is connected to before the request's head is complete and allowed; bodies and answers pass as
they come, with no more than a buffer of each in memory; a malformed body reaches the server at most as a request
that never ends, and is aborted there; exactly one entry is written to the record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import h11

from gavip_api.errors import GavipError, TooLarge

from .access_log import Entry
from .callers import Callers
from .errors import EgressRefused, HostUnreachable, TimedOut, UnknownContainer
from .hosts import Hosts, Streams
from .messages import Head, RequestReader, RequestWriter, problem
from .policy import Route, Rules, decide

BLOCK = 256 * 1024

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_LINGER = 1.0


@dataclass(frozen=True)
class Part:
    """A part of the platform.

    Parameters
    ----------
    host, port : str, int
        Where it listens.
    below : str
        Path of the gateway that gives way to `base`; both empty: paths stay as they are.
    base : str
    keeps_host : bool
        Whether it sees the client's Host header, from which it makes its links.
    """

    host: str
    port: int
    below: str = ""
    base: str = ""
    keeps_host: bool = False


@dataclass(frozen=True)
class Limits:
    """What one container, and all together, may use.

    Parameters
    ----------
    head_bytes, headers : int
        Of a request.
    body : mapping of Route to int
        Bytes of a request's body, by where it goes.
    per_container, total : int
        Connections at once.
    head_timeout, idle_timeout : float
        Seconds until the head is complete; seconds without a byte in either direction.
    """

    head_bytes: int = 64 * 1024
    headers: int = 100
    body: Mapping[Route, int] = field(default_factory=dict)
    per_container: int = 64
    total: int = 2000
    head_timeout: float = 10.0
    idle_timeout: float = 900.0


@dataclass(frozen=True)
class Surroundings:
    """What all connections share; made once by the application."""

    own: str
    callers: Callers
    hosts: Hosts
    rules: Rules
    parts: Mapping[Route, Part]
    limits: Limits


class Gone(Exception):
    """The other side went away; there is nobody to answer."""


class Exchange:
    """Serves one connection.

    Parameters
    ----------
    client : tuple of StreamReader and StreamWriter
    address : str
        Source address.
    surroundings : Surroundings
    """

    def __init__(self, client: Streams, address: str, surroundings: Surroundings) -> None:
        self._reader, self._writer = client
        self._with = surroundings
        self._limits = surroundings.limits
        self._upstream: asyncio.StreamWriter | None = None
        self._started = False
        self._expired = False
        self._loop = asyncio.get_running_loop()
        self._begun = self._touched = self._loop.time()
        self._patience = self._limits.head_timeout
        self.entry = Entry(address)

    # -- watched from outside --

    def expire(self, now: float) -> None:
        """End what has been silent for too long; called again and again."""
        if now - self._touched < self._patience:
            return
        self._touched = now
        first, self._expired = not self._expired, True
        if first and self._upstream is not None:
            self._upstream.transport.abort()
        else:
            self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        if self._upstream is not None:
            self._upstream.transport.abort()
        self._writer.transport.abort()

    # -- one request --

    async def run(self) -> None:
        """Serve the request, whatever it is, and close."""
        try:
            await self._serve()
        except GavipError as e:
            await self._answer(e)
        except (Gone, OSError):
            self.entry.decision = "failed" if self.entry.decision == "allowed" else "closed"
            silent = "nothing was sent for too long"
            self.entry.reason = silent if self._expired else "a side went away"
            self.abort()
        finally:
            self.entry.seconds = self._loop.time() - self._begun
            if self._upstream is not None:
                self._upstream.close()
            self._writer.close()
        with contextlib.suppress(OSError):
            # a client that does not read what is left is still watched
            await self._writer.wait_closed()

    async def turn_away(self, error: GavipError, *, gently: bool) -> None:
        """Answer without looking at the request; gently: so that the client surely reads it."""
        self.entry.reason = error.message
        if gently:
            await self._answer(error)
        self.abort()

    async def _serve(self) -> None:
        request = RequestReader(self._with.own, self._limits.head_bytes, self._limits.headers)
        head = await self._head(request)
        self.entry.target = head.target
        self._patience = self._limits.idle_timeout
        caller = await self._with.callers.find(self.entry.address)
        if caller is None:
            raise UnknownContainer("This address is no container of the platform.")
        self.entry.caller = caller
        decision = decide(caller, head.target, self._with.rules)
        if decision.route is None:
            raise EgressRefused(decision.reason, hint=decision.hint)
        most = self._limits.body.get(decision.route, 0)
        if head.length is not None and head.length > most:
            raise _too_large(most)
        self.entry.decision, self.entry.reason = "allowed", decision.reason
        upstream, writer = await self._connect(decision.route, head)
        self._touched = self._loop.time()
        if writer is None:
            await self._tunnel(request, upstream)
        else:
            await self._forward(request, head, writer, upstream, most)

    async def _head(self, request: RequestReader) -> Head:
        while (head := request.head()) is None:
            data = await self._reader.read(BLOCK)
            if not data:
                raise Gone
            self.entry.sent += len(data)
            request.feed(data)
        return head

    async def _connect(self, route: Route, head: Head) -> tuple[Streams, RequestWriter | None]:
        target = head.target
        if route is Route.FORWARD:
            made = await self._with.hosts.connect(target.host, target.port)
            self._upstream = made[1]
            if head.tunnel:
                return made, None
            host = f"[{target.host}]" if ":" in target.host else target.host
            host += "" if target.port == 80 else f":{target.port}"
            return made, RequestWriter(head, host.encode("ascii"), head.origin_form)
        part = self._with.parts.get(route)
        if part is None:
            raise HostUnreachable(
                f"This platform has no {route.value}.", hint="An operator knows why."
            )
        made = await self._with.hosts.connect_own(part.host, part.port)
        self._upstream = made[1]
        path = part.base.encode("ascii") + head.origin_form.removeprefix(part.below.encode("ascii"))
        host = f"{part.host}:{part.port}"
        shown = head.host if part.keeps_host and head.host else host.encode("ascii")
        return made, RequestWriter(head, shown, path, self.entry.address)

    async def _forward(
        self, request: RequestReader, head: Head, writer: RequestWriter, to: Streams, most: int
    ) -> None:
        to[1].write(writer.start)
        if head.waits:
            self._writer.write(_CONTINUE)
        up = asyncio.create_task(self._send(request, writer, to[1], most))
        down = asyncio.create_task(self._receive(writer, to[0]))
        await _first(down, up)

    async def _send(
        self, request: RequestReader, writer: RequestWriter, to: asyncio.StreamWriter, most: int
    ) -> None:
        """Send the body, then wait until the client goes: raises, unless cancelled."""
        size, listening = 0, True
        while True:
            piece = request.body()
            if piece is None:
                data = await self._read(self._reader)
                self.entry.sent += len(data)
                request.feed(data)
                continue
            content, last = piece
            size += len(content)
            if size > most:
                raise _too_large(most)
            if listening:
                try:
                    to.write(writer.end() if last else writer.data(content))
                    await to.drain()
                except ConnectionError:
                    # it may have answered before it closed
                    listening = False
            if last:
                break
        # what else the client says on this connection is no request
        while await self._read(self._reader):
            pass
        raise Gone

    async def _receive(self, writer: RequestWriter, upstream: asyncio.StreamReader) -> None:
        response = None
        while response is None:
            data = await self._read(upstream)
            if not data:
                raise self._silent()
            try:
                response = writer.response(data)
            except h11.RemoteProtocolError:
                raise HostUnreachable("The server's answer is no HTTP.") from None
        self._started = True
        self.entry.status = response.status
        await self._pass(response.start + response.rest)
        left = None if response.length is None else response.length - len(response.rest)
        while left is None or left > 0:
            data = await self._read(upstream)
            if not data:
                break
            await self._pass(data)
            left = None if left is None else left - len(data)
        if left or self._expired:
            # cut off: the client must see that, not a shorter answer
            raise Gone

    async def _tunnel(self, request: RequestReader, to: Streams) -> None:
        self._started = True
        self.entry.status = 200
        self._writer.write(_ESTABLISHED)
        if early := request.rest:
            to[1].write(early)
        up = asyncio.create_task(self._pump(self._reader, to[1], sent=True))
        down = asyncio.create_task(self._pump(to[0], self._writer, sent=False))
        try:
            await asyncio.gather(up, down)
        finally:
            await _end(up, down)

    async def _pump(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, sent: bool
    ) -> None:
        while data := await self._read(source):
            if sent:
                self.entry.sent += len(data)
            else:
                self.entry.received += len(data)
            to.write(data)
            await to.drain()
        with contextlib.suppress(OSError):
            to.write_eof()

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        data = await source.read(BLOCK)
        self._touched = self._loop.time()
        return data

    async def _pass(self, data: bytes) -> None:
        self.entry.received += len(data)
        self._writer.write(data)
        await self._writer.drain()

    # -- when it ends badly --

    def _silent(self) -> GavipError:
        if self._expired:
            return TimedOut("The server did not answer in time.", hint="Try again later.")
        return HostUnreachable("The server closed the connection without an answer.")

    async def _answer(self, error: GavipError) -> None:
        if isinstance(error, EgressRefused):
            self.entry.decision = "refused"
        elif self.entry.decision == "allowed":
            self.entry.decision = "failed"
        self.entry.reason = error.message
        if self._started:
            self.abort()
            return
        self.entry.status = error.status
        method = self.entry.target.method if self.entry.target else ""
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            self._writer.write(problem(error, method))
            await asyncio.wait_for(self._linger(), _LINGER)

    async def _linger(self) -> None:
        """Read on for a moment: closing before a client has sent its body would take our answer from it."""
        await self._writer.drain()
        self._writer.write_eof()
        while await self._reader.read(BLOCK):
            pass


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        f"The body of such a request may have {most} bytes.", hint="Send less at a time."
    )


async def _first(down: asyncio.Task[None], up: asyncio.Task[None]) -> None:
    """Wait for the answer, or for what makes it pointless."""
    try:
        await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
        (down if down.done() else up).result()
    finally:
        await _end(up, down)


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
