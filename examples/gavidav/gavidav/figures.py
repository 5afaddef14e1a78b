"""Figures, drawn without pyplot (no global state: the interface draws in threads) on a night sky or on paper."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure

from .query import Cone
from .stars import Stars

DENSITY = LinearSegmentedColormap.from_list(
    "gavip-density", ["#0b1730", "#12395c", "#12697d", "#2fb5bb", "#a8e6cf", "#fff6d5"]
)
DISTANCE = LinearSegmentedColormap.from_list(
    "gavip-distance", ["#fff1c9", "#ffc46b", "#f0768b", "#9a6fe0", "#4d8df0"]
)
BLACKBODY = LinearSegmentedColormap.from_list(
    "gavip-blackbody", ["#9db8ff", "#d6e0ff", "#fff7ef", "#ffe3b0", "#ffb867", "#ff8a52"]
)
"""Colours of stars as the eye would see them, from hot to cool."""


@dataclass(frozen=True)
class Look:
    """Colours of a figure."""

    ground: str
    panel: str
    ink: str
    faint: str


NIGHT = Look("#0b1730", "#0a1329", "#dfe8fb", "#31466f")
PAPER = Look("#ffffff", "#ffffff", "#14213d", "#c9d2e2")
SIZE = (5.6, 5.0)
"""Inches; at 130 dots per inch 728 × 650 pixels."""


def _figure(look: Look) -> Figure:
    figure = Figure(figsize=SIZE, dpi=130, facecolor=look.ground, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: Any, look: Look, title: str) -> None:
    axes.set_facecolor(look.panel)
    axes.set_title(title, color=look.ink, fontsize=11.5, pad=9, loc="left", fontweight="bold")
    for spine in axes.spines.values():
        spine.set_color(look.faint)
    axes.tick_params(colors=look.ink, labelsize=9)
    axes.xaxis.label.set_color(look.ink)
    axes.yaxis.label.set_color(look.ink)
    axes.grid(color=look.faint, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)


def _bar(figure: Figure, mapped: Any, axes: Any, look: Look, label: str) -> None:
    bar = figure.colorbar(mapped, ax=axes, pad=0.02, fraction=0.05, aspect=32)
    bar.set_label(label, color=look.ink, fontsize=9.5)
    bar.ax.tick_params(colors=look.ink, labelsize=8.5)
    bar.outline.set_edgecolor(look.faint)


def _projection(cone: Cone, bins: int) -> Any:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [cone.ra, cone.dec]
    step = 2 * cone.radius / bins
    wcs.wcs.cdelt = [-step, step]  # right ascension increases to the left, as on the sky
    wcs.wcs.crpix = [bins / 2 + 0.5, bins / 2 + 0.5]
    wcs.wcs.cunit = ["deg", "deg"]
    return wcs


def sky(stars: Stars, cone: Cone, look: Look = NIGHT, title: str = "Where the stars are") -> Figure:
    """Return a density map of the cone in gnomonic projection, with its brightest stars."""
    bins = int(np.clip(np.sqrt(len(stars)) * 1.1, 14, 90))
    wcs = _projection(cone, bins)
    figure = _figure(look)
    axes = figure.add_subplot(projection=wcs)
    x, y = wcs.world_to_pixel_values(stars.ra, stars.dec)
    edges = np.arange(bins + 1) - 0.5
    counts, _, _ = np.histogram2d(y, x, bins=[edges, edges])
    density = counts / (2 * cone.radius / bins) ** 2
    yy, xx = np.mgrid[0:bins, 0:bins] - (bins - 1) / 2
    # bins outside the cone were never asked for: leave them blank instead of showing them as empty sky
    density[np.hypot(xx, yy) > bins / 2 + 0.7] = np.nan
    shown = axes.imshow(density, origin="lower", cmap=DENSITY, vmin=0, interpolation="nearest")
    order = np.argsort(stars.g)[:1500]
    faint, bright = np.nanmax(stars.g), np.nanmin(stars.g)
    size = 1.2 + 34 * ((faint - stars.g[order]) / max(faint - bright, 1e-3)) ** 3
    axes.scatter(
        x[order],
        y[order],
        s=size,
        c="#ffffff" if look is NIGHT else "#14213d",
        linewidths=0,
        alpha=0.85,
    )
    axes.set_xlim(-0.5, bins - 0.5)
    axes.set_ylim(-0.5, bins - 0.5)
    _dress(axes, look, title)
    lon, lat = axes.coords
    for coordinate, name in ((lon, "Right ascension (ICRS)"), (lat, "Declination (ICRS)")):
        coordinate.set_axislabel(name, color=look.ink, fontsize=9.5)
        coordinate.set_ticks(number=5, color=look.faint)
        coordinate.set_ticklabel(color=look.ink, size=9, exclude_overlapping=True)
        coordinate.set_major_formatter("d.d" if cone.radius >= 0.3 else "d.dd")
    axes.coords.frame.set_color(look.faint)
    axes.coords.frame.set_linewidth(0.8)
    axes.patch.set_edgecolor("none")  # WCSAxes edges its ground in white, whatever the frame
    axes.coords.grid(color=look.ink, alpha=0.18, linewidth=0.7)
    _bar(figure, shown, axes, look, "Stars per square degree")
    return figure


def hr(
    stars: Stars, min_snr: float = 5.0, look: Look = NIGHT, *, everyday: bool = False
) -> tuple[Figure, str]:
    """Return a Hertzsprung–Russell diagram and a sentence that says what is in it.

    Stars without a parallax good enough cannot be placed in it; if there are too few others, a colour–magnitude diagram
    with apparent magnitudes is drawn instead and the sentence says so.
    """
    good = stars.good(min_snr)
    absolute = int(good.sum()) >= 5
    chosen = good if absolute else np.isfinite(stars.colour) & np.isfinite(stars.g)
    figure = _figure(look)
    axes = figure.add_subplot()
    n = int(chosen.sum())
    size = float(np.clip(2200 / max(n, 1), 3, 26))
    y = (stars.absolute_g if absolute else stars.g)[chosen]
    colour = stars.colour[chosen]
    style = {"s": size, "linewidths": 0, "alpha": 0.9, "rasterized": True}
    if everyday or not absolute:
        axes.scatter(colour, y, c=colour, cmap=BLACKBODY, norm=Normalize(-0.3, 2.6), **style)
    else:
        distance = stars.distance[chosen]
        low, high = np.percentile(distance, [2, 98])
        norm = LogNorm(low, max(high, low * 1.05))
        shown = axes.scatter(colour, y, c=distance, cmap=DISTANCE, norm=norm, **style)
    axes.invert_yaxis()
    if everyday:
        _dress(axes, look, "Every dot is a star")
        axes.set_xlabel("← hot and blue           colour           cool and red →", fontsize=10)
        axes.set_ylabel("← faint           true brightness           bright →", fontsize=10)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
    else:
        _dress(axes, look, "What the stars are" if absolute else "Colour and brightness")
        axes.set_xlabel("Colour BP − RP [mag]", fontsize=9.5)
        label = "Absolute magnitude $M_G$ [mag]" if absolute else "Apparent magnitude G [mag]"
        axes.set_ylabel(label, fontsize=9.5)
    if absolute and not everyday:
        _bar(figure, shown, axes, look, "Distance [pc]")
        from matplotlib.ticker import LogLocator, ScalarFormatter

        bar = figure.axes[-1]
        bar.yaxis.set_major_formatter(ScalarFormatter())
        bar.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        bar.yaxis.set_minor_locator(LogLocator(base=10, subs=()))
    if absolute:
        told = f"{n:,} of {len(stars):,} stars have a parallax of at least {min_snr:g} times its error."
    else:
        told = (
            f"Fewer than 5 of these stars have a parallax of at least {min_snr:g} times its error, "
            "so their apparent magnitude is shown: nearby and distant stars are mixed."
        )
    return figure, told


def proper_motions(stars: Stars, chosen: np.ndarray, look: Look = NIGHT) -> Figure:
    """Return the vector-point diagram: members of a cluster move together and form a clump."""
    figure = _figure(look)
    axes = figure.add_subplot()
    distance = stars.distance[chosen]
    if distance.size:
        low, high = np.percentile(distance, [2, 98])
        shown = axes.scatter(
            stars.pmra[chosen],
            stars.pmdec[chosen],
            c=distance,
            s=float(np.clip(2200 / distance.size, 3, 26)),
            cmap=DISTANCE,
            norm=Normalize(low, max(high, low + 1)),
            linewidths=0,
            alpha=0.9,
        )
        _bar(figure, shown, axes, look, "Distance [pc]")
        reach = np.nanpercentile(np.hypot(stars.pmra[chosen], stars.pmdec[chosen]), 95) * 1.1 or 1
        axes.set_xlim(reach, -reach)
        axes.set_ylim(-reach, reach)
        axes.set_box_aspect(1)
    _dress(axes, look, "How the stars move")
    axes.set_xlabel("Proper motion μα cos δ [mas/yr]", fontsize=9.5)
    axes.set_ylabel("Proper motion μδ [mas/yr]", fontsize=9.5)
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    return buffer.getvalue()


def img(figure: Figure, alt: str) -> str:
    """Return a figure as HTML; `alt` says what it shows to those who do not see it."""
    from html import escape

    data = base64.b64encode(png(figure)).decode()
    width, height = (round(inches * figure.dpi) for inches in SIZE)
    return (
        f'<div class="gavip-night"><img width="{width}" height="{height}" alt="{escape(alt)}" '
        f'src="data:image/png;base64,{data}"></div>'
    )
