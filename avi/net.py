"""HTTP clients that reach ``*.localhost``.

Browsers map every ``*.localhost`` name to loopback (RFC 6761, section 6.3); glibc's resolver, and with it Python, does
not. The clients built here connect to 127.0.0.1 and keep the name in the Host header, by which the proxy routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    import httpx
    import requests

LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT = 10
READ_TIMEOUT = 600
"""Seconds; a synchronous query may keep quiet for long before its first byte."""


def is_localhost(host: str | None) -> bool:
    """Whether a host name is below ``.localhost``."""
    return host is not None and host.rstrip(".").lower().endswith(".localhost")


def loopback_url(url: str) -> tuple[str, str | None]:
    """Return the URL to connect to, and the Host header to send when they differ."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not is_localhost(parts.hostname):
        return url, None
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=LOOPBACK + port)), f"{parts.hostname}{port}"


def client(**options: Any) -> httpx.Client:
    """Return an ``httpx.Client`` that reaches ``*.localhost``; `options` are httpx's."""
    import httpx

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            # the Host header was set from the original URL when the request was built
            if request.url.scheme == "http" and is_localhost(request.url.host):
                request.url = request.url.copy_with(host=LOOPBACK)
            return super().handle_request(request)

    options.setdefault("transport", Transport())
    return httpx.Client(**options)


def session() -> requests.Session:
    """Return a ``requests.Session`` (what pyvo speaks) that reaches ``*.localhost``."""
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kw: Any) -> Any:
            if kw.get("timeout") is None:  # requests would wait for ever
                kw["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
            url, host = loopback_url(request.url or "")
            if host is not None:
                request.url = url
                request.headers["Host"] = host
            return super().send(request, *args, **kw)

    made = requests.Session()
    made.mount("http://", Adapter())
    made.mount("https://", Adapter())
    return made
