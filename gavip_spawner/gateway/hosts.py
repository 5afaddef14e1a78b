"""Connections to hosts outside: resolved here, judged, and made to the very address that was judged.

Invariant: a second answer of the DNS changes nothing; one address of a name that may not be called refuses all.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from gavip_api.addresses import Network, all_may_be_called

from .errors import EgressRefused, HostUnreachable

Resolver = Callable[[str, int], Awaitable[list[str]]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_TRIED = 4


class Resolve:
    """The system's resolver, in threads of its own: slow names hold up nothing else."""

    def __init__(self, threads: int = 8) -> None:
        self._threads = ThreadPoolExecutor(threads, "gateway-names")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host.

        Raises
        ------
        OSError
            If it has none.
        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(entry[4][0]) for entry in found]

    def close(self) -> None:
        """End the threads that are idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Hosts:
    """Connects to hosts.

    Parameters
    ----------
    networks : iterable of Network
        Networks that may be called though they are not on the public internet.
    timeout : float
        Seconds for resolving and connecting together.
    buffer : int
        Bytes that a connection holds at most.
    resolver : callable
        Returns the addresses of a host.
    """

    def __init__(
        self, networks: Iterable[Network], timeout: float, buffer: int, resolver: Resolver
    ) -> None:
        self._networks = list(networks)
        self._timeout = timeout
        self._buffer = buffer
        self._resolve = resolver

    async def connect(self, host: str, port: int) -> Streams:
        """Return a connection to a host outside.

        Raises
        ------
        EgressRefused
            If it has an address that may not be called.
        HostUnreachable
            If it has none, or none answers.
        """
        try:
            return await asyncio.wait_for(self._connect(host, port), self._timeout)
        except asyncio.TimeoutError:
            raise HostUnreachable(f"{host[:100]} did not answer in time.") from None

    async def _connect(self, host: str, port: int) -> Streams:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise HostUnreachable(
                f"{host[:100]} cannot be resolved.", hint="Is the name right?"
            ) from None
        try:
            allowed = all_may_be_called(addresses, self._networks)
        except ValueError:
            allowed = False
        if not allowed:
            raise EgressRefused(
                f"{host[:100]} is at an address that is not public.",
                hint="An operator may list its network in GatewayApp.allowed_networks.",
            )
        for address in addresses[:_TRIED]:
            try:
                return await asyncio.open_connection(address, port, limit=self._buffer)
            except OSError:
                continue
        raise HostUnreachable(f"{host[:100]}:{port} does not answer.", hint="Try again later.")

    async def connect_own(self, host: str, port: int) -> Streams:
        """Return a connection to a part of the platform, whose address the operator set.

        Raises
        ------
        HostUnreachable
            If it does not answer.
        """
        try:
            made = asyncio.open_connection(host, port, limit=self._buffer)
            return await asyncio.wait_for(made, self._timeout)
        except (OSError, asyncio.TimeoutError):
            raise HostUnreachable(
                "This part of the platform does not answer.", hint="Try again in a minute."
            ) from None
