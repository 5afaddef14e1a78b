"""Handlers that stand in for the hub's own: who may ask for what has an effect, and which names may be given.

Invariants: a link or a window of another origin starts and ends nothing by itself; only the portal makes technical
users, and nobody gives a person a technical or reserved name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.apihandlers.users import UserAPIHandler, UserListAPIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.pages import SpawnHandler
from tornado.web import HTTPError, RequestHandler

from gavip_api.scopes import HUB_TECHNICAL_USERS
from gavip_api.slugs import is_technical, user_name_fault
from gavip_web.edge import foreign


def origin(url: str) -> str:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Refused(RequestHandler):
    """What a page of another origin asked for and may not have."""

    def check_xsrf_cookie(self) -> None:
        """Nothing changes here."""

    def prepare(self) -> None:
        """Refuse."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("Only the platform's own pages may ask for this.\n")


def asked_by_ours(handler: BaseHandler) -> bool:
    """Whether a navigation comes from a page of ours: the hub, a service, or the person's own JupyterLab.

    Sec-Fetch-Site calls every sibling sub-domain the same, AVIs included; so the origin in ``Referer`` counts, which
    pages can leave out but not forge (Fetch, section 4.1.5).
    """
    if not foreign(handler.request.headers):
        return True
    trusted = {service.host for service in handler.services.values() if service.host}
    user = handler.current_user
    if user is not None:
        trusted.add(user.host)
    return origin(handler.request.headers.get("Referer", "")) in trusted


class AskFirst(BaseHandler):
    """For handlers whose GET has an effect: asks the person when another origin sent them here."""

    question = ""
    """What the person is asked."""
    answer = ""
    """What the link says that goes on."""

    async def ask(self) -> None:
        """Show the question; going on is a link, and so a request of our own origin."""
        html = await self.render_template(
            "ask_first.html", question=self.question, answer=self.answer, here=self.request.path
        )
        self.finish(html)


class AskedSpawnHandler(AskFirst, SpawnHandler):
    """The hub's page that starts JupyterLab."""

    question = "Start your JupyterLab?"
    answer = "Start JupyterLab"

    async def get(self, user_name: str | None = None, server_name: str = "") -> None:
        """Start, or show the form."""
        if self.current_user is not None and not asked_by_ours(self):
            # without the query, which may hold options of the start
            await self.ask()
            return
        waiting = super().get(user_name, server_name)
        if waiting is not None:
            await waiting


class _Named:
    """Checks names that people are to get."""

    authenticator: Any
    has_scope: Any

    def check_names(self, names: Iterable[Any]) -> None:
        """Refuse technical and reserved names.

        Raises
        ------
        tornado.web.HTTPError
            403 with the reason.
        """
        for given in names:
            name = self.authenticator.normalize_username(given) if isinstance(given, str) else ""
            fault = user_name_fault(name)
            if fault and not (is_technical(name) and self.has_scope(HUB_TECHNICAL_USERS)):
                raise HTTPError(403, fault)


class NamedUserList(_Named, UserListAPIHandler):
    """``/users``."""

    async def post(self) -> None:
        """Create users."""
        body = self.get_json_body()
        names = body.get("usernames") if isinstance(body, dict) else None
        self.check_names(names if isinstance(names, list) else [])
        await super().post()


class NamedUser(_Named, UserAPIHandler):
    """``/users/{name}``."""

    async def post(self, user_name: str) -> None:
        """Create a user."""
        self.check_names([user_name])
        await super().post(user_name)

    async def patch(self, user_name: str) -> None:
        """Change a user."""
        body = self.get_json_body()
        name = body.get("name", user_name) if isinstance(body, dict) else user_name
        if name != user_name:
            # neither into such a name nor out of it: its files, jobs and shares go by it
            self.check_names([name, user_name])
            if is_technical(user_name) or is_technical(name):
                raise HTTPError(403, "Technical users keep their names.")
        await super().patch(user_name)
