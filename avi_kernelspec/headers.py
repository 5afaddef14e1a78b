"""Security headers of every response, whichever handler made it.

Invariant: they are added in the last step of tornado's output, so that static files, errors and redirects carry them
too.
"""

from __future__ import annotations

from typing import Any

from tornado import httputil
from tornado.web import OutputTransform


def policy(frame_ancestors: str) -> str:
    """Return the Content-Security-Policy of an AVI's page.

    Voilà's pages hold inline scripts and its bundles use ``eval`` (webpack, ajv), so scripts are not restricted beyond
    their origin; what is restricted is where a page can talk to (its own server only) and who may frame it.
    """
    directives = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": frame_ancestors,
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def security_headers(frame_ancestors: str) -> dict[str, str]:
    """Return the headers that every response carries."""
    return {
        "Content-Security-Policy": policy(frame_ancestors),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }


def transform(headers: dict[str, str]) -> type[OutputTransform]:
    """Return an output transform that sets `headers`; give it to ``Application.add_transform``."""

    class SecurityHeaders(OutputTransform):
        def transform_first_chunk(
            self, status_code: int, out: httputil.HTTPHeaders, chunk: bytes, finishing: bool
        ) -> tuple[int, httputil.HTTPHeaders, bytes]:
            for name, value in headers.items():
                out[name] = value
            if "Server" in out:
                del out["Server"]
            return status_code, out, chunk

        def __init__(self, request: Any) -> None:
            super().__init__(request)

    return SecurityHeaders
