"""Where notifications may go: the operator's list of targets, and the addresses behind their names.

Invariants: nothing is sent to a host that the operator did not list, nor to an address that is not
on the public internet unless its network is listed too, so that a user cannot reach the platform's
own services through us (server-side request forgery, OWASP ASVS 5.2.6); a name is resolved once and
the connection goes to the very address that was judged, so that a second answer of the DNS changes
nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from gavip_api.addresses import Network, all_may_be_called, covers
from gavip_api.errors import InvalidInput

Resolver = Callable[[str, int], Awaitable[list[str]]]

_PORTS = {"https": 443, "http": 80}


class TargetRefused(Exception):
    """The target resolves to an address that may not be called, or to none."""


@dataclass(frozen=True)
class Target:
    """A listed target: scheme, host or ``*.domain``, port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read an entry of the operator's list: ``https://host``, ``https://*.domain:8443``.

        Raises
        ------
        ValueError
            If it is none.
        """
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        if parts.scheme not in _PORTS or not host or parts.path not in ("", "/"):
            raise ValueError(f"{text!r} is not `https://host`, with `*.` and a port at most")
        if "*" in host.removeprefix("*.") or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"{text!r} is not `https://host`, with `*.` and a port at most")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme])

    def covers(self, scheme: str, host: str, port: int) -> bool:
        """Whether a URL with these parts goes to this target."""
        return (scheme, port) == (self.scheme, self.port) and covers(self.host, host)


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system resolves them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Targets:
    """Decides about URLs.

    Parameters
    ----------
    allowed : iterable of str
        Entries for :meth:`Target.parse`.
    networks : iterable of str
        Networks (CIDR) that may be called though they are not on the public internet.
    resolver : callable
        For tests.
    """

    def __init__(
        self, allowed: Iterable[str], networks: Iterable[str] = (), resolver: Resolver = resolve
    ) -> None:
        self._allowed = [Target.parse(entry) for entry in allowed]
        self._networks: list[Network] = [ipaddress.ip_network(entry) for entry in networks]
        self._resolve = resolver

    def check(self, url: str) -> tuple[str, int]:
        """Return host and port of a URL that the list allows.

        Raises
        ------
        InvalidInput
            If it does not.
        """
        fault = {"hooks": "has a target that is not allowed"}
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if (
            parts.scheme not in _PORTS
            or not host
            or not url.isascii()
            or not url.isprintable()
            or " " in url
            or "\\" in url
        ):
            raise InvalidInput(f"{url[:80]!r} is not a URL to notify.", detail=fault)
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidInput(
                "The URL to notify holds a user name, a password or a fragment.",
                hint="Check the signature instead of a password.",
                detail=fault,
            )
        at = port or _PORTS[parts.scheme]
        if not any(target.covers(parts.scheme, host, at) for target in self._allowed):
            raise InvalidInput(
                f"Notifications may not go to {parts.scheme}://{host[:100]}:{at}.",
                hint="Ask the operator to list it in `JobQueueApp.hook_targets`."
                if self._allowed
                else "The operator of this platform allows no notifications (`JobQueueApp.hook_targets`).",
                detail=fault,
            )
        return host, at

    async def address(self, url: str) -> str:
        """Return the address to connect to for a URL: the first of the host's, all of which must be allowed.

        Raises
        ------
        TargetRefused
            If the URL is not allowed (any more), or its host has no address or one that is not.
        """
        try:
            host, port = self.check(url)
        except InvalidInput as e:
            raise TargetRefused(e.message) from None
        try:
            found = await self._resolve(host, port)
        except OSError as e:
            raise TargetRefused(f"{host} cannot be resolved: {e.strerror or e}.") from None
        if not found:
            raise TargetRefused(f"{host} has no address.")
        if not all_may_be_called(found, self._networks):
            raise TargetRefused(f"{host} is at an address that is not public.")
        return found[0]
