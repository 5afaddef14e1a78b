"""What each container may reach, as a pure function of who asks and what for.

Invariants: what no rule allows is refused; a rule looks at who the container is (its labels, written by the
platform) and at method, host and path, never at a header; the paths that rules compare are the paths that are
forwarded, for what two programs might read differently (dot segments, encoded slashes) is refused before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote, urlsplit

from gavip_api.addresses import covers

DEFAULT_PORTS = frozenset({80, 443})

_HOST = r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?"
_ENTRY = re.compile(rf"((?:\*\.)?{_HOST})(?::([0-9]{{1,5}}))?\Z")

_HUB = "/hub/api"
_PORTAL = "/services/portal/api/v1/"
_RUNS = "/services/jobqueue/api/v1/runs/"
_ARCHIVE = "/tap"

_NO_ROUTE = "Containers reach only what docs/explanation/security.md lists."
_ASK = (
    "The AVI's manifest must list the host under permissions.network, its user must grant that,"
    " and an operator must allow the host (GatewayApp.allowed_hosts)."
)
_ASK_OPERATOR = "An operator must list the host in GatewayApp.notebook_hosts."
_ASK_ARCHIVE = (
    "The AVI's manifest must say `archive: true` under permissions, and its user must grant that."
)


class Route(str, Enum):
    """Where a request goes."""

    HUB = "hub"
    PORTAL = "portal"
    JOBQUEUE = "jobqueue"
    ARCHIVE = "archive"
    FORWARD = "forward"


@dataclass(frozen=True)
class Caller:
    """A container, by the labels that the platform gave it.

    Parameters
    ----------
    container : str
        Its name on the engine.
    kind : str
        ``interface``, ``notebook`` or ``job``; anything else may do nothing.
    owner, avi, job : str
        The person, the AVI and the job it runs for; empty where there is none.
    server : str
        The hub's name of the server: ``<user>/<server name>``.
    archive : bool
        Whether it may query the archive.
    network : tuple of str
        Hosts that the manifest names and the user granted.
    """

    container: str
    kind: str = ""
    owner: str = ""
    avi: str = ""
    job: str = ""
    server: str = ""
    archive: bool = False
    network: tuple[str, ...] = ()

    @property
    def hub_user(self) -> str:
        """The hub's user whose server this is."""
        return self.server.partition("/")[0]


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Parameters
    ----------
    method : str
    host : str
        In lower case; empty for the gateway itself.
    port : int
        Of `host`.
    path : str
        Without the query; empty for a tunnel.
    """

    method: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        where = f"{self.host}:{self.port}" if self.host else ""
        return f"{where}{self.path}"


@dataclass(frozen=True)
class HostEntry:
    """An entry of a list of hosts: ``host`` or ``*.domain``, with a port or with those of the web."""

    pattern: str
    ports: frozenset[int] = DEFAULT_PORTS

    @classmethod
    def parse(cls, text: str) -> HostEntry:
        """Read an entry.

        Raises
        ------
        ValueError
            If it is none.
        """
        match = _ENTRY.match(text.lower())
        port = int(match[2]) if match and match[2] else None
        if match is None or ".." in match[1] or port == 0 or (port or 0) > 65535:
            raise ValueError(
                f"{text[:100]!r} is not `host`, `*.domain` or one of them with `:port`"
            )
        return cls(match[1], DEFAULT_PORTS if port is None else frozenset({port}))

    def covers(self, host: str, port: int) -> bool:
        """Whether the entry stands for a port of a host."""
        return port in self.ports and covers(self.pattern, host)


@dataclass(frozen=True)
class Rules:
    """What the operator decided.

    Parameters
    ----------
    allowed : tuple of HostEntry
        What AVIs may ask for.
    notebooks : tuple of HostEntry
        What people's own notebooks reach.
    archive : tuple of (str, int), optional
        Host and port of an archive outside the platform; None: it is behind ``/tap``, or there is none.
    """

    allowed: tuple[HostEntry, ...] = ()
    notebooks: tuple[HostEntry, ...] = ()
    archive: tuple[str, int] | None = None


@dataclass(frozen=True)
class Decision:
    """What happens to a request.

    Parameters
    ----------
    route : Route or None
        None: refused.
    reason : str
        Why, in a sentence or less.
    hint : str
        What would help, when refused.
    """

    route: Route | None
    reason: str
    hint: str = ""


def is_plain(path: str) -> bool:
    """Whether all programs read a path alike: no dot segments, no encoded separators, no empty segments."""
    if not path.startswith("/") or re.search(r"[\\#\x00-\x20\x7f-\uffff]", path):
        return False
    if re.search(r"%(?![0-9A-Fa-f]{2})|%2[fF]|%5[cC]|%[01][0-9A-Fa-f]|%7[fF]", path):
        return False
    segments = [unquote(segment) for segment in path.split("/")[1:]]
    return not any(segment in {".", ".."} for segment in segments) and "" not in segments[:-1]


def decide(caller: Caller, target: Target, rules: Rules) -> Decision:
    """Return what happens to a request.

    Parameters
    ----------
    caller : Caller
        Who asks.
    target : Target
        What for.
    rules : Rules
        What the operator decided.
    """
    if caller.kind not in {"interface", "notebook", "job"}:
        return Decision(None, "The gateway does not serve containers of this kind.", _NO_ROUTE)
    if target.host:
        return _forward(caller, target, rules)
    if not is_plain(target.path):
        return Decision(None, "The path is ambiguous.", "Send a path without `..`, `//` or `%2F`.")
    if target.path == _ARCHIVE or target.path.startswith(f"{_ARCHIVE}/"):
        return _archive(caller, Route.ARCHIVE)
    if caller.kind == "job":
        if caller.job and target.path.startswith(f"{_RUNS}{caller.job}/"):
            return Decision(Route.JOBQUEUE, "its own run")
    elif target.path.startswith(_PORTAL):
        return Decision(Route.PORTAL, "the portal's API")
    elif _may_ask_hub(caller, target):
        return Decision(Route.HUB, "the hub's API")
    return Decision(None, f"There is no such route for this {caller.kind}.", _NO_ROUTE)


def _may_ask_hub(caller: Caller, target: Target) -> bool:
    # what jupyterhub.services.auth, jupyterhub.singleuser and avi_kernelspec.activity call, and nothing else
    if not caller.hub_user:
        return False
    asked = (target.method, unquote(target.path))
    allowed = {
        ("POST", f"{_HUB}/oauth2/token"),
        ("GET", f"{_HUB}/user"),
        ("POST", f"{_HUB}/users/{caller.hub_user}/activity"),
    }
    if caller.kind == "notebook":
        allowed |= {("GET", _HUB), ("GET", f"{_HUB}/")}
    return asked in allowed


def _archive(caller: Caller, route: Route) -> Decision:
    if caller.archive:
        return Decision(route, "the archive")
    return Decision(None, "This AVI may not query the archive.", _ASK_ARCHIVE)


def _forward(caller: Caller, target: Target, rules: Rules) -> Decision:
    host, port = target.host, target.port
    if (host, port) == rules.archive:
        return _archive(caller, Route.FORWARD)
    where = f"{host[:100]}:{port}"
    if caller.kind == "notebook":
        if any(entry.covers(host, port) for entry in rules.notebooks):
            return Decision(Route.FORWARD, "a host for notebooks")
        return Decision(None, f"Notebooks may not reach {where}.", _ASK_OPERATOR)
    if not any(entry.covers(host, port) for entry in _entries(caller.network)):
        return Decision(None, f"{where} is not among the hosts granted to this AVI.", _ASK)
    if not any(entry.covers(host, port) for entry in rules.allowed):
        return Decision(None, f"The operator does not allow {where}.", _ASK)
    return Decision(Route.FORWARD, "a granted host")


def _entries(texts: tuple[str, ...]) -> list[HostEntry]:
    found = []
    for text in texts:
        try:
            found.append(HostEntry.parse(text))
        except ValueError:
            # what a manifest says badly grants nothing
            continue
    return found


def external_archive(url: str) -> tuple[str, int] | None:
    """Return host and port of an archive that containers reach by its own address; None if it is behind ``/tap``.

    Only a loopback address, which containers could not reach, is behind ``/tap``.
    """
    parts = urlsplit(url)
    if not parts.hostname or (
        parts.scheme == "http" and re.match(r"127\.|::1\Z|localhost\Z", parts.hostname)
    ):
        return None
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
