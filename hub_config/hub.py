"""The hub of the platform: ``python -m hub_config.hub``. JupyterHub, closed to what code in sibling sub-domains can do.

Invariants: the hub answers on its own host only; it sees and sets host-bound cookies only; requests that pages of other
origins send change nothing; whatever authenticator the operator chose, nobody has a technical or reserved name.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from jupyterhub import orm
from jupyterhub.apihandlers.users import UserAPIHandler, UserListAPIHandler
from jupyterhub.app import JupyterHub
from jupyterhub.handlers.pages import ProxyErrorHandler, SpawnHandler
from tornado.httputil import HTTPServerRequest
from traitlets import List, Unicode, default

from gavip_api.isolation import ISOLATION_HEADERS
from gavip_api.slugs import TECHNICAL_PREFIX, is_technical
from gavip_web.edge import EdgeApplication, Guests, admits

from .authenticators import guarded
from .elsewhere import Elsewhere, Hosts, Onward, PartDown
from .hub_handlers import AskedSpawnHandler, NamedUser, NamedUserList, Refused

REPLACED: dict[type[Any], type[Any]] = {
    SpawnHandler: AskedSpawnHandler,
    UserAPIHandler: NamedUser,
    UserListAPIHandler: NamedUserList,
    ProxyErrorHandler: PartDown,
}
"""The hub's handlers that ours stand in for, at the same addresses."""


class HubApplication(EdgeApplication):
    """The hub's tornado application with host and origin of each request checked first.

    Checked here, and not by routes of the proxy: the hub must get the requests of people's hosts whose JupyterLab does
    not run, and the proxy knows no wildcard hosts. Nor by tornado rules, for tornado serves static files on any host.
    """

    response_headers = {
        **ISOLATION_HEADERS,
        "Content-Security-Policy": "frame-ancestors 'none'",
        "Referrer-Policy": "same-origin",
    }

    def __init__(
        self, handlers: Any, hosts: Hosts | None, host_cookies: bool, **settings: Any
    ) -> None:
        super().__init__(handlers, **settings)
        self.hosts = hosts
        self.host_cookies = host_cookies

    def guests(self, path: str) -> Guests:
        """Return which requests of other origins an address takes."""
        prefix = self.settings["hub"].base_url
        if path == f"{prefix}api/oauth2/authorize":
            return "frames"  # the sign-in of a server that is shown in a frame passes here
        return "nobody" if path.startswith(f"{prefix}api/") else "visitors"

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return the handler, or one that refuses."""
        prefix = self.settings["hub"].base_url
        # the hub would send whoever signs in with ?next=/user/avi-… on to a page that the AVI made look like its own
        to_avi = request.path.startswith(f"{prefix}user/{TECHNICAL_PREFIX}")
        if self.hosts is not None and (to_avi or not self.hosts.is_own(request)):
            return self.get_handler_delegate(request, Elsewhere, {"hosts": self.hosts})
        if not admits(request.method or "", request.headers, self.guests(request.path)):
            return self.get_handler_delegate(request, Refused)
        return super().find_handler(request, **kwargs)


class GavipHub(JupyterHub):
    """JupyterHub with GAVIP's rules."""

    internal_hosts = List(
        Unicode(),
        help="""Further ``host:port`` by which programs of the platform reach the hub past the proxy, besides
        ``hub_bind_url``, ``hub_connect_url`` and loopback. All other hosts but the public one are answered with 404.
        Default: none.""",
    ).tag(config=True)

    @default("authenticator")
    def _guarded_authenticator(self) -> Any:
        return guarded(self.authenticator_class)(parent=self, _deprecated_db_session=self.db)

    def init_handlers(self) -> None:
        """Collect the handlers, ours in place of the hub's."""
        super().init_handlers()
        replaced = [(h[0], REPLACED.get(h[1], h[1]), *h[2:]) for h in self.handlers]
        self.handlers: list[Any] = [(f"{self.hub_prefix}onward", Onward), *replaced]

    def init_tornado_application(self) -> None:
        """Make the application."""
        hosts = self._hosts()
        handlers = [
            (pattern, handler, {"hosts": hosts})
            if handler in (PartDown, Onward)
            else (pattern, handler, *more)
            for pattern, handler, *more in self.handlers
        ]
        self.tornado_application = HubApplication(
            handlers,
            hosts if self.subdomain_host else None,
            self.cookie_host_prefix_enabled,
            **self.tornado_settings,
        )

    def _hosts(self) -> Hosts:
        public = self.hub.public_host or self.subdomain_host
        addresses = {urlsplit(url).netloc for url in (self.hub.bind_url, self.hub.url)}
        loopback = {f"{name}:{self.hub.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        home = self.default_url if isinstance(self.default_url, str) else ""
        return Hosts(
            public_url=public,
            hub_prefix=self.hub_prefix,
            internal=frozenset({*addresses, *loopback, *self.internal_hosts}),
            home=home if urlsplit(home).netloc else f"{public}{self.hub_prefix}",
            host_of=lambda name: self.subdomain_hook(name, self.domain, "user"),
            is_alive=self._is_alive,
        )

    def _is_alive(self, label: str) -> bool:
        known = orm.User.find(self.db, label) if is_technical(label) else None
        return known is not None and bool(self.users[known].spawner.ready)


main = GavipHub.launch_instance

if __name__ == "__main__":
    main()
