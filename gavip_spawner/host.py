"""What the Docker back-end needs of its machine before anything runs, and takes away when all has ended.

Invariant: with :meth:`ContainerHost.prepare` done, network, filter and images are there; a message names what is
missing and the command that brings it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from docker import APIClient

from gavip_api.errors import Unavailable

from .containers import Containers
from .engine import AWAY, Engine, NoSuchObject, away, connect
from .firewall import ensure_firewall, remove_firewall
from .network import NetworkUnusable, ensure_network, remove_network


@dataclass(frozen=True)
class EngineFacts:
    """What the engine says of itself.

    Parameters
    ----------
    version : str
        Of the engine.
    live_restore : bool
        Whether containers go on while the engine restarts (``live-restore`` in its ``daemon.json``).
    """

    version: str
    live_restore: bool


class ContainerHost:
    """The machine of one platform.

    Parameters
    ----------
    containers : Containers
        Its options.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._engine = Engine(threads=1)

    async def facts(self) -> EngineFacts:
        """Return what the engine says of itself.

        Raises
        ------
        Unavailable
            If it does not answer.
        """
        told = await self._engine.call(lambda client: client.info())
        return EngineFacts(str(told["ServerVersion"]), bool(told.get("LiveRestoreEnabled")))

    async def missing_images(self, templates: tuple[str, ...]) -> list[str]:
        """Return which of the images of `templates` the engine lacks."""
        missing = []
        for template in templates:
            image = self._containers.images.get(template, "")
            if not image or not await self._has(image):
                missing.append(image or template)
        return missing

    async def _has(self, image: str) -> bool:
        try:
            await self._engine.call(lambda client: client.inspect_image(image))
        except NoSuchObject:
            return False
        return True

    async def prepare(self) -> None:
        """Make network and filter; safe to repeat.

        Raises
        ------
        NetworkUnusable, FirewallFailed, Unavailable
        """
        settings = self._containers.network_settings
        await ensure_network(await self._client(), settings)
        await ensure_firewall(settings)

    async def clear(self) -> None:
        """Take network and filter away when nothing of the platform is left on the engine."""
        settings = self._containers.network_settings
        try:
            await remove_network(await self._client(), settings)
        except (NetworkUnusable, Unavailable):
            # something still runs there, and keeps its filter
            return
        await remove_firewall(settings)

    async def _client(self) -> APIClient:
        try:
            return await asyncio.to_thread(connect)
        except AWAY as e:
            raise away(e) from e

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()
