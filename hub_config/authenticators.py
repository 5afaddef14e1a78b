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


class GavipLogoutHandler(LogoutHandler):
    """Sign-out that also stops the user's AVI instances, which the hub runs under other names."""

    async def default_handle_logout(self) -> None:
        """Stop instances while we still know who signs out, then do what the hub does."""
        await self._stop_instances()
        await super().default_handle_logout()

    async def _stop_instances(self) -> None:
        user, authenticator = self.current_user, self.authenticator
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
    """Mixin: refuses technical and reserved names, whatever the provider says; brings our sign-out."""

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
        """Return the authenticator's handlers with our sign-out before the hub's."""
        return [("/logout", GavipLogoutHandler), *super().get_handlers(app)]


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
