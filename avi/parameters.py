"""Declared parameters as a notebook sees them.

Invariant: a name that ``avi.yaml`` does not declare has no value, whatever the file of parameters holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gavip_api import environment as env

from .errors import UnknownParameter
from .surroundings import Context, context

if TYPE_CHECKING:
    from gavip_api.parameters import ParameterSpec


def _declared(ctx: Context, pipeline: str | None) -> dict[str, ParameterSpec]:
    name = pipeline or ctx.environ.get(env.PIPELINE)
    if name:
        return dict(ctx.pipeline(name).parameters)
    merged: dict[str, ParameterSpec] = {}
    for spec in ctx.manifest.pipelines.values():
        for key, value in spec.parameters.items():
            merged.setdefault(key, value)
    return merged


def params(pipeline: str | None = None) -> dict[str, Any]:
    """Return the values of all declared parameters.

    Parameters
    ----------
    pipeline : str, optional
        Which pipeline's; default: the one that runs, else all of the AVI's, the first declaration winning.

    Returns
    -------
    dict
        In pipeline mode the job's values, otherwise the declared defaults (None where there is none).
    """
    ctx = context()
    given = ctx.job_parameters
    return {name: given.get(name, spec.default) for name, spec in _declared(ctx, pipeline).items()}


def param(name: str, pipeline: str | None = None) -> Any:
    """Return the value of one declared parameter.

    Parameters
    ----------
    name : str
        Its name in ``avi.yaml``.
    pipeline : str, optional
        Like in :func:`params`.

    Raises
    ------
    UnknownParameter
        If it is not declared.
    """
    values = params(pipeline)
    if name not in values:
        raise UnknownParameter(
            f"This AVI declares no parameter {name!r}.",
            hint=f"avi.yaml declares: {', '.join(values) or 'none'}.",
        )
    return values[name]
