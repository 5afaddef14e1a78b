"""Fetches uploads that are given as URLs, from the addresses the operator listed and from nowhere else.

The list is the defence against server-side request forgery: it names prefixes of URLs, compared after parsing.
Redirects are not followed, credentials and dot segments in a URL are refused, size and time are bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, unquote, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from .errors import UploadError
from .limits import Limits

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TIMEOUT = 20.0


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    return (
        parts.scheme.lower(),
        (parts.hostname or "").lower(),
        parts.port or _DEFAULT_PORTS.get(parts.scheme.lower()),
    )


class UploadFetcher:
    """Fetches from allowed URL prefixes.

    Parameters
    ----------
    allowed : iterable of str
        Prefixes such as ``https://data.example.org/tables/``.
    limits : Limits
        Bound on the size.
    """

    def __init__(self, allowed: Iterable[str], limits: Limits) -> None:
        self._allowed = tuple(urlsplit(prefix) for prefix in allowed)
        self._limits = limits

    @property
    def enabled(self) -> bool:
        """Whether any address is allowed."""
        return bool(self._allowed)

    @property
    def schemes(self) -> frozenset[str]:
        """The URL schemes of the allowed addresses."""
        return frozenset(prefix.scheme.lower() for prefix in self._allowed)

    def check(self, url: str) -> None:
        """Check an address against the list.

        Raises
        ------
        UploadError
            When it is not allowed.
        """
        try:
            parts = urlsplit(url)
            origin = _origin(parts)
        except ValueError as error:
            raise UploadError("The address of an upload is malformed.") from error
        path = unquote(parts.path)
        clean = (
            ".." not in path.split("/")
            and "\\" not in path
            and parts.username is None
            and parts.password is None
        )
        for prefix in self._allowed:
            folder = prefix.path if prefix.path.endswith("/") else f"{prefix.path}/"
            if (
                clean
                and origin == _origin(prefix)
                and (path == prefix.path or path.startswith(folder) or folder == "/")
            ):
                return
        raise UploadError(
            "This archive does not fetch tables from that address.",
            hint="Send the table with the request (UPLOAD=name,param:file), or ask the operator to allow the address.",
        )

    async def fetch(self, url: str) -> bytes:
        """Fetch one table.

        Raises
        ------
        UploadError
            When the address is not allowed or does not answer with a table of allowed size.
        """
        self.check(url)
        client = AsyncHTTPClient(force_instance=True, max_body_size=self._limits.upload_bytes)
        try:
            answer = await client.fetch(
                HTTPRequest(
                    url, follow_redirects=False, connect_timeout=_TIMEOUT, request_timeout=_TIMEOUT
                )
            )
        except HTTPClientError as error:
            raise UploadError(
                f"The table to upload cannot be fetched: status {error.code}."
            ) from error
        except (OSError, ValueError) as error:
            raise UploadError(
                "The table to upload cannot be fetched: its server does not answer."
            ) from error
        finally:
            client.close()
        return answer.body
