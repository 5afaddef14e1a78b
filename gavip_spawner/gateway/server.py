"""Accepting connections: who may have how many, how long silence may last, and an end that cuts off nobody.

Invariant: every connection is in the list of its address until it is closed, whatever happens to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from socket import socket

from gavip_api.errors import GavipError, Unavailable

from .access_log import AccessLog
from .errors import TooManyConnections
from .exchange import BLOCK, Exchange, Surroundings

log = logging.getLogger("gavip.gateway")

_SWEEP = 1.0
_BACKLOG = 512
_LEAVING = 64
"""How many that are turned away at once get an answer; the others are cut off."""


class Gateway:
    """The server.

    Parameters
    ----------
    surroundings : Surroundings
    access : AccessLog
    """

    def __init__(self, surroundings: Surroundings, access: AccessLog) -> None:
        self._with = surroundings
        self._limits = surroundings.limits
        self._access = access
        self._exchanges: dict[asyncio.Task[None], Exchange] = {}
        self._held: Counter[str] = Counter()
        self._leaving = 0
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, listening: socket) -> None:
        """Serve connections of a bound socket."""
        self._server = await asyncio.start_server(
            self._connected, sock=listening, limit=BLOCK, backlog=_BACKLOG
        )
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self, grace: float) -> None:
        """Accept nobody any more, let requests end for `grace` seconds, then cut them off."""
        if self._server is not None:
            self._server.close()
        if self._exchanges:
            await asyncio.wait(set(self._exchanges), timeout=grace)
        for task, exchange in list(self._exchanges.items()):
            exchange.abort()
            task.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        task = asyncio.current_task()
        if peer is None or task is None:
            writer.close()
            return
        address = str(peer[0])
        writer.transport.set_write_buffer_limits(high=BLOCK)
        exchange = Exchange((reader, writer), address, self._with)
        if (error := self._excess(address)) is not None:
            await self._turn_away(exchange, error)
            return
        self._exchanges[task] = exchange
        self._held[address] += 1
        try:
            await exchange.run()
        except asyncio.CancelledError:
            # by close(), which waits for the end of this task; asyncio's streams want it to end well
            exchange.entry.reason = "the gateway stopped"
        finally:
            del self._exchanges[task]
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]
            self._access.write(exchange.entry)

    async def _turn_away(self, exchange: Exchange, error: GavipError) -> None:
        self._leaving += 1
        try:
            await exchange.turn_away(error, gently=self._leaving <= _LEAVING)
        finally:
            self._leaving -= 1
            self._access.write(exchange.entry)

    def _excess(self, address: str) -> GavipError | None:
        if self._held[address] >= self._limits.per_container:
            return TooManyConnections(
                f"A container may have {self._limits.per_container} connections at once.",
                hint="Close those that are not needed.",
            )
        if len(self._exchanges) >= self._limits.total:
            return Unavailable("The gateway is busy.", hint="Try again in a minute.")
        return None

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP)
            now = loop.time()
            for exchange in list(self._exchanges.values()):
                exchange.expire(now)
