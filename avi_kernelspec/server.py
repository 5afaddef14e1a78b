"""The interface server: ``python -m avi_kernelspec.server``.

Owns the composition of native Voilà with the hub's sign-in, our kernels, headers and handlers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from jupyter_server.base.handlers import FileFindHandler
from jupyter_server.services.kernels.handlers import KernelHandler
from jupyter_server.utils import url_path_join
from jupyterhub._version import __version__ as hub_version
from jupyterlab_server.config import get_federated_extensions
from jupyterlab_server.themes_handler import ThemesHandler
from tornado import web
from traitlets import default
from traitlets.config import Config
from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import MultiStaticFileHandler, TemplateStaticFileHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.utils import get_voila_labextensions_path

from gavip_api.errors import GavipError, Unavailable

from . import activity, headers
from .auth import AviIdentityProvider, JupyterHubAuthorizer
from .extensions import for_pages
from .kernels import AviKernelManager, AviKernelSpecManager
from .pages import Health, Nothing, Page
from .settings import Settings, from_environment

KEPT = (
    KernelHandler,
    VoilaKernelWebsocketHandler,
    TemplateStaticFileHandler,
    MultiStaticFileHandler,
    ThemesHandler,
    VoilaShutdownKernelHandler,
    FileFindHandler,
)
"""Voilà's handlers that a page needs; all others (files, trees, contents, request info) are left out."""

CULL_IDLE = 600
"""Seconds after which a kernel that no page is connected to is stopped."""

DEATH_SEEN = 1.0
"""Seconds between two looks at whether a kernel's process lives."""


class AviVoila(Voila):
    """Voilà for one view, behind the hub's sign-in."""

    name = "voila"
    identity_provider_class = AviIdentityProvider
    authorizer_class = JupyterHubAuthorizer

    avi: Settings
    _last_request: datetime

    @default("config_file_paths")
    def _no_config_files(self) -> list[str]:
        # Voilà would read voila.json from the working folder, which the user can write
        return []

    def init_settings(self) -> dict[str, Any]:
        """Return tornado's settings, closed by default."""
        settings = super().init_settings()
        settings["headers"] = {
            "X-JupyterHub-Version": hub_version,
            **headers.security_headers(self.avi.frame_ancestors, self.avi.hub_origin),
        }
        settings["allow_unauthenticated_access"] = False
        # jupyter_server checks XSRF itself once the user is known; tornado's own check would run before that
        settings["xsrf_cookies"] = False
        settings["log_function"] = self._log_request
        return settings

    def _log_request(self, handler: web.RequestHandler) -> None:
        self._last_request = datetime.now(timezone.utc)
        level = logging.WARNING if handler.get_status() >= 500 else logging.DEBUG
        # no query string: it can carry the OAuth code
        self.log.log(
            level,
            "%s %s %s %.0f ms",
            handler.get_status(),
            handler.request.method,
            handler.request.path,
            1000 * handler.request.request_time(),
        )

    def init_handlers(self) -> list[Any]:
        """Return the handlers: an allow-list of Voilà's, and ours."""
        kept = [h for h in super().init_handlers() if h[1] in KEPT]
        own = self.identity_provider.get_handlers()
        page = {
            "notebook_path": str(self.avi.notebook.relative_to(self.avi.release_dir)),
            "template_paths": self.template_paths,
            "config": self.config,
            "voila_configuration": self.voila_configuration,
        }
        return [
            (url_path_join(self.base_url, "api/?"), Health),
            *own,
            *kept,
            (self.base_url.rstrip("/") + "/?", Page, page),
            (r".*", Nothing),
        ]

    def last_activity(self) -> datetime:
        """Return when a page or a kernel was last used: now, while a page is open or a kernel works."""
        if self.kernel_manager.in_use:
            return datetime.now(timezone.utc)
        kernel = self.kernel_manager.last_kernel_activity
        return max(self._last_request, kernel) if kernel else self._last_request

    def listen(self) -> None:
        """Bind the address, and nothing else: Voilà's own version would also run the event loop.

        Raises
        ------
        Unavailable
            If the address cannot be bound.
        """
        self._last_request = datetime.now(timezone.utc)
        self.app.add_transform(
            headers.transform(
                headers.security_headers(self.avi.frame_ancestors, self.avi.hub_origin)
            )
        )
        try:
            self.app.listen(self.port, self.ip)
        except OSError as e:
            raise Unavailable(
                f"{self.ip}:{self.port} cannot be used: {e.strerror}.", hint="Use another port."
            ) from None


def titled(title: str) -> Callable[..., None]:
    """Return Voilà's hook that gives the page the AVI's title instead of the notebook's file name."""

    def hook(handler: Any, notebook: Any, cwd: str) -> None:
        notebook.metadata["title"] = title

    return hook


def build_config(avi: Settings, extensions: Sequence[str]) -> Config:
    """Return Voilà's configuration for one view whose page loads the named Lab extensions; pure."""
    c = Config()
    c.Voila.open_browser = False
    c.Voila.ip = avi.ip
    c.Voila.port = avi.port
    c.Voila.port_retries = 0
    c.Voila.base_url = avi.base_url
    c.Voila.root_dir = str(avi.release_dir)
    c.Voila.log_level = "WARN"
    v = c.VoilaConfiguration
    v.template = avi.template
    v.theme = "light"
    v.allow_template_override = "NO"  # a page's URL must not choose another template
    v.allow_theme_override = "NO"
    # avi.kernel makes errors readable before they leave the kernel and the templates print no traceback at all; with
    # False Voilà would replace cause and next step by a sentence that tells users to restart the server
    v.show_tracebacks = True
    v.strip_sources = True
    v.file_allowlist = []
    v.http_keep_alive_timeout = 5
    v.multi_kernel_manager_class = AviKernelManager
    v.kernel_spec_manager_class = AviKernelSpecManager
    v.extension_allowlist = list(extensions)
    v.prelaunch_hook = titled(avi.title)
    v.resources = {
        "gavip": {"title": avi.title, "view": avi.notebook.stem, "catalogue": avi.catalogue}
    }
    c.AviKernelManager.work_dir = str(avi.work_dir)
    c.AviKernelManager.python_path = str(avi.release_dir)
    # a kernel that were started anew would know nothing of the page's widgets: the page says that it stopped instead
    c.KernelRestarter.restart_limit = 0
    c.KernelRestarter.time_to_dead = DEATH_SEEN
    c.MappingKernelManager.cull_idle_timeout = CULL_IDLE
    c.MappingKernelManager.cull_interval = 60
    c.MappingKernelManager.cull_connected = False
    c.VoilaExecutor.timeout = None
    return c


def build(avi: Settings) -> AviVoila:
    """Return the server, initialised and not yet listening."""
    installed = get_federated_extensions(get_voila_labextensions_path())
    app = AviVoila.instance(config=build_config(avi, for_pages(installed)))
    app.avi = avi
    app.notebook_path = str(avi.notebook)
    app.initialize([])
    return app


async def serve(app: AviVoila) -> None:
    """Serve until SIGTERM or SIGINT, then stop every kernel."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app.start()
    print(f"Serving {app.avi.notebook.name} at {app.connection_url}", file=sys.stderr, flush=True)
    reports = None
    if app.avi.activity_url:
        reports = asyncio.create_task(
            activity.report_forever(
                app.avi.activity_url, app.avi.token, app.avi.server_name, app.last_activity
            )
        )
    await stopped.wait()
    if reports is not None:
        reports.cancel()
    await app.kernel_manager.shutdown_all(now=True)
    shutil.rmtree(app.connection_dir, ignore_errors=True)


def main() -> int:
    """Serve the view that the environment names; return the exit status."""
    try:
        app = build(from_environment(os.environ))
        asyncio.run(serve(app))
    except GavipError as e:
        print(f"{e.title}: {e.message} {e.hint or ''}".rstrip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
