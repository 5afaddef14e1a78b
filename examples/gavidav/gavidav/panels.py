"""Widgets that the notebooks of gavidav share: the form of a cone and what is shown of its stars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w
import numpy as np

import avi
from avi import widgets as aw

from .query import PLACES, Cone, adql
from .stars import Stars

MAX_ROWS = 100_000
OWN_CHOICE = "Your own position"
PLACEHOLDER = '<div class="gavip-night"><div style="aspect-ratio: 728 / 650"></div></div>'


def fetch(cone: Cone, run: Any) -> tuple[Cone, Stars, bool]:
    """Ask the archive for a cone, cancellable; returns the cone, its stars, and whether there were more."""
    run.say("Asking the archive")
    table = avi.connectors.tap().run(
        adql(cone, MAX_ROWS),
        maxrec=MAX_ROWS,
        on_progress=run.say,
        should_stop=lambda: run.cancelled,
    )
    stars = Stars.of(table) if table is not None else Stars(*[np.array([])] * 8)
    if len(stars) == 0 and table is not None:
        raise avi.errors.EmptyResult(
            f"There are no stars brighter than G = {cone.g_max:g} within {cone.radius:g}° of this position.",
            hint="Choose a larger radius or a fainter limit.",
        )
    run.say(f"Drawing {len(stars):,} stars")
    return cone, stars, bool(table is not None and table.meta["overflow"])


def _number(label: str, value: float, step: float) -> w.FloatText:
    made = w.FloatText(value=value, description=label, step=step)
    made.add_class("gavip-field")
    return made


class ConeForm(w.VBox):
    """A place by name or by coordinates, and a button that shows its stars."""

    def __init__(self, deliver: Callable[[tuple[Cone, Stars, bool]], None]) -> None:
        first = next(iter(PLACES.values()))
        self.place = w.Dropdown(options=[*PLACES, OWN_CHOICE], description="Place")
        self.place.add_class("gavip-field")
        self.fields = {
            "ra": _number("Right ascension [deg]", first.ra, 0.5),
            "dec": _number("Declination [deg]", first.dec, 0.5),
            "radius": _number("Radius [deg]", first.radius, 0.25),
            "g_max": _number("Faintest G [mag]", first.g_max, 0.5),
        }
        self._filling = False
        self.place.observe(self._on_place, "value")
        for name in ("ra", "dec"):
            self.fields[name].observe(self._on_own, "value")
        self.task = aw.Task("Show stars", lambda run: fetch(self.cone, run), deliver)
        super().__init__([self.place, *self.fields.values(), self.task])

    @property
    def cone(self) -> Cone:
        """The cone in the fields; says in words what is wrong with it."""
        try:
            return Cone(**{name: f.value for name, f in self.fields.items()})
        except ValueError as e:
            raise avi.errors.InvalidInput(
                str(e), hint="Correct the number and try again."
            ) from None

    def _on_place(self, change: dict[str, Any]) -> None:
        cone = PLACES.get(change["new"])
        if cone is None:
            return
        self._filling = True
        for name, control in self.fields.items():
            control.value = getattr(cone, name)
        self._filling = False
        self.task.start()

    def _on_own(self, change: dict[str, Any]) -> None:
        if not self._filling:
            self.place.value = OWN_CHOICE


class StarsView(w.VBox):
    """Numbers, the map, the diagram."""

    def __init__(
        self, parts: tuple[str, ...] = ("numbers", "sky", "hr"), min_snr: float = 5.0
    ) -> None:
        self._parts, self._min_snr = parts, min_snr
        self.numbers, self.told = aw.html(_numbers(None, None, False, min_snr)), aw.html("&nbsp;")
        self.sky, self.hr = aw.html(PLACEHOLDER), aw.html(PLACEHOLDER)
        self.told.add_class("gavip-muted")
        pictures = [p for name, p in (("sky", self.sky), ("hr", self.hr)) if name in parts]
        pair = aw.box(*pictures, classes=("gavip-pair",))
        children = [aw.card(self.numbers)] if "numbers" in parts else []
        children.append(pair)
        if "hr" in parts:
            children.append(self.told)
        super().__init__(children)
        self.add_class("gavip-stack")

    def show(self, result: tuple[Cone, Stars, bool]) -> None:
        """Show the stars of a cone."""
        from . import figures  # matplotlib takes half a second that the page need not wait for

        cone, stars, more = result
        if "numbers" in self._parts:
            self.numbers.value = _numbers(cone, stars, more, self._min_snr)
        if "sky" in self._parts:
            where = (
                f"right ascension {cone.ra:g}°, declination {cone.dec:+g}°, radius {cone.radius:g}°"
            )
            self.sky.value = figures.img(
                figures.sky(stars, cone), f"Density map of {len(stars):,} stars around {where}"
            )
        if "hr" in self._parts:
            figure, told = figures.hr(stars, self._min_snr)
            self.hr.value = figures.img(figure, f"Hertzsprung–Russell diagram. {told}")
            self.told.value = told


def _numbers(cone: Cone | None, stars: Stars | None, more: bool, min_snr: float) -> str:
    names = (
        "Stars",
        "Brightest G",
        "With parallax",
        f"Parallax ≥ {min_snr:g} × error",
        "Their median distance",
    )
    values = ["–"] * len(names)
    if stars is not None and cone is not None:
        known, good = np.isfinite(stars.parallax), stars.good(min_snr)
        values = [
            f"{len(stars):,}" + (" <small>and more</small>" if more else ""),
            f"{np.nanmin(stars.g):.2f} <small>mag</small>",
            f"{int(known.sum()):,} <small>{100 * known.mean():.0f} %</small>",
            f"{int(good.sum()):,}",
            f"{np.median(stars.distance[good]):,.0f} <small>pc</small>" if good.any() else "–",
        ]
    cells = "".join(
        f"<div><dt>{n}</dt><dd>{v}</dd></div>" for n, v in zip(names, values, strict=True)
    )
    return f'<dl class="gavip-stats">{cells}</dl>'
