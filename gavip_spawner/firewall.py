"""The host's filter for the bridge of user code.

Owns two chains per platform and address family, and the one rule that leads to each. Invariants: what comes
from the bridge reaches the gateway's port on the host, answers what the host itself began (the hub calls
servers), and nothing else: no other port on any address of the host, nothing beyond it. What is dropped is
logged by the kernel, within a limit. Changes are atomic: there is no moment without the filter.

The engine's own rules (internal network, no traffic between containers) hold beside these; the two do not
rely on one another.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gavip_api.errors import Unavailable

from .network import NetworkSettings

_PATH = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_IPV6 = Path("/proc/net/if_inet6")
_WAIT = "10"
_TIMEOUT = 30.0
_LOGGED = "6/min"
_TRIES = 3


class FirewallFailed(Unavailable):
    """The host's filter for containers is not in place."""

    code = "firewall-failed"
    title = "The filter for containers is not in place"


@dataclass(frozen=True)
class Family:
    """An address family's tools."""

    tool: str
    gateway: bool

    @property
    def restore(self) -> str:
        """The tool that changes many rules at once."""
        return f"{self.tool}-restore"


IPV4 = Family("iptables", gateway=True)
IPV6 = Family("ip6tables", gateway=False)


def chains(settings: NetworkSettings) -> tuple[str, str]:
    """Return our chains: for what is meant for the host, and for what would pass through it."""
    name = f"GAVIP-{settings.platform.upper()}"
    return name, f"{name}-FWD"


def rules(settings: NetworkSettings, family: Family, *, log: bool = True) -> dict[str, list[str]]:
    """Return the rules of each of our chains, as pure data.

    Parameters
    ----------
    settings : NetworkSettings
    family : Family
    log : bool
        Whether the kernel can log what is dropped.
    """
    host, through = chains(settings)
    logged = f'-m limit --limit {_LOGGED} --limit-burst 20 -j LOG --log-prefix "{host.lower()}: "'
    drop = [logged, "-j DROP"] if log else ["-j DROP"]
    # the hub calls servers in containers: these are the answers
    accept = ["-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"]
    if family.gateway:
        accept.append(f"-p tcp -d {settings.gateway} --dport {settings.gateway_port} -j ACCEPT")
    return {host: [*accept, *drop], through: drop}


def transaction(
    settings: NetworkSettings,
    family: Family,
    listed: Sequence[str],
    *,
    log: bool = True,
    remove: bool = False,
) -> str:
    """Return what ``iptables-restore --noflush`` is told, all of which holds or nothing.

    Parameters
    ----------
    settings : NetworkSettings
    family : Family
    listed : sequence of str
        The rules there are (``--list-rules``): those that lead to our chains give way to one each, in the first place.
    log : bool
        Whether the kernel can log.
    remove : bool
        Take everything away instead.
    """
    lines = ["*filter"]
    # declaring a chain empties it
    lines += [f":{chain} - [0:0]" for chain in chains(settings)]
    if not remove:
        for chain, its in rules(settings, family, log=log).items():
            lines += [f"-A {chain} {rule}" for rule in its]
    for chain in chains(settings):
        old = [line for line in listed if line.startswith("-A ") and line.endswith(f" -j {chain}")]
        lines += [line.replace("-A", "-D", 1) for line in old]
    if remove:
        lines += [f"-X {chain}" for chain in chains(settings)]
    else:
        # Docker calls DOCKER-USER before its own rules and keeps it there
        through = "DOCKER-USER" if "-N DOCKER-USER" in listed else "FORWARD"
        for parent, chain in zip(("INPUT", through), chains(settings), strict=True):
            lines.append(f"-I {parent} 1 -i {settings.bridge} -j {chain}")
    return "\n".join([*lines, "COMMIT", ""])


async def ensure_firewall(settings: NetworkSettings) -> None:
    """Put the filter in place, first among the host's rules; safe to repeat, and to be repeated after a reboot.

    Call it after :func:`gavip_spawner.network.ensure_network` and before any container starts.

    Raises
    ------
    FirewallFailed
        If iptables, the privilege (root or CAP_NET_ADMIN) or a feature of the kernel is missing.
    """
    await asyncio.to_thread(_ensure, settings)


async def firewall_state(settings: NetworkSettings) -> list[str]:
    """Return what there is of the filter, to be compared with what there was after :func:`ensure_firewall`.

    Putting it in place anew would begin to count what is dropped from nothing.

    Raises
    ------
    FirewallFailed
        As :func:`ensure_firewall`.
    """
    return await asyncio.to_thread(_state, settings)


async def remove_firewall(settings: NetworkSettings) -> None:
    """Take the filter away; safe to repeat.

    Raises
    ------
    FirewallFailed
        As :func:`ensure_firewall`.
    """
    await asyncio.to_thread(_remove, settings)


def _families() -> list[Family]:
    return [IPV4, IPV6] if _IPV6.exists() else [IPV4]


def _ensure(settings: NetworkSettings) -> None:
    # without it frames between containers pass the bridge unseen by any rule, the engine's included
    if _BRIDGED.exists() and _BRIDGED.read_text().strip() != "1":
        raise FirewallFailed(
            "The kernel does not filter traffic between containers.",
            hint="Set net.bridge.bridge-nf-call-iptables=1 with sysctl.",
        )
    for family in _families():
        for tries_left in range(_TRIES - 1, -1, -1):
            listed = _listed(family)
            try:
                _apply(family, transaction(settings, family, listed))
            except FirewallFailed:
                try:
                    # a kernel without LOG or limit
                    _apply(family, transaction(settings, family, listed, log=False))
                except FirewallFailed:
                    # somebody else may have changed the rules since they were listed
                    if not tries_left:
                        raise
                    continue
            break


def _remove(settings: NetworkSettings) -> None:
    for family in _families():
        _apply(family, transaction(settings, family, _listed(family), remove=True))


def _state(settings: NetworkSettings) -> list[str]:
    state = []
    for family in _families():
        listed = _listed(family)
        for parent in ("INPUT", "DOCKER-USER", "FORWARD"):
            state += [r for r in listed if r.startswith(f"-A {parent} ")][:1]
        state += [r for r in listed if not set(chains(settings)).isdisjoint(r.split())]
    return state


def _listed(family: Family) -> list[str]:
    return _run(family.tool, "--list-rules").splitlines()


def _apply(family: Family, told: str) -> None:
    _run(family.restore, "--noflush", told=told)


def _run(tool: str, *arguments: str, told: str = "") -> str:
    program = shutil.which(tool, path=_PATH)
    if program is None:
        raise FirewallFailed(
            f"{tool} is not installed, so containers could reach the host.",
            hint="Install iptables (Debian: apt install iptables).",
        )
    try:
        done = subprocess.run(  # noqa: S603 - fixed argv; names are checked by Containers
            [program, "-w", _WAIT, *arguments],
            input=told,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
    except subprocess.TimeoutExpired as e:
        raise FirewallFailed(
            f"{tool} did not end in time.", hint="Does another program hold its lock?"
        ) from e
    except (OSError, subprocess.CalledProcessError) as e:
        said = str(getattr(e, "stderr", "") or e).strip().replace("\n", " ")[:300]
        if os.geteuid() != 0:
            hint = "Start the platform as root or with CAP_NET_ADMIN."
        else:
            hint = "Does this kernel have netfilter with conntrack, and may this process change it?"
        raise FirewallFailed(f"{tool} failed: {said}", hint=hint) from e
    return done.stdout
