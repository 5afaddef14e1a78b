"""Parameters are data: declared as JSON Schema, checked here, everywhere the same.

Invariants: a parameter name is a Python identifier and no keyword (papermill writes names raw into code); values are
JSON; ``check`` returns every declared parameter that has a value or default and nothing else.
"""

from __future__ import annotations

import json
import keyword
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import InvalidInput

MAX_PARAMETERS_BYTES = 64 * 1024
"""Most bytes that the JSON of a job's parameters may take."""


def name_fault(name: str) -> str | None:
    """Say why `name` cannot be a parameter, or return None when it can."""
    if not (name.isascii() and name.isidentifier()):
        return (
            f"{name!r} is not an identifier (ASCII letters, digits and underscores, no digit first)"
        )
    if keyword.iskeyword(name) or name.startswith("__"):
        return f"{name!r} is a reserved word"
    return None


class ParameterSpec(BaseModel):
    """One declared parameter: a JSON Schema (draft 2020-12) property, and ``unit``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: str = Field(
        pattern=r"^(number|integer|string|boolean)$", description="JSON type of the value"
    )
    title: str = Field(default="", max_length=120, description="label in forms")
    description: str = Field(default="", max_length=2000, description="help text in forms and CLI")
    unit: str = Field(
        default="", max_length=40, description="unit in VOUnits notation, shown in forms"
    )
    default: Any = Field(
        default=None, description="value when none is given; without one it is required"
    )
    enum: tuple[Any, ...] | None = Field(
        default=None, max_length=200, description="the allowed values"
    )
    minimum: float | None = Field(default=None, description="least value")
    maximum: float | None = Field(default=None, description="greatest value")
    exclusive_minimum: float | None = Field(
        default=None, alias="exclusiveMinimum", description="value must be above"
    )
    exclusive_maximum: float | None = Field(
        default=None, alias="exclusiveMaximum", description="value must be below"
    )
    multiple_of: float | None = Field(
        default=None, alias="multipleOf", gt=0, description="step of the value"
    )
    min_length: int | None = Field(
        default=None, alias="minLength", ge=0, description="fewest characters"
    )
    max_length: int | None = Field(
        default=None, alias="maxLength", ge=0, description="most characters"
    )

    def schema_dict(self) -> dict[str, Any]:
        """Return the JSON Schema of this parameter, without our own members."""
        return self.model_dump(by_alias=True, exclude_none=True, exclude={"unit"}, mode="json")

    @model_validator(mode="after")
    def _default_obeys_schema(self) -> ParameterSpec:
        if self.default is not None:
            faults = _faults({"value": self}, {"value": self.default})
            if faults:
                raise ValueError(f"the default {faults['value']}")
        return self


def _faults(specs: Mapping[str, ParameterSpec], values: Mapping[str, Any]) -> dict[str, str]:
    # imported late: jsonschema costs a second of start-up and kernels rarely need it (facts: opening an AVI)
    from jsonschema import Draft202012Validator

    faults: dict[str, str] = {}
    for name, value in values.items():
        spec = specs[name]
        if isinstance(value, float) and not math.isfinite(value):
            faults[name] = "must be a finite number"
            continue
        schema = {
            k: v
            for k, v in spec.schema_dict().items()
            if k not in {"default", "title", "description"}
        }
        error = next(iter(Draft202012Validator(schema).iter_errors(value)), None)
        if error is not None:
            unit = f" {spec.unit}" if spec.unit else ""
            faults[name] = f"{error.message[:200]}{unit}"
    return faults


def check(specs: Mapping[str, ParameterSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against their declaration and fill in defaults.

    Parameters
    ----------
    specs : mapping of str to ParameterSpec
        The declared parameters.
    values : mapping of str to JSON value
        What the caller gave.

    Returns
    -------
    dict
        All parameters, in the declared order.

    Raises
    ------
    InvalidInput
        With ``detail`` naming each faulty parameter; unknown names are faults.
    """
    faults = {
        name: "is not a parameter of this pipeline; it has " + (", ".join(specs) or "none")
        for name in values
        if name not in specs
    }
    try:
        size = len(json.dumps(dict(values), allow_nan=True))
    except (TypeError, ValueError):
        raise InvalidInput("Parameters must be plain JSON values.") from None
    if size > MAX_PARAMETERS_BYTES:
        raise InvalidInput(f"The parameters take more than {MAX_PARAMETERS_BYTES // 1024} KiB.")
    faults |= _faults(specs, {k: v for k, v in values.items() if k in specs})
    complete: dict[str, Any] = {}
    for name, spec in specs.items():
        if name in values:
            complete[name] = values[name]
        elif spec.default is not None:
            complete[name] = spec.default
        else:
            faults[name] = "is required"
    if faults:
        raise InvalidInput(
            "; ".join(f"{name} {why}" for name, why in list(faults.items())[:5]) + ".",
            hint="Correct the marked parameters and submit again.",
            detail=dict(faults),
        )
    return complete
