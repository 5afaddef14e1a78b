"""Kernels of an interface: where they work, what they load, how many there may be.

Invariants: a kernel's working folder is the AVI's own folder, never the release; every kernel loads ``avi.kernel``;
each page load starts a kernel, so kernels whose page has gone are stopped.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Integer, Unicode

KERNEL = "python3"
LAUNCHER = Path(__file__).with_name("launcher.py")


class AviKernelSpecManager(KernelSpecManager):
    """The one kernel of an AVI: Python, prepared by ``avi.kernel``.

    Notebooks name the kernel of their author's machine; whatever the name, this one runs (Voilà falls back by
    language).
    """

    def find_kernel_specs(self) -> dict[str, str]:
        """Return the one kernel, without looking through folders of the user."""
        return {KERNEL: ""}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the kernel's specification."""
        return KernelSpec(
            argv=[
                sys.executable,
                str(LAUNCHER),
                "-f",
                "{connection_file}",
                "--InteractiveShellApp.extra_extensions=avi.kernel",
                "--HistoryManager.enabled=False",
                # what avi.kernel writes to the real stderr is for the instance's log, not for the page
                "--IPKernelApp.capture_fd_output=False",
                "--IPKernelApp.log_level=ERROR",
            ],
            display_name="Python 3",
            language="python",
            metadata={"debugger": False},
        )

    def get_all_specs(self) -> dict[str, Any]:
        """Return the one kernel in the form of the REST API."""
        spec = self.get_kernel_spec(KERNEL)
        return {KERNEL: {"resource_dir": "", "spec": spec.to_dict()}}


class AviKernelManager(AsyncMappingKernelManager):
    """Kernels in the AVI's own folder."""

    work_dir = Unicode(
        config=True,
        help="Working folder of every kernel. Default: the AVI's own folder, set by the interface server.",
    )
    python_path = Unicode(
        config=True,
        help="Put before PYTHONPATH. Default: the folder of the release, set by the interface server.",
    )
    max_kernels = Integer(
        8,
        min=1,
        config=True,
        help="Most kernels at once; a new page stops the oldest that no page is connected to. Default: 8.",
    )

    @property
    def in_use(self) -> bool:
        """Whether a page is connected to a kernel, or a kernel works."""
        return any(
            self._kernel_connections.get(name) or kernel.execution_state == "busy"
            for name, kernel in self._kernels.items()
        )

    def cwd_for_path(self, path: str, **kwargs: Any) -> str:
        """Return the working folder, whatever the notebook's path."""
        return self.work_dir

    async def start_kernel(self, **kwargs: Any) -> str:  # type: ignore[override]
        """Start a kernel that can import the release's modules, making room first."""
        await self._make_room()
        given = kwargs.get("env") or dict(os.environ)
        paths = [self.python_path, given.get("PYTHONPATH", "")]
        kwargs["env"] = {
            **given,
            "PYTHONPATH": os.pathsep.join(p for p in paths if p),
            "PYTHONDONTWRITEBYTECODE": "1",  # the release is read-only
            "PLOOMBER_STATS_ENABLED": "false",
        }
        return str(await super().start_kernel(**kwargs))

    async def _make_room(self) -> None:
        while len(self._kernels) >= self.max_kernels:
            # dicts keep their order: the first is the oldest
            lonely = [k for k in self._kernels if not self._kernel_connections.get(k)]
            oldest = next(iter(lonely or self._kernels))
            self.log.warning("Stopping kernel %s: %d run already", oldest, len(self._kernels))
            await self.shutdown_kernel(oldest, now=True)  # type: ignore[no-untyped-call]
