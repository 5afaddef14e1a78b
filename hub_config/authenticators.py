"""Who is who: the demo authenticator of ``make run``, and the rules that every authenticator of ours shares.

Invariants: nobody signs in under a technical or reserved name; signing out stops the user's AVI instances.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers.login import LogoutHandler
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.httputil import url_concat
from traitlets import Unicode

from gavip_api.slugs import user_name_fault

from .accounts import Accounts
from .hub_handlers import AskFirst, asked_by_ours


class SignOut(AskFirst, LogoutHandler):
    """Mixin for the handler of sign-out: also ends the user's AVI instances, which the hub runs under other names."""

    question = "Sign out?"
    answer = "Sign out"

    async def get(self) -> None:
        """Sign out when the person asked for it."""
        if self.current_user is not None and not asked_by_ours(self):
            await self.ask()
            return
        await super().get()

    async def default_handle_logout(self) -> None:
        """Do what the hub does, then tell the portal while we still know who signed out."""
        user = self.current_user
        await super().default_handle_logout()
        # after the hub revoked the session's tokens: the portal forgets them then, and must not learn them again
        await self._tell_portal(user)

    async def _tell_portal(self, user: Any) -> None:
        authenticator = self.authenticator
        if user is None or not authenticator.portal_api_url:
            return
        request = HTTPRequest(
            url_concat(f"{authenticator.portal_api_url}/instances", {"owner": user.name}),
            method="DELETE",
            headers={"Authorization": f"token {authenticator.portal_token}"},
            request_timeout=5,
        )
        try:
            await AsyncHTTPClient().fetch(request)
        except (HTTPError, OSError) as e:
            # a portal that is down must not keep anybody signed in; it reconciles when it is back
            self.log.warning("Instances of %s not stopped at sign-out: %s", user.name, e)


class GavipNames(Authenticator):
    """Mixin: refuses technical and reserved names, whatever the provider says; adds to its sign-out."""

    portal_api_url = Unicode(
        help="""Base URL of the portal's ``/api/v1``, to stop instances at sign-out. Default: empty, not told."""
    ).tag(config=True)
    portal_token = Unicode(
        help="""Hub token with scope ``custom:portal:operate``, used for that. Default: empty."""
    ).tag(config=True)

    async def get_authenticated_user(self, handler: Any, data: Any) -> Any:
        """Return the user model, or None when the name may not sign in."""
        model = await super().get_authenticated_user(handler, data)
        if model is not None and (fault := user_name_fault(model["name"])):
            self.log.warning("Refused sign-in of %r: %s", model["name"], fault)
            return None
        return model

    def get_handlers(self, app: Any) -> list[Any]:
        """Return the authenticator's handlers, with our sign-out around its own or the hub's."""
        theirs = super().get_handlers(app)
        if not any(issubclass(handler, LogoutHandler) for _, handler, *_ in theirs):
            theirs = [*theirs, ("/logout", LogoutHandler)]
        return [
            (path, _around(SignOut, handler), *more)
            if issubclass(handler, LogoutHandler)
            else (path, handler, *more)
            for path, handler, *more in theirs
        ]


def _around(mixin: type[Any], cls: type[Any]) -> type[Any]:
    return cls if issubclass(cls, mixin) else type(f"Gavip{cls.__name__}", (mixin, cls), {})


def guarded(authenticator: type[Authenticator]) -> type[Authenticator]:
    """Return an authenticator class with our rules around it, whichever the operator configured.

    Its configuration stays that of the class: traitlets looks at the sections of all bases. A hook of the base class
    (``post_auth_hook``) would be lost as soon as somebody sets their own.
    """
    return _around(GavipNames, authenticator)


class DemoAuthenticator(GavipNames):
    """Accounts of ``make run``: one per role, for trying GAVIP out."""

    accounts_file = Unicode(
        help="""Path of the accounts file made by ``gavip up``. No default: must be set."""
    ).tag(config=True)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        """Check name and password; roles become groups."""
        name = data.get("username", "")
        accounts = Accounts(Path(self.accounts_file))
        roles = await asyncio.to_thread(accounts.check, name, data.get("password", ""))
        return None if roles is None else {"name": name, "groups": roles}
