"""Container specs: what a launch spec becomes on a container engine, as pure data.

Owns every restriction that a container of user code lives under; nothing else sets one. Invariants,
whatever the launch spec says: an unprivileged account, no capability, no way to gain any, a read-only
root, no swap, bounded processes, files, memory, processor time and log, one network on which it meets
nobody, no namespace of the host (on cgroup v1 the engine shares that of cgroups), no engine socket, and only
sources below the state folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from traitlets import Dict, Float, Integer, TraitError, Unicode, default, validate
from traitlets.config import Configurable

from gavip_api import __version__
from gavip_api.errors import InvalidInput
from gavip_api.resources import memory_bytes

from .network import LABEL_PLATFORM as LABEL_PLATFORM
from .network import NetworkSettings, first_host, port_of
from .placement import HOME, PARAMETERS, RELEASE, USER_SPACE
from .specs import LABEL_KIND, LaunchSpec

LABEL_NAME = "gavip.name"
LABEL_PERMISSIONS = "gavip.permissions"
LABEL_TIME = "gavip.time"

TIME_IS_UP = 124
"""Exit code of ``timeout`` of the GNU coreutils when it had to end the program."""

_CPU_PERIOD = 100_000
_TARGETS = (RELEASE, PARAMETERS, USER_SPACE, HOME)
KILL_AFTER = 10
"""Seconds that a program may go on after it was told that its time is up."""


@dataclass(frozen=True)
class ContainerSettings:
    """What an operator decides once for all containers.

    Parameters
    ----------
    platform : str
        Tells the containers of several platforms on one engine apart.
    state : str
        The platform's state folder: mounts come from below it and from nowhere else.
    images : mapping of str to str
        Image of each template and of ``lab``.
    uid, gid : int
        Account of user code.
    network : str
        Network of user code.
    gateway : str
        URL of the gateway, the only thing that containers reach.
    interface_cpu : float
        Most cores of an AVI instance, when less is reserved for it.
    pids, files : int
        Most processes and threads, most open files of each.
    tmp_bytes, home_bytes, shm_bytes, log_bytes : int
        Sizes of ``/tmp``, of the scratch HOME, of ``/dev/shm`` and of the log.
    """

    platform: str
    state: str
    images: Mapping[str, str]
    network: str
    gateway: str
    uid: int = 1000
    gid: int = 1000
    interface_cpu: float = 1.0
    pids: int = 256
    files: int = 4096
    tmp_bytes: int = 256 << 20
    home_bytes: int = 256 << 20
    shm_bytes: int = 64 << 20
    log_bytes: int = 8 << 20


@dataclass(frozen=True)
class ContainerSpec:
    """A container, in the words of the engine's library.

    Parameters
    ----------
    create : dict
        Arguments of ``APIClient.create_container``, without the host configuration.
    host : dict
        Arguments of ``APIClient.create_host_config``.
    """

    create: dict[str, Any]
    host: dict[str, Any] = field(default_factory=dict)


def container_name(settings: ContainerSettings, name: str) -> str:
    """Return the engine's name of what a launch spec calls `name`."""
    return f"gavip-{settings.platform}-{name}"


def container_spec(spec: LaunchSpec, settings: ContainerSettings) -> ContainerSpec:
    """Return the container that runs `spec`.

    Parameters
    ----------
    spec : LaunchSpec
        Built with :class:`gavip_spawner.placement.InContainer`.
    settings : ContainerSettings

    Raises
    ------
    InvalidInput
        If the spec asks for an image that is not configured, or for a mount that no container may have.
    """
    image = settings.images.get(spec.image)
    if not image:
        raise InvalidInput(
            f"No image is configured for the template {spec.image!r}.",
            hint="An operator sets Containers.images.",
        )
    permissions = {
        "archive": spec.permissions.archive,
        "network": list(spec.permissions.network),
    }
    timed = () if spec.time_limit is None else _timed(spec.time_limit)
    create = {
        "name": container_name(settings, spec.name),
        "image": image,
        "command": [*timed, *spec.argv],
        "entrypoint": [],
        "environment": dict(spec.environment) | _proxies(settings.gateway),
        "working_dir": spec.cwd,
        "user": f"{settings.uid}:{settings.gid}",
        "labels": dict(spec.labels)
        | {
            LABEL_PLATFORM: settings.platform,
            LABEL_NAME: spec.name,
            LABEL_PERMISSIONS: json.dumps(permissions, separators=(",", ":")),
        }
        | ({} if spec.time_limit is None else {LABEL_TIME: str(spec.time_limit)}),
        "stdin_open": False,
        "tty": False,
        "stop_signal": "SIGTERM",
    }
    host = {
        "binds": [
            _bind(mount.source, mount.target, mount.read_only, settings) for mount in spec.mounts
        ],
        "network_mode": settings.network,
        # nobody answers there: names are resolved by the gateway, so nothing leaves as a DNS question
        "dns": ["127.0.0.1"],
        # and programs that ask all the same are told soon
        "dns_opt": ["timeout:1", "attempts:1"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "privileged": False,
        "init": True,
        "ipc_mode": "private",
        "mem_limit": spec.amount.memory,
        # the same: memory and swap together, so no swap
        "memswap_limit": spec.amount.memory,
        "mem_swappiness": 0,
        "cpu_period": _CPU_PERIOD,
        # the kernel takes no less than a millisecond per period
        "cpu_quota": max(1000, round(_most_cpu(spec, settings) * _CPU_PERIOD)),
        # who was granted more is served first when the machine is busy
        "cpu_shares": max(2, round(1024 * spec.amount.cpu)),
        "pids_limit": settings.pids,
        "ulimits": [
            {"Name": "nofile", "Soft": settings.files, "Hard": settings.files},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "shm_size": settings.shm_bytes,
        "tmpfs": _tmpfs(spec, settings),
        # user code goes first when the machine runs out of memory
        "oom_score_adj": 500,
        "restart_policy": {"Name": "no"},
        "auto_remove": False,
        "log_config": {
            "Type": "json-file",
            "Config": {"max-size": str(settings.log_bytes), "max-file": "2"},
        },
    }
    return ContainerSpec(create, host)


def _most_cpu(spec: LaunchSpec, settings: ContainerSettings) -> float:
    # an interface computes for moments, while its person waits: it may use what nobody needs, by its shares
    if spec.labels.get(LABEL_KIND) == "interface":
        return max(spec.amount.cpu, settings.interface_cpu)
    return spec.amount.cpu


def _timed(seconds: int) -> tuple[str, ...]:
    # inside, so that the limit holds while nobody watches from outside
    return ("/usr/bin/timeout", f"--kill-after={KILL_AFTER}s", f"{seconds}s")


def _proxies(gateway: str) -> dict[str, str]:
    if not gateway:
        return {}
    around = f"localhost,127.0.0.1,{urlsplit(gateway).hostname}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    return dict.fromkeys(names, gateway) | {"NO_PROXY": around, "no_proxy": around}


def _bind(source: str, target: str, read_only: bool, settings: ContainerSettings) -> str:
    inside = PurePosixPath(source)
    if ".." in inside.parts or not inside.is_relative_to(settings.state) or ":" in source:
        raise InvalidInput(f"{source[:200]!r} may not be shown to a container.")
    place = PurePosixPath(target)
    if (
        not any(place.is_relative_to(top) for top in _TARGETS)
        or ".." in place.parts
        or ":" in target
    ):
        raise InvalidInput(f"Nothing may be mounted on {target[:200]!r}.")
    return f"{source}:{target}:{'ro' if read_only else 'rw'}"


def _tmpfs(spec: LaunchSpec, settings: ContainerSettings) -> dict[str, str]:
    owner = f"uid={settings.uid},gid={settings.gid}"
    tmpfs = {"/tmp": f"rw,nosuid,nodev,size={settings.tmp_bytes},mode=1777"}  # noqa: S108 - inside
    if HOME not in {mount.target for mount in spec.mounts}:
        # executable: numba and f2py load what they compile
        tmpfs[HOME] = f"rw,exec,nosuid,nodev,size={settings.home_bytes},mode=700,{owner}"
    return tmpfs


class Containers(Configurable):
    """How user code runs in containers: shared by the hub's spawner and the job queue's plane."""

    platform = Unicode(
        "gavip",
        help="Name of this platform among those that share one engine: lower-case letters and digits, at most 10."
        " Default: gavip.",
    ).tag(config=True)
    state_dir = Unicode(
        help="Absolute path of the state folder, as the engine sees it. No default: must be set."
    ).tag(config=True)
    images: Any = Dict(
        value_trait=Unicode(),
        default_value={
            "python": f"gavip/avi-python:{__version__}",
            "java": f"gavip/avi-java:{__version__}",
            "fortran": f"gavip/avi-fortran:{__version__}",
            "lab": f"gavip/avi-lab:{__version__}",
        },
        help="Image of each template and of people's JupyterLab (`lab`), by name or digest. Default: those of `make"
        " images`.",
    ).tag(config=True)
    uid = Integer(
        1000, min=1, help="User id that user code runs under, never 0. Default: 1000."
    ).tag(config=True)
    gid = Integer(
        1000, min=1, help="Group id that user code runs under, never 0. Default: 1000."
    ).tag(config=True)
    subnet = Unicode(
        "10.213.0.0/20",
        help="Addresses of user code's network (IPv4, CIDR), one per running container; the host has the first, on"
        " which the gateway listens. Must be free on this machine. `gavip up` sets it by `--subnet`, together with the"
        " gateway. Default: 10.213.0.0/20.",
    ).tag(config=True)
    gateway_url = Unicode(
        help="URL of the gateway on the containers' network, the only thing they reach. Default: port 8099 of the"
        " first address of `subnet`."
    ).tag(config=True)
    interface_cpu = Float(
        1.0,
        min=0,
        help="Most processor cores that an AVI's interface may use. What is reserved for it, usually less, is its share"
        " on a busy machine; 0 makes that the limit too. Default: 1.",
    ).tag(config=True)
    pids = Integer(
        256, min=16, help="Most processes and threads in one container. Default: 256."
    ).tag(config=True)
    files = Integer(
        4096, min=64, help="Most open files of one process in a container. Default: 4096."
    ).tag(config=True)
    tmp_size = Unicode(
        "256M", help="Size of `/tmp`, which counts as memory of the container. Default: 256M."
    ).tag(config=True)
    home_size = Unicode(
        "256M",
        help="Size of the scratch HOME of AVIs and jobs, which counts as memory of the container. Default: 256M.",
    ).tag(config=True)
    log_size = Unicode(
        "8M", help="Most bytes of output kept of one container, twice over. Default: 8M."
    ).tag(config=True)

    @validate("platform")
    def _check_platform(self, proposal: Any) -> str:
        value = str(proposal["value"])
        if not (value.isascii() and value.isalnum() and value.islower() and len(value) <= 10):
            raise TraitError("platform: at most 10 lower-case letters and digits")
        return value

    @default("gateway_url")
    def _default_gateway_url(self) -> str:
        return NetworkSettings(self.platform, self.subnet).gateway_url

    @validate("subnet")
    def _check_subnet(self, proposal: Any) -> str:
        try:
            first_host(str(proposal["value"]))
        except ValueError as e:
            raise TraitError(f"subnet: a network such as 10.213.0.0/20 is needed: {e}") from None
        return str(proposal["value"])

    @validate("tmp_size", "home_size", "log_size")
    def _check_size(self, proposal: Any) -> str:
        try:
            memory_bytes(proposal["value"])
        except InvalidInput as e:
            raise TraitError(f"{proposal['trait'].name}: {e.message}") from None
        return str(proposal["value"])

    @property
    def network(self) -> str:
        """Name of the network of user code."""
        return self.network_settings.name

    @property
    def network_settings(self) -> NetworkSettings:
        """The network as pure data; its gateway's port is that of `gateway_url`."""
        return NetworkSettings(self.platform, self.subnet, port_of(self.gateway_url))

    @property
    def settings(self) -> ContainerSettings:
        """The options as pure data."""
        return ContainerSettings(
            platform=self.platform,
            state=self.state_dir,
            images=dict(self.images),
            network=self.network,
            gateway=self.gateway_url,
            uid=self.uid,
            gid=self.gid,
            interface_cpu=self.interface_cpu,
            pids=self.pids,
            files=self.files,
            tmp_bytes=memory_bytes(self.tmp_size),
            home_bytes=memory_bytes(self.home_size),
            log_bytes=memory_bytes(self.log_size),
        )
