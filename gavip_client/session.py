"""HTTP to one platform: its address, its token, and errors as ours.

Invariant: the token is sent to the platform's own address and to nothing else; redirects are not followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
from httpx_sse import EventSource, ServerSentEvent

from gavip_api.errors import GavipError, Unavailable

DEFAULT_URL = "http://portal.gavip.localhost:8000/services/portal/api/v1"
"""Where the embedded default serves its API."""


class PlatformError(GavipError):
    """The platform answered with a problem; code and hint are the platform's."""


class Session:
    """A connection to the public API.

    Parameters
    ----------
    url : str
        Base of the API, ending in ``/api/v1``.
    token : str
        Hub token with scope ``custom:portal:access``; empty for the open routes.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        base = self.url
        headers = {"Accept": "application/json"}
        if (parts.hostname or "").endswith(".localhost"):
            # RFC 6761, section 6.3: names below localhost are loopback, which glibc does not know
            port = f":{parts.port}" if parts.port else ""
            base = f"{parts.scheme}://127.0.0.1{port}{parts.path}"
            headers["Host"] = parts.netloc
        if token:
            headers["Authorization"] = f"token {token}"
        self._client = httpx.Client(base_url=base, headers=headers, timeout=30, trust_env=False)

    def request(
        self, method: str, path: str, *, query: dict[str, Any], body: Any = None
    ) -> httpx.Response:
        """Send one request.

        Raises
        ------
        PlatformError
            If the platform refuses, with its message and hint.
        Unavailable
            If nothing answers.
        """
        try:
            answer = self._client.request(method, path, params=query, json=body)
        except httpx.TransportError as e:
            raise self._down(e) from None
        self._check(answer)
        return answer

    def stream(self, path: str, *, query: dict[str, Any]) -> Iterator[ServerSentEvent]:
        """Yield server-sent events as they come (HTML standard, section 9.2)."""
        try:
            with self._client.stream(
                "GET", path, params=query, headers={"Accept": "text/event-stream"}, timeout=None
            ) as answer:
                if answer.is_error:
                    answer.read()
                    self._check(answer)
                for event in EventSource(answer).iter_sse():
                    if event.data:
                        yield event
        except httpx.TransportError as e:
            raise self._down(e) from None

    def _down(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(
            f"The platform at {self.url} does not answer ({type(error).__name__}).",
            hint="Start it with `gavip up`, or name another one with --url or GAVIP_URL.",
        )

    @staticmethod
    def _check(answer: httpx.Response) -> None:
        if not answer.is_error and not answer.is_redirect:
            return
        try:
            problem = answer.json()
        except json.JSONDecodeError:
            problem = {}
        message = problem.get("detail") if isinstance(problem, dict) else None
        hint = problem.get("hint") if isinstance(problem, dict) else None
        if answer.status_code in {401, 403} and not hint:
            hint = "Make a token on the hub's Token page and set GAVIP_TOKEN."
        raise PlatformError(message or f"The platform answered {answer.status_code}.", hint=hint)
