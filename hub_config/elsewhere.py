"""What is answered where no part of the platform serves: on hosts that are not the hub's own, and when a part is down.

The proxy sends the hub whatever it has no route for, so also every address of an AVI's host that the instance does not
serve, before, while and after it lives. Invariants: nothing here has a form, sets a cookie, reads one, or shows what
the request said; the one thing that leads on is a link or a redirect to the platform's own pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from gavip_api.isolation import ISOLATION_HEADERS
from gavip_api.slugs import is_technical

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
{again}<title>{title} · GAVIP</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1.5rem; }}
  h1 {{ font-size: 1.5rem; }}
  a {{ color: light-dark(#0f766e, #5eead4); }}
  a:focus-visible {{ outline: 3px solid; outline-offset: 2px; }}
</style>
<main>
  <h1>{title}</h1>
  <p>{cause}</p>
  <p><a href="{link}">{step}</a></p>
</main>
</html>
"""


def page(title: str, cause: str, step: str, link: str, *, refresh: str = "") -> str:
    """Return a page that stands on its own; `refresh` is what it does by itself (HTML, section 4.2.5.3)."""
    again = f'<meta http-equiv="refresh" content="{escape(refresh)}">\n' if refresh else ""
    return _PAGE.format(
        policy=escape(POLICY),
        again=again,
        title=escape(title),
        cause=escape(cause),
        step=escape(step),
        link=escape(link),
    )


@dataclass(frozen=True)
class Hosts:
    """Which host belongs to whom.

    Attributes
    ----------
    public_url : str
        The hub as browsers see it: scheme, host and port.
    hub_prefix : str
        Path of the hub's pages, with slashes at both ends.
    internal : frozenset of str
        ``host:port`` by which the platform's own programs reach the hub past the proxy.
    home : str
        Where people begin: the portal's first page, or the hub's.
    host_of : callable
        Name of a hub user to the host of their server.
    is_alive : callable
        Whether the server of a technical user runs or starts, by its host's label.
    """

    public_url: str
    hub_prefix: str
    internal: frozenset[str]
    home: str
    host_of: Callable[[str], str]
    is_alive: Callable[[str], bool]

    @property
    def domain(self) -> str:
        """The hub's own host name."""
        return urlsplit(self.public_url).hostname or ""

    def is_own(self, request: HTTPServerRequest) -> bool:
        """Whether a request was sent to the hub itself."""
        return request.host_name.lower() == self.domain or request.host.lower() in self.internal


class Elsewhere(RequestHandler):
    """Any request to a host that is not the hub's.

    Redirects people to the hub who ask for a JupyterLab that does not run, as the hub does itself; all else is a 404.
    """

    def initialize(self, hosts: Hosts) -> None:
        """Take the hosts."""
        self.hosts = hosts

    def set_default_headers(self) -> None:
        """Allow nothing."""
        self.clear_header("Server")
        for name, value in ISOLATION_HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", f"{POLICY}; frame-ancestors 'none'")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    def check_xsrf_cookie(self) -> None:
        """Nothing changes here; and the check would set a cookie."""

    def prepare(self) -> None:
        """Answer, whatever the method."""
        host = self.request.host_name.lower()
        person = self._person(host)
        if self.request.method in ("GET", "HEAD"):
            if person:
                path = self.request.uri.lstrip("/") if self.request.uri else ""
                self.redirect(f"{self.hosts.public_url}{self.hosts.hub_prefix}{path}")
                return
            if self.request.path == "/" and host == urlsplit(self.hosts.home).hostname:
                self.redirect(self.hosts.home)
                return
        self._nothing(host)

    def _person(self, host: str) -> str | None:
        match self.request.path.split("/"):
            case ["", "user", name, *_] if (
                not is_technical(name) and self.hosts.host_of(name) == host
            ):
                return name
        return None

    def _nothing(self, host: str) -> None:
        self.set_status(404)
        if "text/html" not in self.request.headers.get("Accept", ""):
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("There is nothing here.\n")
            return
        label = host.partition(".")[0]
        served = self.request.path.startswith(f"/user/{label}/")
        if is_technical(label) and served and self.hosts.is_alive(label):
            # a proxy that was just restarted is told its routes within seconds
            self.set_status(503)
            self.set_header("Retry-After", "3")
            text = page(
                "This AVI is not reachable right now",
                "The way to it is being set up. This page tries again by itself.",
                "Go to the portal",
                self.hosts.home,
                refresh="3",
            )
        elif is_technical(label):
            text = page(
                "This AVI is not running",
                "It was stopped, was idle for too long, or its user signed out. What it saved is in the user's files.",
                "Open it again from the catalogue",
                self.hosts.home,
            )
        else:
            text = page(
                "There is nothing at this address",
                "No part of GAVIP is served here.",
                "Go to the portal",
                self.hosts.home,
            )
        self.finish(text)


class Onward(RequestHandler):
    """The way from an AVI's page to the portal, for everybody, signed in or not.

    A page of an AVI can follow links to the hub and the portal, but no redirect from there
    (``Connection-Allowlist``), and both redirect people who must sign in. This page answers as it is, and leads on by
    itself.
    """

    def initialize(self, hosts: Hosts) -> None:
        """Take the hosts."""
        self.hosts = hosts

    def get(self) -> None:
        """Answer with the page."""
        home = self.hosts.home
        self.set_header("Content-Security-Policy", f"{POLICY}; frame-ancestors 'none'")
        self.set_header("Cache-Control", "no-store")
        self.finish(
            page(
                "To the portal",
                "You are taken to your catalogue.",
                "Go to the portal",
                home,
                refresh=f"0; url={home}",
            )
        )


class PartDown(RequestHandler):
    """What the proxy shows, on whichever host, when the part behind an address does not answer.

    It replaces the hub's own error page, which offers to sign in. The proxy hands on type and body alone, so the policy
    is in the page too.
    """

    def initialize(self, hosts: Hosts) -> None:
        """Take the hosts."""
        self.hosts = hosts

    def get(self, code: str) -> None:
        """Answer with the page; the proxy knows the status."""
        self.set_header("Content-Security-Policy", f"{POLICY}; frame-ancestors 'none'")
        self.finish(
            page(
                "This part of GAVIP does not answer",
                "It may be restarting, or it was just stopped. Try again in a moment.",
                "Go to the portal",
                self.hosts.home,
            )
        )
