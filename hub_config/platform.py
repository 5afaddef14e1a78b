"""The facts that all parts of one platform must agree on: addresses, ports, folders, secrets.

Decided once by ``gavip up``, kept in ``run/platform.json`` (mode 0600, it holds secrets) and read
by ``jupyterhub_config.py``. Invariant: secrets and ports stay the same from start to start while
the state folder exists, so sign-ins and running servers survive.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from gavip_spawner.layout import StateLayout

ENVIRONMENT_VARIABLE = "GAVIP_PLATFORM_FILE"
WATCHED_CPU = 0.25
"""Cores reserved for what people look at (interfaces, notebooks): they think more than they compute."""

HOST_COOKIE_OPTIONS = {"secure": True, "samesite": "Lax"}
"""Browsers take ``__Host-`` cookies as secure ones only, over plain HTTP from ``*.localhost`` too."""

INTERNAL_PORTS = (
    "hub_port", "proxy_api_port", "portal_port", "jobqueue_port", "archive_port", "gateway_port",
)  # fmt: skip
_STANDARD_PORTS = {"http": 80, "https": 443}


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody could listen on `port` now."""
    with contextlib.closing(socket.socket()) as probe:
        # as servers do, so that connections of an earlier run that linger do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Platform:
    """One platform on one machine.

    Parameters
    ----------
    state : str
        State folder, absolute.
    host : str
        Domain of the hub; every other part is a sub-domain.
    port : int
        Public port.
    examples : str
        Folder whose sub-folders are published as example AVIs; empty for none.
    archive : str
        URL of a TAP service to use instead of the embedded archive; empty for the embedded one.
    config : str
        The operator's own configuration file, read after ours; empty for none.
    backend : str
        Back-end of the execution plane: ``process`` or ``docker``.
    listen : str
        Address of the public port.
    tls_cert, tls_key : str
        Files (PEM) of a certificate for the domain and all its sub-domains, and of its key; empty for plain HTTP.
    subnet : str
        Network of user code with the docker back-end, in CIDR notation.
    """

    state: str
    host: str = "gavip.localhost"
    port: int = 8000
    examples: str = ""
    archive: str = ""
    config: str = ""
    backend: str = "process"
    listen: str = "127.0.0.1"
    tls_cert: str = ""
    tls_key: str = ""
    subnet: str = "10.213.0.0/20"
    hub_port: int = 0
    proxy_api_port: int = 0
    portal_port: int = 0
    jobqueue_port: int = 0
    archive_port: int = 0
    gateway_port: int = 0
    cookie_secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    proxy_token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    spawner_token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    portal_token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    jobqueue_token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    culler_token: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    portal_cookie_secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    @property
    def layout(self) -> StateLayout:
        """Every path."""
        return StateLayout(Path(self.state))

    @property
    def contained(self) -> bool:
        """Whether user code runs in containers."""
        return self.backend != "process"

    @property
    def in_container(self) -> bool:
        """Whether the platform's own programs run in a container, as ``compose.yaml`` says."""
        return os.environ.get("GAVIP_IN_CONTAINER") == "1"

    @property
    def scheme(self) -> str:
        """Scheme of every public address."""
        return "https" if self.tls_cert else "http"

    def origin(self, label: str = "") -> str:
        """Return the public origin of the hub, or of the sub-domain `label`."""
        host = f"{label}.{self.host}" if label else self.host
        port = "" if self.port == _STANDARD_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def public_url(self) -> str:
        """Where people begin."""
        return self.origin()

    @property
    def portal_origin(self) -> str:
        """Origin of the portal's pages."""
        return self.origin("portal")

    @property
    def portal_url(self) -> str:
        """The portal's home page."""
        return f"{self.portal_origin}/services/portal/"

    @property
    def user_url(self) -> str:
        """Template of the address of a user's server; ``{user}`` stands for the name."""
        return f"{self.origin('{user}')}/user/{{user}}/"

    @property
    def portal_internal(self) -> str:
        """Address of the portal behind the proxy."""
        return f"http://127.0.0.1:{self.portal_port}"

    @property
    def portal_api(self) -> str:
        """The public API, reached from the platform's own machine."""
        return f"{self.portal_internal}/services/portal/api/v1"

    @property
    def jobqueue_internal(self) -> str:
        """Address of jobqueue; never public."""
        return f"http://127.0.0.1:{self.jobqueue_port}"

    @property
    def jobqueue_api(self) -> str:
        """Base of jobqueue's internal API."""
        return f"{self.jobqueue_internal}/services/jobqueue/api/v1"

    @property
    def hub_api(self) -> str:
        """The hub's REST API behind the proxy."""
        return f"http://127.0.0.1:{self.hub_port}/hub/api"

    @property
    def archive_url(self) -> str:
        """Base URL of the TAP service."""
        return self.archive or f"http://127.0.0.1:{self.archive_port}/tap"

    @property
    def gateway_ip(self) -> str:
        """Address of this machine on the network of user code: the first of it."""
        return str(next(ip_network(self.subnet).hosts()))

    @property
    def gateway_url(self) -> str:
        """The one thing that containers reach."""
        return f"http://{self.gateway_ip}:{self.gateway_port}"

    def seen_by_code(self, url: str) -> str:
        """Return how user code reaches a part of the platform that is at `url` on this machine."""
        if not self.contained or urlsplit(url).hostname != "127.0.0.1":
            return url
        return f"{self.gateway_url}{urlsplit(url).path}"

    @property
    def accounts_file(self) -> Path:
        """Demo accounts."""
        return self.layout.run / "accounts.json"

    @property
    def file(self) -> Path:
        """Where this object is kept."""
        return self.layout.run / "platform.json"

    def with_ports(self) -> Platform:
        """Return the platform with a free port for every part whose port is unset or taken."""
        chosen: dict[str, int] = {}
        for name in INTERNAL_PORTS:
            port = getattr(self, name)
            while port in {0, self.port, *chosen.values()} or not port_is_free(port):
                port = free_port()
            chosen[name] = port
        return replace(self, **chosen)  # type: ignore[arg-type]

    def save(self) -> None:
        """Write the file atomically."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(asdict(self), file, indent=1)
        temporary.replace(self.file)

    @classmethod
    def load(cls, state: Path, **changes: object) -> Platform:
        """Return the platform of a state folder, new or as it was, with `changes`."""
        kept: dict[str, object] = {}
        with contextlib.suppress(FileNotFoundError):
            kept = json.loads((StateLayout(state).run / "platform.json").read_text())
        known = {k: v for k, v in kept.items() if k in cls.__dataclass_fields__}
        return cls(**{**known, **changes, "state": str(state)})  # type: ignore[arg-type]

    @classmethod
    def of_environment(cls) -> Platform:
        """Return the platform whose file ``GAVIP_PLATFORM_FILE`` names.

        Raises
        ------
        RuntimeError
            If the variable is not set.
        """
        path = os.environ.get(ENVIRONMENT_VARIABLE)
        if not path:
            raise RuntimeError(
                f"{ENVIRONMENT_VARIABLE} is not set; start the platform with `gavip up`"
            )
        return cls(**json.loads(Path(path).read_text()))
