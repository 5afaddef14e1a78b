"""Which of the environment's JupyterLab extensions an AVI's page loads: those that draw widgets or outputs.

Invariant: an extension that only adds to JupyterLab's own user interface is never loaded into a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEEDED = (
    "@jupyter-widgets/jupyterlab-manager",  # the controls; Voilà's manager below has none
    "@voila-dashboards/widgets-manager8",
    "anywidget",  # its package.json names no dependency to tell it by
)
"""Loaded wherever they are installed."""

_WIDGETS = "@jupyter-widgets/"


def draws(extension: Mapping[str, Any]) -> bool:
    """Whether a federated extension draws: it is built on ipywidgets, or it renders a media type.

    Parameters
    ----------
    extension : mapping
        Its metadata, as ``jupyterlab_server.config.get_federated_extensions`` returns them: ``name``, ``dependencies``
        and the ``jupyterlab`` entry of its package.json.
    """
    lab = extension.get("jupyterlab", {})
    named = {*extension.get("dependencies", {}), *lab.get("sharedPackages", {})}
    return bool(lab.get("mimeExtension")) or any(name.startswith(_WIDGETS) for name in named)


def for_pages(installed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of the extensions that pages load, sorted; never empty, for Voilà takes none for all."""
    return sorted({*NEEDED, *(name for name, extension in installed.items() if draws(extension))})
