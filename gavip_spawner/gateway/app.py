"""The gateway's options, composition, start and stop. Only this module constructs the parts."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import resource
import signal
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from docker import APIClient
from docker.utils import kwargs_from_env
from traitlets import Bool, Dict, Float, Integer, List, TraitError, Unicode, default, validate
from traitlets.config import Application

from gavip_api.errors import GavipError, InvalidInput, Unavailable
from gavip_api.resources import memory_bytes
from gavip_spawner.containers import Containers
from gavip_spawner.firewall import ensure_firewall, firewall_state
from gavip_spawner.network import ensure_network

from .access_log import AccessLog
from .callers import DockerCallers
from .exchange import BLOCK, Limits, Part, Surroundings
from .hosts import Hosts, Resolve
from .policy import HostEntry, Route, Rules, external_archive
from .server import Gateway

log = logging.getLogger("gavip.gateway")

_BODIES = {"hub": "64K", "portal": "4M", "jobqueue": "4M", "archive": "64M", "forward": "256M"}
_ENGINE_TIMEOUT = 10


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        when = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, object] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class GatewayApp(Application):
    """The one program that containers of user code can talk to."""

    name = Unicode("gavip-gateway")
    description = Unicode("Let containers reach the platform and the hosts that were allowed.")
    classes = [Containers]
    aliases = {"config": "GatewayApp.config_file", "log-level": "Application.log_level"}

    config_file = Unicode(
        "", help="Python or JSON configuration file (traitlets). Default: none."
    ).tag(config=True)
    hub_url = Unicode(
        "http://127.0.0.1:8081",
        help="Address of the hub behind the proxy, without a path. Default: http://127.0.0.1:8081.",
    ).tag(config=True)
    portal_url = Unicode(
        help="Address of the portal behind the proxy, without a path. Default: empty, no portal."
    ).tag(config=True)
    jobqueue_url = Unicode(
        help="Address of the job queue, without a path. Default: empty, no job queue."
    ).tag(config=True)
    archive_url = Unicode(
        help="Base URL of the TAP service. On a loopback address it is shown to containers as `/tap` of the gateway;"
        " any other is reached by its own address. Containers need the permission `archive` for both. Default:"
        " empty, no archive."
    ).tag(config=True)
    allowed_hosts: Any = List(
        Unicode(),
        help="Hosts that AVIs may reach if their manifest names them and their user granted that: `example.org`,"
        " `*.example.org` (not example.org itself), with `:port` for another port than 80 and 443. Default: none.",
    ).tag(config=True)
    notebook_hosts: Any = List(
        Unicode(),
        help="Hosts that people's own notebooks may reach, written as in `allowed_hosts`. Default: none.",
    ).tag(config=True)
    allowed_networks: Any = List(
        Unicode(),
        help="Networks (CIDR) that allowed hosts may be in though they are not on the public internet, such as that"
        " of the institute. Default: none.",
    ).tag(config=True)
    make_network = Bool(
        True,
        help="Whether to make the containers' network and the host's filter at the start, and to look after the"
        " filter; needs the right to change iptables. Default: true.",
    ).tag(config=True)
    check_interval = Integer(
        60,
        min=1,
        help="How often is looked whether the host's filter is in place, in seconds. Default: 60.",
    ).tag(config=True)
    access_log = Unicode(
        help="File of the record of all requests, one JSON object a line. Default: empty, only refused requests are"
        " logged, as warnings."
    ).tag(config=True)
    access_log_size = Unicode(
        "16M", help="Size at which a new file of the record is begun. Default: 16M."
    ).tag(config=True)
    access_log_files = Integer(
        5, min=1, help="How many older files of the record are kept. Default: 5."
    ).tag(config=True)
    head_size = Unicode(
        "64K", help="Most bytes of a request's line and headers together. Default: 64K."
    ).tag(config=True)
    max_headers = Integer(100, min=10, help="Most headers of a request. Default: 100.").tag(
        config=True
    )
    body_sizes: Any = Dict(
        value_trait=Unicode(),
        help="Most bytes of a request's body by where it goes: `hub`, `portal`, `jobqueue`, `archive` and `forward`"
        " (plain http outside; tunnels are not bounded). Default: 64K, 4M, 4M, 64M and 256M.",
    ).tag(config=True)
    connections_per_container = Integer(
        64, min=1, help="Most connections of one container at once. Default: 64."
    ).tag(config=True)
    connections = Integer(
        2000, min=1, help="Most connections of all containers at once. Default: 2000."
    ).tag(config=True)
    head_timeout = Float(
        10.0, min=0.1, help="Seconds until a request's headers must be complete. Default: 10."
    ).tag(config=True)
    connect_timeout = Float(
        20.0, min=0.1, help="Seconds to resolve and connect to a host. Default: 20."
    ).tag(config=True)
    idle_timeout = Float(
        900.0,
        min=1,
        help="Seconds without a byte in either direction after which a connection is ended; longer than synchronous"
        " archive queries take. Default: 900.",
    ).tag(config=True)
    shutdown_grace = Float(
        5.0, min=0, help="Seconds that requests may take to end when the gateway stops. Default: 5."
    ).tag(config=True)

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @validate("hub_url", "portal_url", "jobqueue_url", "archive_url")
    def _check_url(self, proposal: Any) -> str:
        value, name = str(proposal["value"]).rstrip("/"), proposal["trait"].name
        parts = urlsplit(value)
        if not value:
            return value
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise TraitError(f"{name} must be an http or https URL, not {value!r}")
        if name != "archive_url" and (parts.path or parts.scheme != "http"):
            raise TraitError(f"{name} must be `http://host:port`, not {value!r}")
        return value

    @validate("allowed_hosts", "notebook_hosts")
    def _check_hosts(self, proposal: Any) -> list[str]:
        try:
            for entry in proposal["value"]:
                HostEntry.parse(entry)
        except ValueError as e:
            raise TraitError(f"{proposal['trait'].name}: {e}") from None
        return list(proposal["value"])

    @validate("allowed_networks")
    def _check_networks(self, proposal: Any) -> list[str]:
        try:
            for entry in proposal["value"]:
                ipaddress.ip_network(entry)
        except ValueError as e:
            raise TraitError(f"allowed_networks: {e}") from None
        return list(proposal["value"])

    @validate("body_sizes")
    def _check_sizes(self, proposal: Any) -> dict[str, str]:
        if unknown := set(proposal["value"]) - set(_BODIES):
            raise TraitError(f"body_sizes: {sorted(unknown)} is none of {sorted(_BODIES)}")
        for size in proposal["value"].values():
            _size(size, "body_sizes")
        return dict(proposal["value"])

    @validate("head_size", "access_log_size")
    def _check_size(self, proposal: Any) -> str:
        _size(proposal["value"], proposal["trait"].name)
        return str(proposal["value"])

    def initialize(self, argv: Any = None) -> None:
        """Read the command line and the configuration file, and set up the log."""
        self.parse_command_line(argv)
        if self.config_file:
            self.load_config_file(self.config_file)
            self.parse_command_line(argv)  # the command line wins
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(logging.WARNING)
        log.setLevel(cast("int | str", self.log_level))

    def limits(self) -> Limits:
        """Return the options that bound requests as one value."""
        bodies = _BODIES | self.body_sizes
        return Limits(
            head_bytes=memory_bytes(self.head_size),
            headers=self.max_headers,
            body={route: memory_bytes(bodies[route.value]) for route in Route},
            per_container=self.connections_per_container,
            total=self.connections,
            head_timeout=self.head_timeout,
            idle_timeout=self.idle_timeout,
        )

    def rules(self) -> Rules:
        """Return the options that the policy goes by as one value."""
        return Rules(
            allowed=tuple(HostEntry.parse(entry) for entry in self.allowed_hosts),
            notebooks=tuple(HostEntry.parse(entry) for entry in self.notebook_hosts),
            archive=external_archive(self.archive_url),
        )

    def parts(self) -> dict[Route, Part]:
        """Return where the platform's own parts are."""
        urls = {
            Route.HUB: self.hub_url,
            Route.PORTAL: self.portal_url,
            Route.JOBQUEUE: self.jobqueue_url,
        }
        found = {route: Part(*_address(url)) for route, url in urls.items() if url}
        if self.archive_url and external_archive(self.archive_url) is None:
            base = urlsplit(self.archive_url).path
            found[Route.ARCHIVE] = Part(*_address(self.archive_url), "/tap", base, keeps_host=True)
        return found

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        try:
            asyncio.run(self._run())
        except GavipError as e:
            log.critical("%s %s", e.message, e.hint or "")
            self.exit(1)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        containers = Containers(parent=self)
        keeper = None
        if self.make_network:
            await self._keep(containers)
            keeper = asyncio.create_task(self._keep_forever(containers))
        listening = listen(containers.gateway_url)
        _more_files(2 * self.connections + 256)
        callers = DockerCallers(_engine, containers.network, containers.platform)
        resolver = Resolve()
        networks = [ipaddress.ip_network(entry) for entry in self.allowed_networks]
        access = AccessLog(
            Path(self.access_log) if self.access_log else None,
            memory_bytes(self.access_log_size),
            self.access_log_files,
        )
        gateway = Gateway(
            Surroundings(
                own=urlsplit(containers.gateway_url).netloc,
                callers=callers,
                hosts=Hosts(networks, self.connect_timeout, BLOCK, resolver),
                rules=self.rules(),
                parts=self.parts(),
                limits=self.limits(),
            ),
            access,
        )
        callers.start()
        await gateway.start(listening)
        log.info("ready url=%s", containers.gateway_url)
        await stopped.wait()
        log.info("stopping")
        await gateway.close(self.shutdown_grace)
        if keeper is not None:
            keeper.cancel()
        callers.close()
        resolver.close()
        await asyncio.to_thread(access.close)
        log.info("stopped")

    async def _keep(self, containers: Containers) -> None:
        client = await asyncio.to_thread(_engine)
        await ensure_network(client, containers.network_settings)
        await ensure_firewall(containers.network_settings)

    async def _keep_forever(self, containers: Containers) -> None:
        """Put the filter back that something else on the host may have thrown away."""
        settings = containers.network_settings
        wanted: list[str] = []
        while True:
            try:
                if not wanted or await firewall_state(settings) != wanted:
                    if wanted:
                        log.warning("the filter was changed and is put in place again")
                    await ensure_firewall(settings)
                    wanted = await firewall_state(settings)
            except GavipError as e:
                log.error("the filter is not in place: %s %s", e.message, e.hint or "")
            await asyncio.sleep(self.check_interval)


def listen(url: str) -> socket.socket:
    """Return a socket bound to the address of a gateway's URL.

    Raises
    ------
    Unavailable
        If it is taken, or not on this machine.
    """
    host, port = _address(url)
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as e:
        made.close()
        raise Unavailable(
            f"{host}:{port} cannot be listened on: {e.strerror}.",
            hint="Does the containers' network exist (GatewayApp.make_network), and is its port free?",
        ) from None
    return made


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _size(text: str, name: str) -> None:
    try:
        memory_bytes(text)
    except InvalidInput as e:
        raise TraitError(f"{name}: {e.message}") from None


def _engine() -> APIClient:
    return APIClient(version="auto", timeout=_ENGINE_TIMEOUT, **kwargs_from_env())


def _more_files(wanted: int) -> None:
    # each request takes two
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
