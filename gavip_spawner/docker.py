"""The hub's spawner on Docker: DockerSpawner, whose container is the one that our builder describes.

Invariants: the container is :func:`gavip_spawner.containers.container_spec` and nothing more; an
engine that does not answer has ended nothing.
"""

from __future__ import annotations

from typing import Any

from docker.errors import APIError, DockerException
from dockerspawner import DockerSpawner
from requests.exceptions import RequestException
from traitlets import default

from gavip_api.errors import Unavailable
from gavip_api.models import InstanceOptions

from .containers import Containers, container_name, container_spec
from .disks import UserDisks
from .folders import ready
from .placement import InContainer, Placement
from .server import GavipServer

_ENGINE_AWAY = (DockerException, RequestException)


class GavipSpawner(GavipServer, DockerSpawner):
    """Start single-user servers and AVI instances in containers of a Docker engine."""

    @default("cmd")
    def _default_cmd(self) -> list[str]:
        return [self.placement.python, "-m", "jupyterhub.singleuser"]

    @default("remove")
    def _default_remove(self) -> bool:
        return True

    @default("use_internal_ip")
    def _default_use_internal_ip(self) -> bool:
        return True

    @default("pull_policy")
    def _default_pull_policy(self) -> str:
        # images are built or loaded by operators, never fetched because somebody pressed Open
        return "skip"

    @default("network_name")
    def _default_network_name(self) -> str:
        return self.containers.network

    @property
    def containers(self) -> Containers:
        """The options that all containers share."""
        made: Containers = Containers(parent=self)
        if not made.state_dir:
            made.state_dir = self.state_dir
        return made

    @property
    def _disks(self) -> UserDisks:
        made: UserDisks = UserDisks(parent=self)
        if not made.state_dir:
            made.state_dir = self.state_dir
        return made

    @property
    def placement(self) -> Placement:
        """Inside a container."""
        return InContainer()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the names of the last start."""
        super().load_state(state)
        self._name_container()

    def _name_container(self) -> None:
        if self.process_name:
            self.object_name = container_name(self.containers.settings, self.process_name)

    def get_env(self) -> dict[str, str]:
        """Return what the hub tells a server; nothing of the hub's own environment."""
        environment = super().get_env()
        environment.pop("JUPYTER_IMAGE_SPEC", None)
        return environment

    async def _run(self, options: InstanceOptions | None) -> tuple[str, int]:
        self._name_container()
        spec = self._spec(options)
        settings = self.containers.settings
        self._to_create = container_spec(spec, settings)
        try:
            async with ready(spec, settings, self._disks):
                ip, port = await DockerSpawner.start(self)
        except APIError as e:
            self.log.error("%s was not started: %s", self.object_name, e.explanation)
            raise Unavailable(
                "The container engine refused to start it.",
                hint="Try again; an operator finds the reason in the hub's log.",
            ) from e
        except _ENGINE_AWAY as e:
            raise Unavailable(
                "The container engine does not answer.",
                hint="Try again in a minute; operators: is Docker running?",
            ) from e
        if not ip:
            # it ended before it had an address
            raise Unavailable(
                "The server ended while it was starting.",
                hint="Try again; an operator finds the reason in the hub's log.",
            )
        return ip, port

    async def create_object(self) -> Any:
        """Create the container that the builder described (narrow hook of DockerSpawner)."""
        spec = self._to_create
        host_config = self.client.create_host_config(**spec.host)
        return await self.docker("create_container", host_config=host_config, **spec.create)

    async def _exit_code(self) -> int | None:
        try:
            found = await self.get_object()
        except _ENGINE_AWAY as e:
            self.log.warning("%s: the engine does not answer: %s", self.object_name, e)
            return None
        if found is None:
            return 0
        state = found["State"]
        # paused counts as running; restarting does not occur
        return None if state["Running"] else int(state["ExitCode"]) or 0

    async def _end(self, now: bool) -> None:
        try:
            if await self.get_object() is None:
                return
            await self.docker("stop", self.object_id, timeout=0 if now else self.stop_grace)
            await self.remove_object()
        except APIError as e:
            if e.status_code not in {404, 409}:
                raise
        self.object_id: str = ""

    async def last_log_lines(self, lines: int = 20) -> str:
        """Return the end of the server's output, for operators."""
        try:
            text = await self.docker("logs", self.object_name, tail=lines)
        except _ENGINE_AWAY:
            return "(no log)"
        return bytes(text).decode(errors="replace")[-8192:]
