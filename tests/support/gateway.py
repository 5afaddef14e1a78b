"""A gateway on loopback whose containers are addresses 127.0.0.x, and servers that record what reaches them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gavip_spawner.gateway.access_log import AccessLog
from gavip_spawner.gateway.exchange import BLOCK, Limits, Part, Surroundings
from gavip_spawner.gateway.hosts import Hosts
from gavip_spawner.gateway.policy import Caller, Route, Rules
from gavip_spawner.gateway.server import Gateway

MIB = 1 << 20
BODIES = dict.fromkeys(Route, MIB)


class Known:
    """Callers that the test decides."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._callers = callers

    async def find(self, address: str) -> Caller | None:
        return self._callers.get(address)


class Recorder:
    """A server that records the bytes of each connection and answers with what it is told.

    Parameters
    ----------
    answer : bytes
    hold : bool
        Say nothing and keep the connection.
    """

    def __init__(self, answer: bytes = b"", *, hold: bool = False, wait: float = 0.05) -> None:
        self.answer = answer
        self.hold = hold
        self.wait = wait
        self.received: list[bytearray] = []
        self.ended = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = bytearray()
        self.received.append(mine)
        try:
            while True:
                data = await asyncio.wait_for(reader.read(65536), None if self.hold else self.wait)
                mine += data
                if not data:
                    break
        except asyncio.TimeoutError:
            writer.write(self.answer)
        except OSError:
            # an aborted connection is an end too
            self.ended += 1
        else:
            self.ended += 1
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@dataclass
class Running:
    """What a test needs of a running gateway."""

    port: int
    gateway: Gateway
    log_file: Path
    access: AccessLog
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(
        self, data: bytes | Sequence[bytes], address: str = "127.0.0.2", *, eof: bool = False
    ) -> bytes:
        """Send bytes from an address and return all that comes back."""
        reader, writer = await self.connect(address)
        try:
            for piece in [data] if isinstance(data, bytes) else data:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if eof:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(-1), 20)
        except ConnectionError:
            return b""
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def connect(
        self, address: str = "127.0.0.2"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))

    def entries(self) -> list[dict[str, Any]]:
        """Return the record once the gateway is closed."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]


@asynccontextmanager
async def running_gateway(
    folder: Path,
    callers: dict[str, Caller],
    *,
    parts: dict[Route, Part] | None = None,
    rules: Rules | None = None,
    networks: Sequence[str] = (),
    names: dict[str, list[str]] | None = None,
    limits: Limits | None = None,
    grace: float = 2.0,
) -> AsyncIterator[Running]:
    """Run a gateway; `names` is all that its resolver knows."""

    async def resolver(host: str, port: int) -> list[str]:
        if host not in (names or {}):
            raise OSError("no such name")
        return (names or {})[host]

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    access = AccessLog(folder / "access.log", MIB, 2)
    gateway = Gateway(
        Surroundings(
            own=f"127.0.0.1:{port}",
            callers=Known(callers),
            hosts=Hosts(map(ipaddress.ip_network, networks), 5.0, BLOCK, resolver),
            rules=rules or Rules(),
            parts=parts or {},
            limits=limits or Limits(body=BODIES),
        ),
        access,
    )
    await gateway.start(listening)
    try:
        yield Running(port, gateway, folder / "access.log", access)
    finally:
        await gateway.close(grace)
        await asyncio.to_thread(access.close)


@asynccontextmanager
async def serving(handler: Any, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve connections; yield the port."""
    server = await asyncio.start_server(handler, host, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
