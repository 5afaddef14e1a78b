"""What is computed from the rows; every formula names its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

KM_S_PER_MAS_YR_KPC = 4.740470446
"""One au per year in km/s: turns proper motion over parallax into a velocity (IAU 2012 B2 au, Julian year)."""


def column(table: Any, name: str) -> np.ndarray:
    """Return a column as plain floats, NaN where the archive has no value."""
    return np.asarray(np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan), dtype=float)


@dataclass(frozen=True)
class Stars:
    """The stars of a cone.

    Attributes
    ----------
    ra, dec : ndarray, shape (n,)
        ICRS, degrees.
    parallax, parallax_error : ndarray, shape (n,)
        mas, NaN where unknown.
    pmra, pmdec : ndarray, shape (n,)
        mas/yr (pmra with the factor cos dec), NaN where unknown.
    g, colour : ndarray, shape (n,)
        Magnitudes G and BP − RP, NaN where unknown.
    """

    ra: np.ndarray
    dec: np.ndarray
    parallax: np.ndarray
    parallax_error: np.ndarray
    pmra: np.ndarray
    pmdec: np.ndarray
    g: np.ndarray
    colour: np.ndarray

    @classmethod
    def of(cls, table: Any) -> Stars:
        """Read the rows of the archive."""
        names = (
            "ra",
            "dec",
            "parallax",
            "parallax_error",
            "pmra",
            "pmdec",
            "phot_g_mean_mag",
            "bp_rp",
        )
        return cls(*(column(table, name) for name in names))

    def __len__(self) -> int:
        return len(self.ra)

    @property
    def snr(self) -> np.ndarray:
        """Parallax over its error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.parallax_error > 0, self.parallax / self.parallax_error, np.nan)

    def good(self, min_snr: float) -> np.ndarray:
        """Return which stars have a positive parallax of at least `min_snr` times its error, a colour and a G."""
        with np.errstate(invalid="ignore"):
            return (
                (self.parallax > 0)
                & (self.snr >= min_snr)
                & np.isfinite(self.colour)
                & np.isfinite(self.g)
            )

    @property
    def absolute_g(self) -> np.ndarray:
        """Absolute magnitude, no extinction: G + 5 log10(parallax/mas) − 10 (Babusiaux et al. 2018, A&A 616, A10)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.parallax > 0, self.g + 5 * np.log10(self.parallax) - 10, np.nan)

    @property
    def distance(self) -> np.ndarray:
        """1/parallax in pc: fit for small relative errors only (Luri et al. 2018, A&A 616, A9)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.parallax > 0, 1000 / self.parallax, np.nan)

    @property
    def tangential_velocity(self) -> np.ndarray:
        """km/s: 4.74 × total proper motion / parallax."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mu = np.hypot(self.pmra, self.pmdec)
            return np.where(self.parallax > 0, KM_S_PER_MAS_YR_KPC * mu / self.parallax, np.nan)
