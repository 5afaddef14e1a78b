"""How much a person's JupyterLab may use: what is offered, how people are asked, and what of it is believed.

Invariants: what comes back is a stranger's, whether from the form or straight to the hub's API: only
known members, only finite numbers, within the operator's bounds; whether it is *free* is the
ledger's decision alone, what the form says about it is information.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from pydantic import StrictFloat, StrictInt, StrictStr, ValidationError

from gavip_api.errors import InvalidInput
from gavip_api.models import Model, Pool, ResourceAmount
from gavip_api.resources import human_size, memory_bytes

GIB = 1 << 30
LEAST_MEMORY = 256 << 20
"""Bytes below which JupyterLab does not start."""
LEAST_CPU = 0.1

EXACT = "exact"
_SIZE = re.compile(r"\d{1,15}(\.\d{1,6})?\s?([KMGT](i?B)?)?\Z")
_NUMBER = re.compile(r"\d{1,9}([.,]\d{1,6})?\Z")
_TEMPLATES = Path(__file__).parent / "templates"


class NotebookOptions(Model):
    """``user_options`` of a person's own server."""

    memory: StrictInt | StrictStr | None = None
    cpu: StrictFloat | StrictInt | None = None


@dataclass(frozen=True)
class Preset:
    """One size that the form offers."""

    name: str
    title: str
    amount: ResourceAmount


@dataclass(frozen=True)
class Bounds:
    """What operators allow.

    Attributes
    ----------
    default, most : ResourceAmount
        What a notebook gets unless its user chooses, and the most they may choose. The default is
        always allowed.
    """

    default: ResourceAmount
    most: ResourceAmount

    @property
    def highest(self) -> ResourceAmount:
        """The most that may be chosen."""
        return ResourceAmount(
            memory=max(self.default.memory, self.most.memory),
            cpu=max(self.default.cpu, self.most.cpu),
        )

    @property
    def lowest(self) -> ResourceAmount:
        """The least that may be chosen."""
        return ResourceAmount(
            memory=min(self.default.memory, LEAST_MEMORY), cpu=min(self.default.cpu, LEAST_CPU)
        )

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The default, twice and four times as much, as far as the bounds allow."""
        found: list[Preset] = []
        for name, times in (("small", 1), ("medium", 2), ("large", 4)):
            amount = ResourceAmount(
                memory=min(self.highest.memory, self.default.memory * times),
                cpu=min(self.highest.cpu, self.default.cpu * times),
            )
            if all(amount != preset.amount for preset in found):
                found.append(Preset(name, name.capitalize(), amount))
        return tuple(found)

    def check(self, options: Any) -> ResourceAmount:
        """Return what was chosen.

        Parameters
        ----------
        options : object
            A mapping, if it is honest: ``memory`` in bytes or as a size, ``cpu`` in cores; what is left
            out is the default.

        Raises
        ------
        InvalidInput
            Naming each member that is unknown, no number, or out of bounds.
        """
        try:
            asked = NotebookOptions.model_validate(options)
        except ValidationError as e:
            faults = {str((*x["loc"], "it")[0])[:40]: "is not valid" for x in e.errors()}
            raise _invalid(faults) from None
        memory = _memory(asked.memory, self.default.memory)
        cpu = self.default.cpu if asked.cpu is None else float(asked.cpu)
        low, high = self.lowest, self.highest
        faults = {}
        # written so that a value that is no number is out of bounds, too
        if not low.memory <= memory <= high.memory:
            faults["memory"] = f"must be {human_size(low.memory)} to {human_size(high.memory)}"
        if not low.cpu <= cpu <= high.cpu:
            faults["cpu"] = f"must be {low.cpu:g} to {high.cpu:g} cores"
        if faults:
            raise _invalid(faults)
        return ResourceAmount(memory=memory, cpu=cpu)

    def of_form(self, form: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Return the options that a sent form stands for, unchecked where :meth:`check` checks.

        Raises
        ------
        InvalidInput
            If it names no size that is offered, or exact fields hold no numbers.
        """
        size = _first(form, "size")
        for preset in self.presets:
            if preset.name == size:
                return {"memory": preset.amount.memory, "cpu": preset.amount.cpu}
        if size != EXACT:
            raise _invalid({"size": "is none of those offered"})
        faults = {}
        numbers = {}
        for name, unit in (("memory", "GiB"), ("cpu", "cores")):
            text = _first(form, name)
            if _NUMBER.match(text):
                numbers[name] = float(text.replace(",", "."))
            else:
                faults[name] = f"must be a number of {unit}, such as 1.5"
        if faults:
            raise _invalid(faults)
        return {"memory": round(numbers["memory"] * GIB), "cpu": numbers["cpu"]}


def _first(form: Mapping[str, list[Any]], name: str) -> str:
    values = form.get(name) or [""]
    return values[0].strip() if isinstance(values[0], str) else ""


def _memory(value: int | str | None, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, int):
        return value
    # no expressions here: a size is an amount; what is none is out of bounds
    try:
        return memory_bytes(value) if _SIZE.match(value) else -1
    except InvalidInput:
        return -1


def _invalid(faults: dict[str, str]) -> InvalidInput:
    said = "; ".join(f"{name} {fault}" for name, fault in faults.items())
    return InvalidInput(
        f"JupyterLab was not started: {said}.",
        hint="Choose one of the sizes, or other numbers.",
        detail=faults,
    )


def render_form(
    bounds: Bounds, pool: Pool | None, chosen: ResourceAmount, sent: Mapping[str, list[Any]]
) -> str:
    """Return the HTML of the form's fields.

    Parameters
    ----------
    bounds : Bounds
        What may be chosen.
    pool : Pool or None
        What the ledger says is free; None when it does not answer.
    chosen : ResourceAmount
        What is chosen to begin with: the last choice.
    sent : mapping
        The form that was refused just now, to be shown as it was sent.
    """
    free = pool.free if pool is not None else None
    rows = [
        {
            "name": preset.name,
            "title": preset.title,
            "amount": preset.amount,
            "fits": free is None or _fits(preset.amount, free),
        }
        for preset in bounds.presets
    ]
    size = _first(sent, "size") or next(
        (p.name for p in bounds.presets if p.amount == chosen), EXACT
    )
    return (
        _environment()
        .get_template("notebook_form.html")
        .render(
            presets=rows,
            exact=EXACT,
            size=size,
            memory=_first(sent, "memory") or f"{chosen.memory / GIB:g}",
            cpu=_first(sent, "cpu") or f"{chosen.cpu:g}",
            bounds=bounds,
            pool=pool,
            free=free,
            gib=GIB,
        )
    )


def _fits(amount: ResourceAmount, free: ResourceAmount) -> bool:
    return amount.memory <= free.memory and amount.cpu <= free.cpu and free.slots >= 1


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["size"] = human_size
    made.filters["cores"] = lambda cpu: f"{cpu:g} core{'' if cpu == 1 else 's'}"
    return made
