"""The edge of a tornado application: what browsers send is judged and what they get is completed, around all handlers.

Sibling sub-domains are *same-site*, and every one of them may set cookies for the whole domain (RFC 6265, section 8.6).
Code of an AVI runs in such a sibling, so host name and cookies say nothing by themselves. Invariants: with
:attr:`EdgeApplication.host_cookies` an application sees no cookie that another host could have set, and sets none that
another host gets to see; a request that a page of another origin sent changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tornado import httputil, web

HOST_PREFIX = "__Host-"
"""Browsers take a cookie of such a name from a host itself only, for that host only (RFC 6265bis, section 4.1.3.2)."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Guests = Literal["nobody", "visitors", "frames"]
"""Which requests of other origins are served: none; people who follow a link; also frames of other pages."""


def foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another origin sent the request (Fetch Metadata, section 2.3).

    Programs other than browsers send no such header, and pages cannot set it.
    """
    return headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def admits(method: str, headers: Mapping[str, str], guests: Guests) -> bool:
    """Whether a request may reach its handler.

    Parameters
    ----------
    method : str
        HTTP method.
    headers : mapping
        Its headers.
    guests : {"nobody", "visitors", "frames"}
        What other origins may ask for at that address.
    """
    if not foreign(headers):
        return True
    if method not in SAFE_METHODS or guests == "nobody":
        return False
    destinations = ("document",) if guests == "visitors" else ("document", "iframe")
    return (
        headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") in destinations
    )


def received_cookies(header: str) -> str:
    """Return the ``Cookie`` header that the application gets to see: host-bound cookies, each under both its names.

    Libraries name some cookies themselves (``_xsrf``); those carry the prefix in the browser alone.
    """
    found: dict[str, str] = {}
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.startswith(HOST_PREFIX):
            found.setdefault(name, value)
    return "; ".join(
        f"{name}={value}; {name.removeprefix(HOST_PREFIX)}={value}" for name, value in found.items()
    )


def sent_cookie(header: str) -> str:
    """Return a ``Set-Cookie`` header that binds the cookie to this host."""
    pair, *attributes = (part.strip() for part in header.split(";"))
    kept = [
        a for a in attributes if a.partition("=")[0].lower() not in ("domain", "path", "secure")
    ]
    name = pair if pair.startswith(HOST_PREFIX) else HOST_PREFIX + pair
    return "; ".join([name, *kept, "Path=/", "Secure"])


class _Connection:
    """The connection of one request, whose answer's headers are completed."""

    def __init__(self, inner: httputil.HTTPConnection, application: EdgeApplication) -> None:
        self._inner = inner
        self._application = application

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Any:
        self._application.leaving(headers)
        return self._inner.write_headers(start_line, headers, chunk)


class _Message(httputil.HTTPMessageDelegate):
    """One request, whose headers are judged first."""

    def __init__(self, inner: httputil.HTTPMessageDelegate, application: EdgeApplication) -> None:
        self._inner = inner
        self._application = application

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Any:
        self._application.entering(headers)
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()


class EdgeApplication(web.Application):
    """A tornado application with an edge.

    The rewriting is done on the connection, below the handlers: cookies are read and written by code of libraries, and
    tornado's own output transforms run before it adds ``Set-Cookie``.
    """

    host_cookies = False
    """Whether cookies are bound to the host. Browsers take such cookies over TLS, and from ``*.localhost``."""

    response_headers: Mapping[str, str] = {}
    """Headers that every answer carries unless its handler says otherwise."""

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Begin a request."""
        connection: Any = _Connection(request_conn, self)
        return _Message(super().start_request(server_conn, connection), self)

    def entering(self, headers: httputil.HTTPHeaders) -> None:
        """Change the headers of a request before anybody reads them."""
        if self.host_cookies and "Cookie" in headers:
            headers["Cookie"] = received_cookies("; ".join(headers.get_list("Cookie")))

    def leaving(self, headers: httputil.HTTPHeaders) -> None:
        """Change the headers of an answer before they are sent."""
        for name, value in self.response_headers.items():
            if name not in headers:
                headers[name] = value
        if self.host_cookies:
            _replace(headers, "Set-Cookie", map(sent_cookie, headers.get_list("Set-Cookie")))


def _replace(headers: httputil.HTTPHeaders, name: str, values: Iterable[str]) -> None:
    found = list(values)
    if name in headers:
        del headers[name]
    for value in found:
        headers.add(name, value)
