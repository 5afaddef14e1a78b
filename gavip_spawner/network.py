"""The container engine's network of user code.

Owns its description and its making. Invariants: one bridge per platform, with a known interface name, so
that the host's filter (:mod:`gavip_spawner.firewall`) can be tied to it; no route to anywhere (internal), no
traffic between its containers, no IPv6; the host is its first address, where the gateway listens. A network of
that name which is made otherwise is refused, never used.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from gavip_api.errors import Conflict, Unavailable

LABEL_PLATFORM = "gavip.platform"
GATEWAY_PORT = 8099

_ICC = "com.docker.network.bridge.enable_icc"
_BRIDGE = "com.docker.network.bridge.name"


class NetworkUnusable(Conflict):
    """The network of user code cannot be made, or is not as it must be."""

    code = "network-unusable"
    title = "The network of containers cannot be used"


@dataclass(frozen=True)
class NetworkSettings:
    """The network of one platform.

    Parameters
    ----------
    platform : str
        As in :class:`gavip_spawner.containers.ContainerSettings`.
    subnet : str
        Its addresses (IPv4, CIDR); each running container takes one.
    gateway_port : int
        The one TCP port of the host that containers reach.
    """

    platform: str
    subnet: str
    gateway_port: int = GATEWAY_PORT

    @property
    def name(self) -> str:
        """Name of the network on the engine."""
        return f"gavip-{self.platform}"

    @property
    def bridge(self) -> str:
        """Name of the bridge's interface; the kernel takes at most 15 characters."""
        return f"gv-{self.platform}"

    @property
    def gateway(self) -> str:
        """The host's address on it."""
        return first_host(self.subnet)

    @property
    def gateway_url(self) -> str:
        """Where containers find the gateway."""
        return f"http://{self.gateway}:{self.gateway_port}"


def first_host(subnet: str) -> str:
    """Return the first address of a network that a host may have.

    Raises
    ------
    ValueError
        If `subnet` is no IPv4 network in CIDR notation with room for containers.
    """
    network = ipaddress.IPv4Network(subnet)
    if network.prefixlen > 28:
        raise ValueError(f"{subnet} has no room for containers")
    return str(network.network_address + 1)


def port_of(url: str) -> int:
    """Return the port of a gateway's URL."""
    return urlsplit(url).port or GATEWAY_PORT


def network_arguments(settings: NetworkSettings) -> dict[str, Any]:
    """Return the arguments of ``APIClient.create_network``, as pure data."""
    return {
        "name": settings.name,
        "driver": "bridge",
        "internal": True,
        "enable_ipv6": False,
        "attachable": False,
        "check_duplicate": True,
        "labels": {LABEL_PLATFORM: settings.platform},
        "options": {_ICC: "false", _BRIDGE: settings.bridge},
        "ipam": {
            "Driver": "default",
            "Config": [{"Subnet": settings.subnet, "Gateway": settings.gateway}],
        },
    }


def differences(settings: NetworkSettings, found: dict[str, Any]) -> list[str]:
    """Return in what a network (as the engine's inspect call describes it) is not as it must be."""
    options = found.get("Options") or {}
    pools = (found.get("IPAM") or {}).get("Config") or []
    facts = {
        "driver": (found.get("Driver"), "bridge"),
        "internal": (found.get("Internal"), True),
        "IPv6": (found.get("EnableIPv6"), False),
        "traffic between containers": (options.get(_ICC), "false"),
        "interface": (options.get(_BRIDGE), settings.bridge),
        "subnet": ([p.get("Subnet") for p in pools], [settings.subnet]),
        "gateway": ([p.get("Gateway") for p in pools], [settings.gateway]),
        "platform": ((found.get("Labels") or {}).get(LABEL_PLATFORM), settings.platform),
    }
    return [
        f"{name}: {is_} instead of {must}" for name, (is_, must) in facts.items() if is_ != must
    ]


async def ensure_network(client: APIClient, settings: NetworkSettings) -> str:
    """Make the network unless it exists; return its id.

    Parameters
    ----------
    client : docker.APIClient
    settings : NetworkSettings

    Raises
    ------
    NetworkUnusable
        If there is one of that name which is made otherwise, or its addresses are taken.
    Unavailable
        If the engine does not answer.
    """
    try:
        return await asyncio.to_thread(_ensure, client, settings)
    except (DockerException, RequestException) as e:
        raise Unavailable(
            f"The container engine did not make the network {settings.name}: {_told(e)}",
            hint="Is Docker running, and may this account use it?",
        ) from e


async def remove_network(client: APIClient, settings: NetworkSettings) -> None:
    """Remove the network; safe to repeat.

    Raises
    ------
    NetworkUnusable
        While containers are connected to it.
    """
    try:
        await asyncio.to_thread(client.remove_network, settings.name)
    except NotFound:
        return
    except APIError as e:
        raise NetworkUnusable(
            f"The network {settings.name} was not removed: {_told(e)}",
            hint="Stop the platform's containers first.",
        ) from e


def _ensure(client: APIClient, settings: NetworkSettings) -> str:
    if (found := _find(client, settings)) is not None:
        return found
    if taken := _taken(settings):
        raise _range_is_taken(settings, taken)
    try:
        made = client.create_network(**network_arguments(settings))
    except APIError as e:
        # another program of the platform was faster
        if (found := _find(client, settings)) is not None:
            return found
        if "overlaps" in str(e.explanation):
            raise _range_is_taken(settings, "another network of the engine") from e
        raise
    return str(made["Id"])


def _find(client: APIClient, settings: NetworkSettings) -> str | None:
    try:
        found = client.inspect_network(settings.name)
    except NotFound:
        return None
    if wrong := differences(settings, found):
        raise NetworkUnusable(
            f"The network {settings.name} exists but is not as it must be ({'; '.join(wrong)}).",
            hint=f"Stop its containers and remove it: docker network rm {settings.name}",
        )
    return str(found["Id"])


def _taken(settings: NetworkSettings) -> str:
    """Return the interface of the host whose addresses overlap; the engine looks at its own networks only."""
    wanted = ipaddress.ip_network(settings.subnet)
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family.name == "AF_INET" and address.netmask:
                has = ipaddress.ip_network(f"{address.address}/{address.netmask}", strict=False)
                if has.overlaps(wanted):
                    return f"the interface {name}"
    return ""


def _range_is_taken(settings: NetworkSettings, who: str) -> NetworkUnusable:
    return NetworkUnusable(
        f"The addresses {settings.subnet} are used by {who}.",
        hint="An operator chooses a private range that is free: gavip up --subnet.",
    )


def _told(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)[:300]
