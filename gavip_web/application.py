"""Base of the hub-managed services: configuration, serving, clean shutdown.

Invariants: the service binds to the address it was given and nothing wider; it reads its
credentials from the environment the hub sets; SIGTERM and SIGINT end open streams first, then
finish requests within a bound, then let resources go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.httpclient import JupyterHubHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.routing import URLSpec
from traitlets import Bool, Bytes, Float, Integer, TraitError, Unicode, default, validate
from traitlets.config import Application, Config

from . import logs
from .auth import HUB_CACHE_SECONDS, Authenticator, BrowserAuth, HubAuthenticator, TokenAuth
from .edge import EdgeApplication
from .handlers import (
    HealthHandler,
    MetricsHandler,
    NotFoundHandler,
    OAuthCallbackHandler,
    ReadyHandler,
)
from .metrics import Metrics
from .openapi import Api
from .sse import StreamRegistry

log = logging.getLogger("gavip.service")


class ServiceApp(Application):
    """A service of the platform.

    Subclasses set ``name``, ``browser`` and override :meth:`setup`, :meth:`api`, :meth:`pages`,
    :meth:`check_ready` and :meth:`teardown`.
    """

    browser = False
    """Whether browsers sign in here (OAuth cookie), or only tokens count."""

    config_file = Unicode(
        "", help="Python configuration file (traitlets); empty: none. Default: none."
    ).tag(config=True)

    bind_url = Unicode(
        help="Address to listen on, `http://host:port`. Default: JUPYTERHUB_SERVICE_URL,"
        " else 127.0.0.1 and the service's own port."
    ).tag(config=True)

    base_url = Unicode(
        help="Path under which the service is served, with slashes at both ends. Default:"
        " JUPYTERHUB_SERVICE_PREFIX, else `/services/<name>/`."
    ).tag(config=True)

    database_url = Unicode(
        help="SQLAlchemy URL of the service's database: `sqlite:///file` or"
        " `postgresql+psycopg://…`. The service sets the default."
    ).tag(config=True)

    hub_api_url = Unicode(
        help="Base URL of the hub's REST API. Default: JUPYTERHUB_API_URL, else"
        " http://127.0.0.1:8081/hub/api."
    ).tag(config=True)

    cookie_secret = Bytes(
        help="Secret that signs cookies, 32 bytes; sign-ins survive a restart only if it is kept."
        " Default: the environment variable GAVIP_COOKIE_SECRET (hex), else random."
    ).tag(config=True)

    trust_proxy_headers = Bool(
        help="Believe X-Forwarded-For and -Proto. Right behind the hub's proxy, wrong when clients"
        " connect directly. Default: true when the hub starts the service with a proxied URL."
    ).tag(config=True)

    max_body_bytes = Integer(
        1 << 20, min=1024, help="Largest request body, bytes. Default: 1048576."
    ).tag(config=True)

    shutdown_seconds = Float(
        5.0,
        min=0,
        help="How long running requests may take to finish at shutdown, seconds. Default: 5.",
    ).tag(config=True)

    log_json = Bool(
        False, help="Log JSON lines instead of text, for log collectors. Default: false."
    ).tag(config=True)

    default_port = 0
    """Port when neither the hub nor the configuration names one; 0: any free one."""

    aliases = {
        "config": "ServiceApp.config_file",
        "bind": "ServiceApp.bind_url",
        "db": "ServiceApp.database_url",
        "log-level": "Application.log_level",
    }

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @default("bind_url")
    def _default_bind_url(self) -> str:
        return os.environ.get("JUPYTERHUB_SERVICE_URL") or f"http://127.0.0.1:{self.default_port}"

    @validate("bind_url")
    def _check_bind_url(self, proposal: Any) -> str:
        parts = urlsplit(proposal["value"])
        if parts.scheme != "http" or not parts.hostname or parts.port is None:
            raise TraitError(f"bind_url must be http://host:port, not {proposal['value']!r}")
        return str(proposal["value"])

    @default("base_url")
    def _default_base_url(self) -> str:
        return os.environ.get("JUPYTERHUB_SERVICE_PREFIX") or f"/services/{self.name}/"

    @validate("base_url")
    def _check_base_url(self, proposal: Any) -> str:
        return f"/{proposal['value'].strip('/')}/".replace("//", "/")

    @default("hub_api_url")
    def _default_hub_api_url(self) -> str:
        return os.environ.get("JUPYTERHUB_API_URL") or "http://127.0.0.1:8081/hub/api"

    @default("cookie_secret")
    def _default_cookie_secret(self) -> bytes:
        # by environment, not by command line: argument lists are public on a shared machine
        kept = os.environ.get("GAVIP_COOKIE_SECRET", "")
        return bytes.fromhex(kept) if kept else secrets.token_bytes(32)

    @default("trust_proxy_headers")
    def _default_trust(self) -> bool:
        return bool(os.environ.get("JUPYTERHUB_SERVICE_URL"))

    @property
    def hub_token(self) -> str:
        """The service's own hub token, from the environment."""
        return os.environ.get("JUPYTERHUB_API_TOKEN", "")

    # -- what services override --

    async def setup(self) -> None:
        """Construct services and storage; called once, before anything is served; :attr:`port` is known."""

    def api(self) -> Api | None:
        """Return the routes below ``api/v1``, or None."""
        return None

    def pages(self) -> Sequence[URLSpec]:
        """Return further tornado rules, with full paths."""
        return ()

    def settings(self) -> dict[str, Any]:
        """Return further tornado settings."""
        return {}

    async def check_ready(self) -> None:
        """Raise :class:`gavip_api.errors.Unavailable` while the service cannot do its work."""

    async def collect_metrics(self) -> None:
        """Bring the service's own gauges up to date; called when somebody reads the metrics."""

    async def teardown(self) -> None:
        """Let resources go; called once, after the last request."""

    def make_authenticator(self) -> Authenticator:
        """Return who decides who calls."""
        return HubAuthenticator(self.hub_auth)

    # -- life --

    def initialize(self, argv: Any = None) -> None:
        """Read the command line and the configuration file (the command line wins)."""
        super().initialize(argv)
        if self.config_file:
            from_command_line = Config(self.config)
            self.load_config_file(self.config_file)
            self.update_config(from_command_line)
        level: Any = self.log_level
        logs.configure(level, as_json=self.log_json)

    def make_tornado(self) -> EdgeApplication:
        """Return the tornado application, built from the overridden parts."""
        base = self.base_url
        rules: list[URLSpec] = [
            URLSpec(base + "health", HealthHandler),
            URLSpec(base + "ready", ReadyHandler),
            URLSpec(base + "metrics", MetricsHandler),
        ]
        if self.browser:
            rules.append(URLSpec(base + "oauth_callback", OAuthCallbackHandler))
        api = self.api()
        if api is not None:
            rules.extend(api.rules(base + "api/v1"))
        rules.extend(self.pages())
        application = EdgeApplication(
            rules,
            default_handler_class=NotFoundHandler,
            cookie_secret=self.cookie_secret,
            hub_auth=self.hub_auth,
            authenticator=self.make_authenticator(),
            metrics=self.metrics,
            streams=self.streams,
            ready=self.check_ready,
            collect=self.collect_metrics,
            log_function=lambda handler: None,  # ServiceHandler.on_finish logs
            **self.settings(),
        )
        application.host_cookies = self.browser and self.hub_auth.cookie_host_prefix_enabled
        return application

    async def open(self) -> None:
        """Construct everything and listen; :attr:`port` is known afterwards."""
        auth_class = BrowserAuth if self.browser else TokenAuth
        self.hub_auth = auth_class(
            parent=self,
            base_url=self.base_url,
            api_url=self.hub_api_url,
            cache_max_age=HUB_CACHE_SECONDS,
        )
        self.metrics = Metrics(self.name)
        self.streams = StreamRegistry()
        parts = urlsplit(self.bind_url)
        # bound before set-up, which may need to know the port; connections wait in the backlog
        sockets = bind_sockets(parts.port or 0, parts.hostname)
        self.port: int = sockets[0].getsockname()[1]
        await self.setup()
        self.server = HTTPServer(
            self.make_tornado(),
            xheaders=self.trust_proxy_headers,
            max_body_size=self.max_body_bytes,
            max_buffer_size=max(self.max_body_bytes, 64 * 1024) + 64 * 1024,
            idle_connection_timeout=75,
            body_timeout=30,
        )
        self.server.add_sockets(sockets)
        log.info("%s listens on %s:%d%s", self.name, parts.hostname, self.port, self.base_url)

    async def close(self) -> None:
        """Stop listening, end streams, finish requests within the bound, let resources go."""
        self.server.stop()
        self.streams.stop_all()
        deadline = time.monotonic() + self.shutdown_seconds
        try:
            await asyncio.wait_for(self.streams.wait_empty(), max(0.1, self.shutdown_seconds))
            await asyncio.wait_for(
                self.server.close_all_connections(), max(0.1, deadline - time.monotonic())
            )
        except asyncio.TimeoutError:
            log.warning("some requests did not finish in time")
        await self.teardown()
        # the connections by which HubAuth asks the hub; it has one client per event loop and closes none
        await JupyterHubHTTPClient.loop_instance().close()
        log.info("%s stopped", self.name)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        await self.open()
        try:
            await stop.wait()
        finally:
            await self.close()

    def start(self) -> None:
        """Serve until told to stop; entry point of ``launch_instance``."""
        asyncio.run(self.run())
