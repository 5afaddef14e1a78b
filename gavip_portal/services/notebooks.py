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

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$", re.MULTILINE)
_MARKUP = re.compile(r"[*_`]|<[^>]*>|!?\[([^\]]*)\]\([^)]*\)")


def notebook_title(source: bytes) -> str | None:
    """Return the title of a notebook: its metadata's, else its first heading when that is of the top level.

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
        content = json.loads(source)
        given = content.get("metadata", {}).get("title")
        if isinstance(given, str) and given.strip():
            return given.strip()[:120]
        for cell in content["cells"]:
            if cell["cell_type"] == "markdown":
                text = cell["source"]
                match = _HEADING.search(text if isinstance(text, str) else "".join(text))
                if match:
                    # a lower heading names a part of the notebook, not the whole
                    title = match[2] if len(match[1]) == 1 else ""
                    return _MARKUP.sub(lambda m: m[1] or "", title).strip()[:120] or None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
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


def make_view(
    kind: ViewKind, notebook: str, title: str | None, avi_title: str, taken: set[str]
) -> View:
    """Return a view with a name that is not in `taken`, and add the name to it.

    Parameters
    ----------
    kind : ViewKind
        What it is for.
    notebook : str
        Path in the release.
    title : str or None
        The notebook's own title; without one the interface has the AVI's, others one from the file name.
    avi_title : str
        Title of the AVI.
    taken : set of str
        Names of the AVI's other views.
    """
    base = kind.value if kind is not ViewKind.DASHBOARD else view_slug(notebook)
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    stem = PurePosixPath(notebook).stem.removeprefix(DASHBOARD_PREFIX).replace("_", " ")
    fallback = avi_title if kind is ViewKind.INTERFACE else stem.capitalize()
    return View(name=name, title=title or fallback, kind=kind, notebook=notebook)
