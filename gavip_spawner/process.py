"""The hub's spawner on the process back-end."""

from __future__ import annotations

import os
import sys

from jupyterhub.utils import random_port
from traitlets import default

from gavip_api.models import InstanceOptions

from .plane import ExecutionPlane
from .process_plane import ProcessPlane
from .server import GavipServer


class GavipProcessSpawner(GavipServer):
    """Start single-user servers and AVI instances as supervised local processes.

    This back-end does not isolate users from one another: use it to try GAVIP out, to write AVIs and in tests.
    """

    @default("cmd")
    def _default_cmd(self) -> list[str]:
        # containers and CI run the embedded default as root, which Lab refuses unless told
        as_root = ["--allow-root"] if os.geteuid() == 0 else []
        return [sys.executable, "-m", "jupyterhub.singleuser", *as_root]

    @default("ip")
    def _default_ip(self) -> str:
        return "127.0.0.1"

    @property
    def plane(self) -> ExecutionPlane:
        """The back-end."""
        return ProcessPlane(self.layout.plane)

    async def _run(self, options: InstanceOptions | None) -> tuple[str, int]:
        self.port = random_port()
        await self.plane.create(self._spec(options))
        await self.plane.start(self.process_name)
        return self.ip, self.port

    async def _exit_code(self) -> int | None:
        status = await self.plane.inspect(self.process_name)
        return (status.exit_code or 0) if status.over else None

    async def _end(self, now: bool) -> None:
        await self.plane.stop(self.process_name, grace=0 if now else self.stop_grace)
        await self.plane.remove(self.process_name)

    async def last_log_lines(self, lines: int = 20) -> str:
        """Return the end of the server's output, for operators."""
        _, size = await self.plane.read_log(self.process_name, 0, 0)
        tail, _ = await self.plane.read_log(self.process_name, max(0, size - 8192), 8192)
        return "\n".join(tail.decode(errors="replace").splitlines()[-lines:])
