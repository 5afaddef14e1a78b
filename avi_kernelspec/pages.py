"""Handlers of our own: health, and the one page.

Invariant: the page's handler takes no path: nothing of the release is reachable by URL.
"""

from __future__ import annotations

from jupyterhub._version import __version__ as hub_version
from tornado import web
from voila.tornado.handler import TornadoVoilaHandler


class Health(web.RequestHandler):
    """Liveness for the hub and the spawner: says that the server answers, and nothing else.

    The hub polls ``{base_url}api`` without credentials and compares ``X-JupyterHub-Version``.
    """

    def get(self) -> None:
        """Answer."""
        self.set_header("X-JupyterHub-Version", hub_version)
        self.set_header("Cache-Control", "no-store")
        self.write({"status": "ok"})


class Page(TornadoVoilaHandler):
    """The view."""

    @web.authenticated
    async def get(self, path: str | None = None) -> None:
        """Stream the page while its notebook runs."""
        async for html in self.get_generator(path=None):
            self.write(html)
            await self.flush()


class Nothing(web.RequestHandler):
    """Whatever is not served: a plain 404, the same with and without sign-in."""

    def prepare(self) -> None:
        """Refuse."""
        self.set_status(404)
        self.finish("There is nothing here.\n")
