"""The AVI framework: what a notebook imports to take part in GAVIP.

Invariants: ``import avi`` is light (nothing but the standard library is loaded), every heavy library is loaded by the
call that needs it; the same notebook runs in all three modes (standalone, interface, pipeline).

>>> import avi
>>> ra = avi.param("ra")
>>> stars = avi.connectors.tap().query("SELECT TOP 10 * FROM gaiadr3.gaia_source")
>>> job = avi.pipeline("hr-diagram").submit(ra=ra)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import connectors, errors, widgets
    from .parameters import param, params
    from .people import user
    from .pipelines import Job, job, jobs, pipeline
    from .reporting import progress
    from .surroundings import context
    from .widgets.form import form

__all__ = [
    "Job",
    "connectors",
    "context",
    "errors",
    "form",
    "job",
    "jobs",
    "param",
    "params",
    "pipeline",
    "progress",
    "user",
    "widgets",
]

# modules are never named like what they export: importing one would bind it over the function
_HOME = {
    "Job": "pipelines",
    "context": "surroundings",
    "form": "widgets.form",
    "job": "pipelines",
    "jobs": "pipelines",
    "param": "parameters",
    "params": "parameters",
    "pipeline": "pipelines",
    "progress": "reporting",
    "user": "people",
}
_MODULES = ("connectors", "errors", "widgets")


def __getattr__(name: str) -> Any:
    """Load the part of the framework that `name` lives in, on first use."""
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
