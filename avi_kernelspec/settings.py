"""What the server is told by its environment, checked once.

Invariant: a :class:`Settings` that exists describes a view inside the release; nothing else reads the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gavip_api import environment as env
from gavip_api.errors import InvalidInput, NotFound

FRAME_ANCESTORS = "GAVIP_FRAME_ANCESTORS"
"""Space-separated origins that may frame this server; absent means none but its own."""

TITLE = "GAVIP_TITLE"
"""Title that the page's header shows; absent means the manifest's."""

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?\Z|'self'\Z|'none'\Z")


@dataclass(frozen=True)
class Settings:
    """One interface server.

    Attributes
    ----------
    ip, port, base_url : str, int, str
        Where it listens and below which path it serves.
    release_dir, notebook : Path
        Folder of the release, and the view in it (absolute).
    work_dir : Path
        Working folder of kernels: the AVI's own folder in the user-space.
    template : str
        Voilà template: gavip, outreach or dashboard.
    title : str
        Shown in the header.
    frame_ancestors : str
        Source list of the CSP directive of that name.
    hub_origin : str
        Origin of the hub as browsers see it.
    catalogue : str
        Address people go to when this server is gone: the hub's page that leads to the portal.
    activity_url, token : str
        Where and with what to report activity; empty to not report.
    """

    ip: str
    port: int
    base_url: str
    release_dir: Path
    notebook: Path
    work_dir: Path
    template: str
    title: str
    frame_ancestors: str
    hub_origin: str
    catalogue: str
    activity_url: str
    token: str
    server_name: str


def _need(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise InvalidInput(
            f"The environment lacks {name}.",
            hint="The server is started by GAVIP's spawner; on a laptop use `make run`.",
        )
    return value


def frame_ancestors(text: str) -> str:
    """Return a CSP source list (CSP level 3, section 6.4.2) made of exact origins only.

    Raises
    ------
    InvalidInput
        If a word is no origin: a header must not be injectable.
    """
    words = text.split() or ["'self'"]
    for word in words:
        if not _ORIGIN.match(word):
            raise InvalidInput(f"{FRAME_ANCESTORS}: {word[:80]!r} is not an origin.")
    return " ".join(words)


def template_of(notebook: str, outreach: str | None) -> str:
    """Return the Voilà template for a view, by the conventions of the manifest."""
    if Path(notebook).name.startswith("dashboard_"):
        return "dashboard"
    return "outreach" if notebook == outreach else "gavip"


def _view(environ: Mapping[str, str]) -> str:
    from gavip_api.manifest import check_member_path

    try:
        return check_member_path(_need(environ, env.VIEW))
    except ValueError as e:
        raise InvalidInput(f"{env.VIEW} {e}.") from None


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Build the settings.

    Raises
    ------
    InvalidInput
        If a variable is missing or malformed.
    NotFound
        If the release lacks the view.
    """
    from gavip_api import manifest

    view = _view(environ)
    url = urlsplit(_need(environ, "JUPYTERHUB_SERVICE_URL"))
    release = Path(_need(environ, env.RELEASE_DIR)).resolve()
    notebook = (release / view).resolve()
    if (
        not notebook.is_relative_to(release)
        or notebook.suffix != ".ipynb"
        or not notebook.is_file()
    ):
        raise NotFound(
            f"The release has no view {view!r}.", hint="Release the AVI again with that notebook."
        )
    declared = manifest.load((release / manifest.MANIFEST_NAME).read_bytes())
    work = Path(environ.get(env.USER_SPACE) or ".").resolve()
    work.mkdir(parents=True, exist_ok=True)
    hub = environ.get("JUPYTERHUB_HOST", "")
    return Settings(
        ip=url.hostname or "127.0.0.1",
        port=url.port or 80,
        base_url=environ.get("JUPYTERHUB_SERVICE_PREFIX") or "/",
        release_dir=release,
        notebook=notebook,
        work_dir=work,
        template=template_of(view, declared.outreach),
        title=environ.get(TITLE) or declared.title,
        frame_ancestors=frame_ancestors(environ.get(FRAME_ANCESTORS, "")),
        hub_origin=frame_ancestors(hub) if hub else "",
        catalogue=f"{hub}{environ.get('JUPYTERHUB_BASE_URL', '/')}hub/onward",
        activity_url=environ.get("JUPYTERHUB_ACTIVITY_URL", ""),
        token=environ.get(env.API_TOKEN, ""),
        server_name=environ.get("JUPYTERHUB_SERVER_NAME", ""),
    )
