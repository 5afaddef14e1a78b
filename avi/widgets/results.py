"""A data product on a page: previews, files, where it lies.

Invariant: only regular files directly named by the job's outputs and inside the product are read, up to fixed sizes.
"""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from gavip_api.resources import human_size

from .theme import escape

MAX_PREVIEWS = 4
MAX_PREVIEW_BYTES = 3 << 20
MAX_LINK_BYTES = 8 << 20
"""Larger files are not put into the page as links; they are found in the user's files."""

_OWN = {"executed.ipynb", "provenance.json"}
_WORDS = {"executed.ipynb": "the notebook as it ran", "provenance.json": "how it was made"}


def _file(folder: Path, name: str) -> Path | None:
    path = folder / PurePosixPath(name)
    inside = path.resolve().is_relative_to(folder.resolve())
    return path if inside and path.is_file() and not path.is_symlink() else None


def _data_url(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _caption(name: str) -> str:
    words = PurePosixPath(name).stem.replace("_", " ").replace("-", " ").split() or [name]
    first, *rest = words
    # two letters are an abbreviation: HR diagram, not Hr diagram
    return " ".join([first.upper() if len(first) <= 2 else first.capitalize(), *rest])


def previews(folder: Path, outputs: tuple[str, ...]) -> str:
    """Return the product's figures as HTML."""
    shown: list[str] = []
    for name in outputs:
        path = _file(folder, name) if name.lower().endswith((".png", ".jpg", ".jpeg")) else None
        if path is None or path.stat().st_size > MAX_PREVIEW_BYTES or len(shown) == MAX_PREVIEWS:
            continue
        label = escape(_caption(name))
        shown.append(
            f'<figure><img src="{_data_url(path)}" alt="{label}"><figcaption>{label}</figcaption></figure>'
        )
    return f'<div class="gavip-thumbs">{"".join(shown)}</div>' if shown else ""


def listing(folder: Path, outputs: tuple[str, ...], place: str) -> str:
    """Return the product's files as an HTML list with download links."""
    rows = []
    for name in outputs:
        path = _file(folder, name)
        if path is None:
            continue
        size = path.stat().st_size
        label = escape(name)
        if size <= MAX_LINK_BYTES and name not in _OWN:
            label = f'<a class="gavip-link" download="{escape(quote(path.name))}" href="{_data_url(path)}">{label}</a>'
        about = f" – {_WORDS[name]}" if name in _WORDS else ""
        rows.append(f"<li>{label}{about}<span>{human_size(size)}</span></li>")
    where = f'<p class="gavip-muted">In your files: <code>{escape(place)}</code></p>'
    return f'<ul class="gavip-files">{"".join(rows)}</ul>{where}'
