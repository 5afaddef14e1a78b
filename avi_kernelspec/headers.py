"""Security headers of every response, whichever handler made it.

Invariant: they are added in the last step of tornado's output, so that static files, errors and redirects carry them
too.
"""

from __future__ import annotations

from typing import Any

from tornado import httputil
from tornado.web import OutputTransform

from gavip_api.isolation import avi_headers, avi_policy


def security_headers(frame_ancestors: str, platform: str) -> dict[str, str]:
    """Return the headers that every response carries.

    Parameters
    ----------
    frame_ancestors : str
        Origins that may frame the page; the portal's is among them.
    platform : str
        Origin of the hub as browsers see it; empty when there is none.
    """
    origins = [o for o in (platform, *frame_ancestors.split()) if not o.startswith("'")]
    return {
        **avi_headers(filter(None, origins)),
        "Content-Security-Policy": avi_policy(frame_ancestors),
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
