"""The one query of this AVI, in ADQL 2.0 that every TAP service with ``gaiadr3.gaia_source`` understands."""

from __future__ import annotations

import math
from dataclasses import dataclass

COLUMNS = (
    "source_id",
    "ra",
    "dec",
    "parallax",
    "parallax_error",
    "pmra",
    "pmdec",
    "phot_g_mean_mag",
    "phot_bp_mean_mag",
    "phot_rp_mean_mag",
    "bp_rp",
)


@dataclass(frozen=True)
class Cone:
    """A circle on the sky with a magnitude limit.

    Parameters
    ----------
    ra, dec : float
        Centre, ICRS, degrees.
    radius : float
        Degrees, above 0 and at most 20.
    g_max : float
        Faintest G magnitude.
    """

    ra: float
    dec: float
    radius: float
    g_max: float

    def __post_init__(self) -> None:
        limits = {"ra": (0, 360), "dec": (-90, 90), "radius": (1e-4, 20), "g_max": (1, 21)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and least <= value <= most):
                raise ValueError(f"{WORDS[name]} must be between {least:g} and {most:g}.")


WORDS = {
    "ra": "The right ascension [deg]",
    "dec": "The declination [deg]",
    "radius": "The radius [deg]",
    "g_max": "The faintest G [mag]",
}

PLACES: dict[str, Cone] = {
    "Pleiades": Cone(56.75, 24.12, 4.0, 12.0),
    "Hyades": Cone(66.75, 15.87, 9.0, 11.0),
    "Praesepe (Beehive)": Cone(130.10, 19.67, 3.0, 12.0),
    "Coma Berenices cluster": Cone(186.0, 26.0, 7.0, 12.0),
    "Alpha Persei cluster": Cone(51.6, 49.0, 5.0, 11.0),
    "Orion's belt": Cone(84.05, -1.2, 6.0, 11.0),
    "Southern Pleiades (IC 2602)": Cone(160.6, -64.4, 4.0, 12.0),
    "Large Magellanic Cloud": Cone(80.89, -69.76, 6.0, 12.0),
    "North Galactic Pole": Cone(192.86, 27.13, 20.0, 10.0),
}


def adql(cone: Cone, max_rows: int) -> str:
    """Return the query for the brightest `max_rows` stars of a cone."""
    return (
        f"SELECT TOP {int(max_rows)} {', '.join(COLUMNS)}\n"
        "FROM gaiadr3.gaia_source\n"
        "WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), "
        f"CIRCLE('ICRS', {cone.ra:.8f}, {cone.dec:.8f}, {cone.radius:.8f}))\n"
        f"AND phot_g_mean_mag <= {cone.g_max:.4f}\n"
        "ORDER BY phot_g_mean_mag"
    )
