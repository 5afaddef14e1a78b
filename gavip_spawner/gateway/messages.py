"""HTTP/1.1 messages (RFC 9112) as the gateway reads and writes them.

Invariants: a request is read completely by h11 and written anew from its events, so that the server sees the
framing that we saw; a connection carries one request, what follows it is never looked at; what clients say of
their address, and every header that concerns one connection only, ends here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from gavip_api.errors import BadRequest, GavipError

from .errors import EgressRefused, HeadTooLarge, VersionUnsupported
from .policy import Target

Header = tuple[bytes, bytes]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    b" transfer-encoding upgrade http2-settings expect content-length host".split()
)
_HOP_OF_ANSWER = frozenset(
    b"connection keep-alive proxy-authenticate proxy-connection upgrade alt-svc".split()
)
_WHO = re.compile(rb"(?:x-forwarded(?:-.*)?|forwarded|x-real-ip|x-scheme|via)\Z")
_AUTHORITY = re.compile(r"([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})\Z")
_MAX_RESPONSE_HEAD = 256 * 1024
_METHOD = re.compile(r"[A-Z]{1,20}\Z")


@dataclass(frozen=True)
class Head:
    """The head of a request.

    Parameters
    ----------
    target : Target
    origin_form : bytes
        Path and query for the server; empty for a tunnel.
    host : bytes
        The client's Host header.
    headers : tuple of (bytes, bytes)
        What is passed on.
    length : int or None
        Of the body, in bytes; None: chunked.
    waits : bool
        Whether the client waits for ``100 Continue`` (RFC 9110, section 10.1.1).
    """

    target: Target
    origin_form: bytes
    host: bytes
    headers: tuple[Header, ...]
    length: int | None = 0
    waits: bool = False

    @property
    def tunnel(self) -> bool:
        """Whether it is a CONNECT request."""
        return self.target.method == "CONNECT"


class RequestReader:
    """Reads one request.

    Parameters
    ----------
    own : str
        Host and port of the gateway, as in the Host header.
    max_head : int
        Bytes of the request line and all headers.
    max_headers : int
        Number of headers.
    """

    def __init__(self, own: str, max_head: int, max_headers: int) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=max_head)
        self._own = own.lower()
        self._max_head = max_head
        self._max_headers = max_headers
        self._fed = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived; empty: the client sends nothing more."""
        self._fed += len(data)
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError:
            raise _malformed() from None

    def head(self) -> Head | None:
        """Return the head, or None as long as it is not complete.

        Raises
        ------
        GavipError
            If it is malformed, too large, or asks for what the gateway does not do.
        """
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as e:
            if e.error_status_hint == 431:
                raise HeadTooLarge(
                    f"The head of a request may have {self._max_head} bytes.",
                    hint="Send long queries in the body of a POST.",
                ) from None
            raise _malformed() from None
        if event is h11.NEED_DATA:
            return None
        if isinstance(event, h11.ConnectionClosed):
            raise BadRequest("The client closed the connection.")
        if not isinstance(event, h11.Request):
            raise BadRequest("The gateway takes one request per connection.")
        return self._checked(event)

    def _checked(self, event: h11.Request) -> Head:
        method = event.method.decode("ascii")
        fields = [(bytes(name), bytes(value)) for name, value in event.headers]
        if len(fields) > self._max_headers:
            raise HeadTooLarge(f"A request may have {self._max_headers} headers.")
        if not _METHOD.match(method) or method == "TRACE":
            raise BadRequest("The gateway does not forward this method.")
        version = event.http_version
        if version != b"1.1" and not (version == b"1.0" and method == "CONNECT"):
            raise VersionUnsupported("The gateway speaks HTTP/1.1.", hint="Use HTTP/1.1.")
        named = dict(fields)
        # RFC 9112, section 6.3: a message with both is an attempt to smuggle another
        if b"transfer-encoding" in named and b"content-length" in named:
            raise BadRequest("Transfer-Encoding and Content-Length exclude each other.")
        if b"websocket" in named.get(b"upgrade", b"").lower():
            raise EgressRefused(
                "WebSockets do not pass the gateway.",
                hint="Use plain requests or server-sent events.",
            )
        target, origin_form = _target(method, event.target, self._own)
        chunked = b"transfer-encoding" in named
        length = None if chunked else int(named.get(b"content-length", b"0"))
        if target.method == "CONNECT" and length != 0:
            raise BadRequest("CONNECT has no body.")
        return Head(
            target,
            origin_form,
            named.get(b"host", b""),
            tuple(_passed_on(event.headers.raw_items())),
            length,
            self._h11.they_are_waiting_for_100_continue,
        )

    def body(self) -> tuple[bytes, bool] | None:
        """Return the next piece of the body and whether it was the last; None as long as there is none.

        Raises
        ------
        BadRequest
            If it is malformed, or ends too early.
        """
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError:
            raise _malformed() from None
        if isinstance(event, h11.Data):
            return bytes(event.data), False
        if isinstance(event, h11.EndOfMessage):
            return b"", True
        return None

    @property
    def rest(self) -> bytes:
        """What followed the request: the first bytes of a tunnel, else nobody's."""
        return self._h11.trailing_data[0]


class RequestWriter:
    """Writes the request that the server gets.

    Parameters
    ----------
    head : Head
    host : bytes
        Host header for the server.
    path : bytes
        Path and query for the server.
    forwarded_for : str
        The container's address, for the platform's own parts; empty: say nothing.
    """

    def __init__(self, head: Head, host: bytes, path: bytes, forwarded_for: str = "") -> None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_RESPONSE_HEAD)
        self._method = head.target.method
        headers: list[Header] = [(b"Host", host), *head.headers, (b"Connection", b"close")]
        if forwarded_for:
            headers.append((b"X-Forwarded-For", forwarded_for.encode("ascii")))
        if head.length is None:
            headers.append((b"Transfer-Encoding", b"chunked"))
        elif head.length or self._method in {"POST", "PUT", "PATCH"}:
            headers.append((b"Content-Length", str(head.length).encode("ascii")))
        request = h11.Request(method=self._method, target=path, headers=headers)
        self.start = self._h11.send(request) or b""

    def data(self, piece: bytes) -> bytes:
        """Return a piece of the body as it is sent."""
        return self._h11.send(h11.Data(data=piece)) or b""

    def end(self) -> bytes:
        """Return what ends the body. Trailers are dropped."""
        return self._h11.send(h11.EndOfMessage()) or b""

    def response(self, data: bytes) -> Response | None:
        """Take what the server sent; return its response once the head is complete.

        Raises
        ------
        h11.RemoteProtocolError
            If that is no HTTP.
        """
        self._h11.receive_data(data)
        event = self._h11.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = self._h11.next_event()
        if not isinstance(event, h11.Response):
            return None
        named = dict(event.headers)
        chunked = b"transfer-encoding" in named
        length = None
        if self._method == "HEAD" or event.status_code in {204, 304}:
            length = 0
        elif b"content-length" in named and not chunked:
            length = int(named[b"content-length"])
        dropped = _HOP_OF_ANSWER | ({b"content-length"} if chunked else frozenset())
        head = [b"HTTP/1.1 %d %s" % (event.status_code, event.reason)]
        head += [
            b"%s: %s" % (name, value)
            for name, value in event.headers.raw_items()
            if name.lower() not in dropped
        ]
        start = b"\r\n".join([*head, b"Connection: close", b"", b""])
        return Response(event.status_code, start, length, self._h11.trailing_data[0])


@dataclass(frozen=True)
class Response:
    """The beginning of a response.

    Parameters
    ----------
    status : int
    start : bytes
        Its head as the client gets it.
    length : int or None
        Of the body, in bytes; None: chunked, or until the server closes.
    rest : bytes
        What has come of the body, as it came.
    """

    status: int
    start: bytes
    length: int | None
    rest: bytes


def problem(error: GavipError, method: str = "") -> bytes:
    """Return a whole response that says what went wrong (RFC 9457).

    Clients show no more of a refused tunnel than the status line, so the reason stands there too.
    """
    body = b"" if method == "HEAD" else json.dumps(error.problem()).encode()
    reason = re.sub(r"[^ -~]", "?", f"{error.title}: {error.message}")[:200]
    return (
        f"HTTP/1.1 {error.status} {reason}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii") + body


def _malformed() -> BadRequest:
    # not in the library's words: they quote the message, secrets included
    return BadRequest("The request is no valid HTTP/1.1.")


def _passed_on(raw: Iterable[Header]) -> list[Header]:
    kept = [(bytes(name), bytes(value)) for name, value in raw]
    named = {
        token.strip().lower()
        for name, value in kept
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    return [
        (name, value)
        for name, value in kept
        if not (_is_dropped(name.lower()) or name.lower() in named)
    ]


def _is_dropped(name: bytes) -> bool:
    # servers that speak CGI or WSGI take an underscore for a dash
    return name in _HOP_BY_HOP or bool(_WHO.match(name.replace(b"_", b"-")))


def _target(method: str, raw: bytes, own: str) -> tuple[Target, bytes]:
    text = raw.decode("ascii", "replace")
    if method == "CONNECT":
        host, port = _authority(text)
        return Target(method, host, port), b""
    if text.startswith("/"):
        return Target(method, path=text.partition("?")[0]), raw
    scheme, _, rest = text.partition("://")
    if scheme.lower() != "http" or not rest:
        raise BadRequest(
            "The request's target is no path and no http URL.", hint="Use CONNECT for https."
        )
    authority, path = re.match(r"([^/?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    origin_form = path if path.startswith("/") else f"/{path}"
    if authority.lower() == own:
        return Target(method, path=origin_form.partition("?")[0]), origin_form.encode("ascii")
    host, port = _authority(authority if re.search(r":[0-9]+\Z", authority) else f"{authority}:80")
    target = Target(method, host, port, origin_form.partition("?")[0])
    return target, origin_form.encode("ascii", "replace")


def _authority(text: str) -> tuple[str, int]:
    match = _AUTHORITY.match(text)
    if match is None or not 0 < int(match[2]) < 65536:
        raise BadRequest("The request names no host and port.")
    return match[1].strip("[]").rstrip(".").lower(), int(match[2])
