"""The platform's OpenAPI document, kept per platform so that commands and their help work offline.

Invariant: what is kept is exactly what the platform sent last; a broken copy counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import platformdirs

from gavip_api.errors import GavipError

from .session import Session


def _file(url: str) -> Path:
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("gavip")) / f"openapi-{name}.json"


def kept(url: str) -> dict[str, Any] | None:
    """Return the document as last seen, or None."""
    with contextlib.suppress(OSError, ValueError):
        document = json.loads(_file(url).read_text())
        if isinstance(document, dict) and "paths" in document:
            return document
    return None


def fetch(url: str) -> dict[str, Any]:
    """Return the platform's document and keep it.

    Raises
    ------
    Unavailable
        If the platform does not answer.
    """
    answer = Session(url).request("GET", "/openapi.json", query={})
    document: dict[str, Any] = answer.json()
    target = _file(url)
    # a cache that cannot be written costs one request more next time, nothing else
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".new")
        temporary.write_text(json.dumps(document))
        temporary.replace(target)
    return document


def current(url: str) -> dict[str, Any] | None:
    """Return the document from the platform, else as last seen, else None."""
    try:
        return fetch(url)
    except GavipError:
        return kept(url)
