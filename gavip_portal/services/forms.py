"""Forms of pipelines, made from their declared parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gavip_api.manifest import PipelineSpec
from gavip_api.parameters import ParameterSpec


@dataclass(frozen=True)
class Choice:
    """One allowed value: its JSON, what people see, and whether it is chosen at first."""

    value: str
    label: str
    selected: bool


@dataclass(frozen=True)
class Field:
    """One parameter as a form shows it."""

    name: str
    id: str
    label: str
    type: str
    unit: str
    help: str
    rule: str
    text: str
    checked: bool
    required: bool
    choices: tuple[Choice, ...] = ()


def form_fields(
    pipeline: str, spec: PipelineSpec, values: Mapping[str, Any] | None = None
) -> tuple[Field, ...]:
    """Return the fields of a pipeline's form.

    Parameters
    ----------
    pipeline : str
        Its slug, which makes the ids unique in the page.
    spec : PipelineSpec
        Its declaration.
    values : mapping, optional
        Values to begin with instead of the defaults, as of an earlier job; names that are no longer
        declared are ignored.
    """
    given = values or {}
    return tuple(
        _field(pipeline, name, parameter, given.get(name, parameter.default))
        for name, parameter in spec.parameters.items()
    )


def _field(pipeline: str, name: str, spec: ParameterSpec, value: Any) -> Field:
    return Field(
        name=name,
        id=f"p-{pipeline}-{name}",
        label=spec.title or name.replace("_", " ").capitalize(),
        type="enum" if spec.enum else spec.type,
        unit=spec.unit,
        help=_sentence(spec.description),
        rule=rule_text(spec),
        text="" if value is None else _text(value),
        checked=value is True,
        required=spec.default is None,
        choices=tuple(
            Choice(json.dumps(allowed), _text(allowed), allowed == value)
            for allowed in spec.enum or ()
        ),
    )


def _sentence(text: str) -> str:
    """End a text with a full stop, for the rule of the parameter follows it."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else text + "."


def rule_text(spec: ParameterSpec) -> str:
    """Say in words what values a parameter takes, and its default."""
    low, high = spec.minimum, spec.maximum
    above, below = spec.exclusive_minimum, spec.exclusive_maximum
    parts = []
    if above is not None:
        parts.append(f"above {_text(above)}")
    if low is not None and high is not None:
        parts.append(f"{_text(low)} to {_text(high)}")
    elif low is not None:
        parts.append(f"at least {_text(low)}")
    elif high is not None:
        parts.append(f"at most {_text(high)}")
    if below is not None:
        parts.append(f"below {_text(below)}")
    if parts and spec.unit:
        parts[-1] += f" {spec.unit}"
    if spec.type == "integer":
        parts.insert(0, "whole number")
    if spec.multiple_of is not None:
        parts.append(f"in steps of {_text(spec.multiple_of)}")
    if spec.max_length is not None:
        parts.append(f"at most {spec.max_length} characters")
    if spec.default is not None and spec.type != "boolean":
        parts.append(f"default {_text(spec.default)}")
    text = ", ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)
