"""The docker back-end around the platform's life: what must be there before it, what is taken away after it.

Invariants: a message names what is missing and the command that brings it; network and filter are there
before the first container is; only what belongs to this platform is ever stopped.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from gavip_api.errors import GavipError
from gavip_spawner.layout import StateLayout

from .parts import StartFailed, Steps
from .platform import ENVIRONMENT_VARIABLE, Platform

T = TypeVar("T")

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "images"
NEEDED = ("python", "lab")
"""Templates without which nothing works; the others are needed by AVIs that name them."""

_NO_LIVE_RESTORE = (
    "The engine does not keep containers while it restarts: a restart of Docker will end what runs.\n"
    'Put {"live-restore": true} into /etc/docker/daemon.json and restart Docker once.'
)


def configuration(platform: Platform) -> Config:
    """Return what the services are configured with, the operator's own file included."""
    os.environ[ENVIRONMENT_VARIABLE] = str(platform.file)
    loaded: Config = PyFileConfigLoader("services_config.py", str(HERE)).load_config()
    return loaded


def check_state(state: Path, backend: str) -> None:
    """Refuse to show people empty folders: the process back-end does not mount their disks.

    Raises
    ------
    StartFailed
    """
    if backend == "process" and any(StateLayout(state).disks.glob("*/*.img")):
        raise StartFailed(
            f"People's files in {state} are on disks of the docker back-end.\n"
            "Start it with --backend docker (make run BACKEND=docker), or use another state folder."
        )


def check() -> None:
    """Refuse early, in words, where containers cannot be run.

    Raises
    ------
    StartFailed
    """
    if sys.platform != "linux" or os.geteuid():
        raise StartFailed(
            "The docker back-end runs as root on Linux: it hands folders to the account of user code and\n"
            "filters the network of its containers. Run it with sudo, or in a container of its own\n"
            "(docs/how-to/run-with-docker.md), or try GAVIP without containers: make run"
        )
    try:
        import dockerspawner  # noqa: F401 - only whether it is there
    except ImportError:
        raise StartFailed(
            "The docker back-end needs packages that are not installed.\n"
            "Set them up with: make run BACKEND=docker   (or: pip install 'gavip[docker]')"
        ) from None


class DockerBackend:
    """The engine, for one platform.

    Parameters
    ----------
    platform : Platform
    """

    def __init__(self, platform: Platform) -> None:
        from gavip_spawner.containers import Containers
        from gavip_spawner.host import ContainerHost

        self._platform = platform
        self._config = configuration(platform)
        self._containers = Containers(config=self._config)
        self._host = ContainerHost(self._containers)

    def prepare(self, steps: Steps) -> None:
        """Make images, network and filter.

        Raises
        ------
        StartFailed
            With what to do.
        """
        with steps.step("docker: engine"):
            facts = _run(self._host.facts())
        if not facts.live_restore:
            click.secho(_NO_LIVE_RESTORE, fg="yellow")
        self._make_images()
        with steps.step("docker: network and filter"):
            _run(self._host.prepare())

    def _make_images(self) -> None:
        missing = _run(self._host.missing_images(NEEDED))
        if not missing:
            return
        ours = [i.split("/", 1)[1].split(":")[0] for i in missing if i.startswith("gavip/")]
        if len(ours) < len(missing) or not IMAGES.is_dir():
            raise StartFailed(
                f"The engine lacks {', '.join(missing)}.\n"
                "Build or load them first: make images   (or: docker load, docker pull)"
            )
        click.echo("  … docker: images (some minutes the first time)")
        argv = [sys.executable, "-m", "images.build", *ours]
        built = subprocess.run(argv, check=False, cwd=IMAGES.parent)  # noqa: S603 - our own script
        if built.returncode:
            raise StartFailed("The images could not be built (see above).")

    def stop(self) -> int:
        """Stop everything of the platform that runs; return how many jobs that were.

        Raises
        ------
        StartFailed
            If the engine does not answer.
        """
        return _run(self._stop())

    async def _stop(self) -> int:
        from traitlets.config import Configurable

        from gavip_spawner.disks import UserDisks
        from gavip_spawner.docker_plane import DockerPlane
        from gavip_spawner.plane import ProcessPhase
        from gavip_spawner.specs import LABEL_KIND

        plane = DockerPlane(self._platform.layout.plane, parent=Configurable(config=self._config))
        running = [s for s in await plane.find({}) if s.phase is ProcessPhase.RUNNING]
        jobs = [s for s in running if s.labels.get(LABEL_KIND) == "job"]
        # a job's outcome is kept for the queue; of a server nothing is needed any more
        await asyncio.gather(
            *(plane.stop(s.name, grace=2) if s in jobs else plane.remove(s.name) for s in running)
        )
        await plane.close()
        await self._host.clear()
        disks = UserDisks(config=self._config)
        if disks.enabled and (busy := await asyncio.to_thread(disks.unmount_all)):
            click.secho(f"Still in use: {', '.join(map(str, busy))}", fg="yellow")
        return len(jobs)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except GavipError as e:
        raise StartFailed(f"{e.message}\n{e.hint or ''}".rstrip()) from e
