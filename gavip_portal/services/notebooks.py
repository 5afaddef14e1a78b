"""What the catalogue learns from notebooks without running them."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

from gavip_api.enums import ViewKind
from gavip_api.errors import InvalidInput
from gavip_api.manifest import Manifest
from gavip_api.models import View

DASHBOARD_PREFIX = "dashboard_"

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_MARKUP = re.compile(r"[*_`]|<[^>]*>|!?\[([^\]]*)\]\([^)]*\)")


def first_heading(source: bytes) -> str | None:
    """Return the first Markdown heading of a notebook, or None when it has none.

    Parameters
    ----------
    source : bytes
        A notebook, format 4 (nbformat).

    Raises
    ------
    InvalidInput
        If it is not a notebook.
    """
    try:
        cells = json.loads(source)["cells"]
        for cell in cells:
            if cell["cell_type"] == "markdown":
                text = cell["source"]
                match = _HEADING.search(text if isinstance(text, str) else "".join(text))
                if match:
                    return _MARKUP.sub(lambda m: m[1] or "", match[1]).strip()[:120] or None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput("is not a Jupyter notebook of format 4.") from None
    return None


def view_slug(notebook: str) -> str:
    """Return the name a view has in URLs, from its notebook's file name."""
    stem = PurePosixPath(notebook).stem.lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:63] or "view"


def view_notebooks(manifest: Manifest, paths: frozenset[str]) -> list[tuple[ViewKind, str]]:
    """Return the views of an AVI: what the manifest names, then ``dashboard_*.ipynb`` found by name.

    Parameters
    ----------
    manifest : Manifest
        The AVI's manifest.
    paths : frozenset of str
        All files of the release.
    """
    views: list[tuple[ViewKind, str]] = []
    if manifest.interface:
        views.append((ViewKind.INTERFACE, manifest.interface))
    if manifest.outreach:
        views.append((ViewKind.OUTREACH, manifest.outreach))
    named = {notebook for _, notebook in views}
    views += [
        (ViewKind.DASHBOARD, path)
        for path in sorted(paths)
        if PurePosixPath(path).name.startswith(DASHBOARD_PREFIX)
        and path.endswith(".ipynb")
        and path not in named
    ]
    return views


def make_view(kind: ViewKind, notebook: str, heading: str | None, taken: set[str]) -> View:
    """Return a view with a name that is not in `taken`, and add the name to it."""
    base = kind.value if kind is not ViewKind.DASHBOARD else view_slug(notebook)
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    fallback = PurePosixPath(notebook).stem.removeprefix(DASHBOARD_PREFIX).replace("_", " ")
    return View(name=name, title=heading or fallback.capitalize(), kind=kind, notebook=notebook)
