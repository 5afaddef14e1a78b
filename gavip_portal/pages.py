"""Templates of the portal: they extend the hub's own page template, so that both look and behave alike.

Invariant: a page holds no inline script and loads nothing from another origin, for its policy forbids both.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jupyterhub
from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, TemplateNotFound
from jupyterhub._data import DATA_FILES_PATH

from gavip_api.resources import human_size

from .services.markdown import render

log = logging.getLogger("gavip.portal.pages")

HERE = Path(__file__).parent
STATIC = HERE / "static"
DIST = STATIC / "dist"
HUB_STATIC = Path(DATA_FILES_PATH) / "static"

_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>.*?</script>", re.DOTALL)


class HubPageLoader(BaseLoader):
    """Loads the hub's ``page.html`` as ``hub/page.html``, without its inline script.

    The script configures require.js and publishes the hub's base URL to the hub's own scripts; our pages use neither.
    """

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Return the source of ``hub/page.html``."""
        if template != "hub/page.html":
            raise TemplateNotFound(template)
        path = Path(DATA_FILES_PATH) / "templates" / "page.html"
        source, removed = _INLINE_SCRIPT.subn("", path.read_text(encoding="utf-8"))
        if removed != 1:
            # the page would still be safe (the policy blocks inline scripts), but perhaps not work
            log.warning("the hub's page template changed: %d inline scripts removed", removed)
        return source, str(path), lambda: True


class Assets:
    """The built front end: logical names to file names that hold their content's hash.

    The manifest is read again when it changed, so that a new build needs no restart.

    Parameters
    ----------
    dist : Path
        Folder that the build wrote; without a manifest in it, pages come without script and style.
    """

    def __init__(self, dist: Path = DIST) -> None:
        self._manifest = dist / "manifest.json"
        self._read_at = -1
        self._files: dict[str, str] = {}

    def file(self, name: str) -> str | None:
        """Return the present file name of `name`, such as ``portal.js``, or None."""
        try:
            changed = self._manifest.stat().st_mtime_ns
            if changed != self._read_at:
                self._files = json.loads(self._manifest.read_text(encoding="utf-8"))
                self._read_at = changed
        except FileNotFoundError:
            if self._read_at != 0:
                log.warning(
                    "the front end is not built: run `npm ci && npm run build` in extensions/"
                )
            self._read_at, self._files = 0, {}
        return self._files.get(name)


class Pages:
    """Renders the portal's templates.

    Parameters
    ----------
    prefix : str
        Path of the portal, with slashes at both ends.
    hub_url : str
        Public URL of the hub, ending in ``/hub/``.
    assets : Assets
        The built front end.
    """

    def __init__(self, prefix: str, hub_url: str, assets: Assets) -> None:
        self._env = Environment(
            loader=ChoiceLoader([FileSystemLoader(HERE / "templates"), HubPageLoader()]),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.globals.update(
            prefix=prefix,
            base_url=hub_url,
            hub_url=hub_url,
            logo_url=prefix,
            logout_url=f"{hub_url}logout",
            login_url=f"{hub_url}login",
            static_url=lambda path, **_: f"{prefix}hub-static/{path}?v={jupyterhub.__version__}",
            asset=lambda name: f"{prefix}static/{file}" if (file := assets.file(name)) else "",
        )
        self._env.filters.update(
            size=human_size, markdown=render, iso=_iso, utc=_utc, pretty=_pretty
        )

    def render(self, template: str, **context: Any) -> str:
        """Return a page."""
        return self._env.get_template(template).render(**context)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
