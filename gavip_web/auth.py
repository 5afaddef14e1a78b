"""Who calls: hub tokens and the hub's OAuth cookie, resolved without blocking the loop.

Owns the :class:`Caller` and the :class:`Authenticator` interface. Invariants: a request that
carries an ``Authorization`` header is judged by that header alone; a cookie counts for an unsafe
method only together with its XSRF token; the hub is asked at most once per token and time-to-live,
however many requests arrive at once.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from jupyterhub.services.auth import HubAuth, HubOAuth, check_scopes
from tornado.web import HTTPError, RequestHandler

from gavip_api.errors import Forbidden, NotSignedIn
from gavip_api.slugs import is_technical

HUB_CACHE_SECONDS = 30
"""Seconds for which the hub's answer about a token is believed; a revoked token lives at most that much longer."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Parameters
    ----------
    name : str
        Name of the hub user or hub service.
    kind : {"user", "service"}
        Which of the two.
    scopes : frozenset of str
        Expanded scopes of the token.
    groups, roles : frozenset of str
        The hub's groups and roles, as far as the token may read them.
    admin : bool
        The hub's administrator flag.
    via : {"token", "cookie"}
        What authenticated the request.
    """

    name: str
    kind: Literal["user", "service"] = "user"
    scopes: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    admin: bool = False
    via: Literal["token", "cookie"] = "token"

    @property
    def is_technical(self) -> bool:
        """Whether this is the technical user of an AVI instance."""
        return self.kind == "user" and is_technical(self.name)

    def has_scope(self, scope: str) -> bool:
        """Whether the token carries `scope`, with the hub's rules for filters such as ``!user=``."""
        return bool(check_scopes({scope}, set(self.scopes)))

    @classmethod
    def from_hub_model(cls, model: dict[str, Any], via: Literal["token", "cookie"]) -> Caller:
        """Return the caller that the hub's ``GET /user`` describes."""
        return cls(
            name=model["name"],
            kind="service" if model.get("kind") == "service" else "user",
            scopes=frozenset(model.get("scopes") or ()),
            groups=frozenset(model.get("groups") or ()),
            roles=frozenset(model.get("roles") or ()),
            admin=bool(model.get("admin")),
            via=via,
        )


class Authenticator(Protocol):
    """Finds out who sent a request."""

    async def authenticate(self, handler: RequestHandler) -> Caller | None:
        """Return the caller, or None when the request carries no credentials.

        Raises
        ------
        NotSignedIn
            If it carries credentials that are not valid.
        Forbidden
            If a cookie came without its XSRF token.
        """
        ...


@dataclass
class _SingleFlight:
    """Joins concurrent questions about the same key into one."""

    running: dict[str, asyncio.Future[Any]] = field(default_factory=dict)

    async def do(self, key: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        task = self.running.get(key)
        if task is None:
            task = asyncio.ensure_future(ask())
            self.running[key] = task
            task.add_done_callback(lambda _: self.running.pop(key, None))
        # shielded: one client that hangs up must not cancel the answer the others wait for
        return await asyncio.shield(task)


class _OnceAtATime(HubAuth):
    """HubAuth whose concurrent look-ups of one token share a single question to the hub."""

    def user_for_token(
        self, token: str, use_cache: bool = True, session_id: str = "", *, sync: bool = True
    ) -> Any:
        """Return the user model of `token`, or None; awaitable unless `sync`."""
        ask = functools.partial(
            super().user_for_token, token, use_cache=use_cache, session_id=session_id, sync=False
        )
        if sync:
            return super().user_for_token(token, use_cache=use_cache, session_id=session_id)
        if not hasattr(self, "_flights"):
            self._flights = _SingleFlight()
        key = hashlib.sha256(f"{session_id}\0{token}".encode("utf8", "replace")).hexdigest()
        return self._flights.do(key, ask)


class TokenAuth(_OnceAtATime):
    """Hub tokens only: for services that no browser talks to."""


class BrowserAuth(_OnceAtATime, HubOAuth):
    """Hub tokens and the OAuth cookie of the service's own origin."""


class HubAuthenticator:
    """Asks the hub.

    Parameters
    ----------
    hub_auth : HubAuth
        :class:`TokenAuth` or :class:`BrowserAuth`.
    """

    def __init__(self, hub_auth: HubAuth) -> None:
        self.hub_auth = hub_auth

    async def authenticate(self, handler: RequestHandler) -> Caller | None:
        """Return the caller, or None when the request carries no credentials."""
        header = handler.request.headers.get("Authorization")
        if header is not None and not self.hub_auth.auth_header_pat.match(header):
            raise NotSignedIn(
                "The Authorization header is not understood.",
                hint="Send `Authorization: token <token>`.",
            )
        model = await self.hub_auth.get_user(handler, sync=False)
        by_token = bool(getattr(handler, "_token_authenticated", False))
        if header is not None and not by_token:
            raise NotSignedIn(
                "The token is not valid or has expired.",
                hint="Make a new token on the hub's token page.",
            )
        if model is None:
            self._explain_refused_cookie(handler)
            return None
        return Caller.from_hub_model(model, "token" if by_token else "cookie")

    def _explain_refused_cookie(self, handler: RequestHandler) -> None:
        # HubOAuth drops a cookie without XSRF token silently; "not signed in" would mislead
        if isinstance(self.hub_auth, HubOAuth) and self.hub_auth.get_token(handler):
            try:
                handler.check_xsrf_cookie()
            except HTTPError as e:
                raise Forbidden(
                    "The request lacks a valid XSRF token.",
                    hint="Reload the page and try again.",
                    detail={"reason": str(e.log_message)},
                ) from None


def check_caller(caller: Caller | None, scopes: tuple[str, ...]) -> Caller:
    """Return `caller` when it holds one of `scopes` (any signed-in caller when there are none).

    Raises
    ------
    NotSignedIn, Forbidden
    """
    if caller is None:
        raise NotSignedIn(
            "This needs a signed-in user.",
            hint="Sign in, or send a token in the Authorization header.",
        )
    if scopes and not any(caller.has_scope(scope) for scope in scopes):
        raise Forbidden(
            "Your credentials do not allow this.",
            hint="Use a token with the scope " + " or ".join(scopes) + ".",
        )
    return caller
