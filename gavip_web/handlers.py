"""Base handlers: the one place where requests are authenticated, parsed and answered, and where errors are rendered.

Invariants: every error of every handler passes :meth:`ServiceHandler.write_error`; bodies are JSON,
checked by a pydantic model; an unsafe request that a cookie authenticates carries its XSRF token
(checked in :mod:`gavip_web.auth`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from pydantic import BaseModel, ValidationError
from tornado.escape import xhtml_escape
from tornado.web import HTTPError, RequestHandler

from gavip_api.errors import BadRequest, Forbidden, GavipError, NotFound
from gavip_api.isolation import ISOLATION_HEADERS

from .auth import Authenticator, Caller, check_caller
from .edge import Guests, admits
from .logs import REQUEST_ID_HEADER, adopt_request_id, request_id
from .metrics import Metrics
from .problems import UnsupportedMediaType, from_validation, to_error
from .sse import EventStream, StreamRegistry

log = logging.getLogger("gavip.web")

ModelT = TypeVar("ModelT", bound=BaseModel)

PROBLEM_JSON = "application/problem+json"
API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'"
)


class ServiceHandler(HubOAuthenticated, RequestHandler):
    """What all handlers share: request id, security headers, caller, errors, metrics.

    Class attributes
    ----------------
    authenticated : bool
        Whether the caller is looked up before the method runs. Handlers with credentials of their
        own set it to False.
    guests : {"nobody", "visitors", "frames"}
        Which requests that a browser sends for pages of other origins are served; see :mod:`gavip_web.edge`.
    """

    authenticated = True
    guests: Guests = "nobody"
    referrer_policy = "same-origin"
    caller: Caller | None = None

    def initialize(self) -> None:
        """Start the clock of the request."""
        self._started = time.monotonic()

    # -- what the application gives us --

    @property
    def hub_auth(self) -> Any:
        """The service's HubAuth, for the XSRF and OAuth machinery of jupyterhub."""
        return self.settings["hub_auth"]

    @property
    def metrics(self) -> Metrics:
        """Metrics of the service."""
        return self.settings["metrics"]

    # -- before the method --

    def content_security_policy(self) -> str:
        """Return the Content-Security-Policy of the answer; pages override it."""
        return API_POLICY

    def set_default_headers(self) -> None:
        """Set headers that every answer carries, errors included."""
        # tornado calls this first of all, so that the id exists for whatever is logged later
        self.request_id = adopt_request_id(self.request.headers.get(REQUEST_ID_HEADER))
        self.set_header(REQUEST_ID_HEADER, self.request_id)
        self.clear_header("Server")
        for name, value in ISOLATION_HEADERS.items():
            self.set_header(name, value)
        self.set_header("Referrer-Policy", self.referrer_policy)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", self.content_security_policy())

    async def prepare(self) -> None:
        """Find out who calls, before any method runs."""
        request_id.set(self.request_id)
        self.check_origin()
        if self.authenticated:
            authenticator: Authenticator = self.settings["authenticator"]
            self.caller = await authenticator.authenticate(self)

    def check_origin(self) -> None:
        """Refuse what a page of another origin asked for.

        Sibling sub-domains send our cookies along (they are same-site), and AVIs live in them. Whoever has a token
        needs no cookie.

        Raises
        ------
        Forbidden
            If the browser says so.
        """
        if "Authorization" in self.request.headers:
            return
        if not admits(self.request.method or "", self.request.headers, self.guests):
            raise Forbidden(
                "Only pages of this origin may ask for this.", hint="Open it from the portal."
            )

    def get_current_user(self) -> Any:
        """Return what :meth:`prepare` found; never asks the hub (jupyterhub's own would block the loop)."""
        return self.caller

    @property
    def signed_in(self) -> Caller:
        """The caller.

        Raises
        ------
        NotSignedIn
            If there is none.
        """
        return check_caller(self.caller, ())

    def check_xsrf_cookie(self) -> None:
        """Check the XSRF token of cookie-authenticated requests, with jupyterhub's rules and one relaxation.

        A read that the browser itself says comes from our own origin (``Sec-Fetch-Site:
        same-origin``, a header that pages cannot set) needs no token: EventSource cannot send one.
        jupyterhub is stricter as its users may share an origin; every service of ours has its own
        (design: sub-domains).
        """
        safe = self.request.method in ("GET", "HEAD", "OPTIONS")
        if safe and self.request.headers.get("Sec-Fetch-Site") == "same-origin":
            return
        super().check_xsrf_cookie()

    # -- reading the request --

    def body(self, model: type[ModelT]) -> ModelT:
        """Return the request's JSON body as `model`.

        Parameters
        ----------
        model : type of pydantic.BaseModel
            What the body must be.

        Raises
        ------
        UnsupportedMediaType
            If the body is not declared as JSON. Browsers cannot send that cross-site without a
            preflight.
        BadRequest
            If it is not JSON.
        InvalidInput
            If it is not a valid `model`; ``detail`` has a message per field.
        """
        content_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip()
        if content_type.lower() != "application/json":
            raise UnsupportedMediaType(
                f"The body must be JSON, not {content_type[:80] or 'undeclared'}.",
                hint="Send `Content-Type: application/json`.",
            )
        try:
            return model.model_validate_json(self.request.body)
        except ValidationError as e:
            if any(fault["type"] == "json_invalid" for fault in e.errors(include_url=False)):
                raise BadRequest("The body is not valid JSON.") from None
            raise from_validation(e) from None

    def query(self, model: type[ModelT]) -> ModelT:
        """Return the query parameters as `model`; a parameter given several times becomes a list.

        Raises
        ------
        InvalidInput
            If they are not a valid `model`.
        """
        values: dict[str, Any] = {}
        for name in self.request.query_arguments:
            if name == "_xsrf":
                continue
            given = self.get_query_arguments(name)
            values[name] = given if len(given) > 1 else given[0]
        # repeated parameters declared as sequences may also be given once
        for name, info in model.model_fields.items():
            key = info.alias or name
            if isinstance(values.get(key), str) and "tuple" in str(info.annotation):
                values[key] = [values[key]]
        try:
            return model.model_validate(values)
        except ValidationError as e:
            raise from_validation(e, "query") from None

    # -- answering --

    def reply(self, content: BaseModel | dict[str, Any], status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        if isinstance(content, BaseModel):
            self.finish(content.model_dump_json(by_alias=True))
        else:
            self.finish(json.dumps(content))

    def no_content(self) -> None:
        """Answer 204."""
        self.set_status(204)
        self.clear_header("Content-Type")
        self.finish()

    def event_stream(self) -> EventStream:
        """Return a server-sent event stream on this request; use it as ``async with``."""
        registry: StreamRegistry = self.settings["streams"]
        return EventStream(self, registry)

    def on_connection_close(self) -> None:
        """Tell an open stream that its reader has gone."""
        stream = getattr(self, "_event_stream", None)
        if stream is not None:
            stream.stop()

    # -- errors, logs --

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what nobody foresaw with its traceback, and nothing else."""
        if not isinstance(value, (GavipError, HTTPError)):
            log.error("unexpected fault", exc_info=(typ, value, tb))
        elif isinstance(value, HTTPError) and value.status_code >= 500:
            log.warning("upstream fault: %s", value.log_message)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Render any error; the one place where that happens."""
        exc_info = kwargs.get("exc_info")
        exception = exc_info[1] if exc_info else None
        # a ValidationError that arrives here is about our data: body() and query() convert the caller's
        error = to_error(exception, status_code, self.request_id)
        self.set_status(error.status, error.title)
        if error.status == 401:
            self.set_header("WWW-Authenticate", "token")
        if error.status in (429, 503) and "Retry-After" not in self._headers:
            self.set_header("Retry-After", "5")
        self.render_error(error)

    def render_error(self, error: GavipError) -> None:
        """Answer with `error` as problem details (RFC 9457); pages override it."""
        self.set_header("Content-Type", PROBLEM_JSON)
        self.finish(json.dumps(error.problem() | {"request": self.request_id}, default=str))

    def on_finish(self) -> None:
        """Count and log the request."""
        seconds = time.monotonic() - self._started
        name, method, status = type(self).__name__, self.request.method or "", self.get_status()
        self.metrics.requests.labels(name, method, str(status)).inc()
        if getattr(self, "_event_stream", None) is None:
            self.metrics.seconds.labels(name, method).observe(seconds)
        caller = f"{self.caller.kind}:{self.caller.name}" if self.caller else ""
        log.log(
            logging.WARNING if status >= 500 else logging.INFO,
            "%s %s %d",
            method,
            urlsplit(self.request.uri or "").path[:200],
            status,
            extra={"fields": {"ms": round(seconds * 1000, 1), "caller": caller}},
        )


class ApiHandler(ServiceHandler):
    """Base of JSON resources."""


class PageHandler(ServiceHandler):
    """Base of HTML pages: redirects people who are not signed in to the hub; renders errors as HTML.

    Class attributes
    ----------------
    page_scopes : tuple of str
        The caller needs one of these; empty means any signed-in person.
    """

    page_scopes: tuple[str, ...] = ()
    guests = "visitors"
    # the hub tells our links from those of AVIs by the origin that the browser names
    referrer_policy = "strict-origin-when-cross-origin"

    def content_security_policy(self) -> str:
        """Return the policy of pages: everything from their own origin."""
        return PAGE_POLICY

    async def prepare(self) -> None:
        """Find the caller, or send the browser to sign in."""
        await super().prepare()
        if self.caller is None and self.request.method in ("GET", "HEAD"):
            # HubOAuthenticated adds state cookie and PKCE challenge to the URL
            self.redirect(self.get_login_url())
            return
        check_caller(self.caller, self.page_scopes)

    def render_error(self, error: GavipError) -> None:
        """Answer with a minimal page; services override it with their own template."""
        hint = f"<p>{xhtml_escape(error.hint)}</p>" if error.hint else ""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(
            f'<!doctype html><html lang="en"><title>{xhtml_escape(error.title)}</title>'
            f'<main role="alert"><h1>{xhtml_escape(error.title)}</h1>'
            f"<p>{xhtml_escape(error.message)}</p>{hint}</main></html>"
        )


class OAuthCallbackHandler(PageHandler, HubOAuthCallbackHandler):
    """Ends the sign-in: checks state, swaps the code for a token, sets the cookie."""

    authenticated = False

    async def prepare(self) -> None:
        """Look for an existing session only; the callback itself is what signs in."""
        self.check_origin()
        self.caller = await self.settings["authenticator"].authenticate(self)

    def get(self) -> Awaitable[None]:
        """Finish the OAuth flow (RFC 6749, section 4.1.2) as jupyterhub implements it."""
        result: Awaitable[None] = HubOAuthCallbackHandler.get(self)
        return result


class HealthHandler(ServiceHandler):
    """``/health``: the process answers."""

    authenticated = False

    async def get(self) -> None:
        """Answer without touching anything."""
        self.reply({"status": "ok"})


class ReadyHandler(ServiceHandler):
    """``/ready``: the service can do its work."""

    authenticated = False

    async def get(self) -> None:
        """Run the service's readiness check; 503 when it fails."""
        await self.settings["ready"]()
        self.reply({"status": "ready"})


class MetricsHandler(ServiceHandler):
    """``/metrics`` in the Prometheus text format, for holders of the hub's own ``read:metrics`` scope."""

    async def get(self) -> None:
        """Answer with all metrics."""
        check_caller(self.caller, ("read:metrics",))
        await self.settings["collect"]()
        self.set_header("Content-Type", self.metrics.content_type)
        self.finish(self.metrics.render())


class NotFoundHandler(ServiceHandler):
    """Everything that no route matches."""

    authenticated = False

    async def prepare(self) -> None:
        """Refuse."""
        raise NotFound("There is nothing at this address.")


__all__ = [
    "ApiHandler",
    "NotFoundHandler",
    "OAuthCallbackHandler",
    "PageHandler",
    "ServiceHandler",
]
