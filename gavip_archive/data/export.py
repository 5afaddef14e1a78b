"""Exports a table of the archive, so that another server (DaCHS) can publish the very same rows."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from gavip_archive.errors import ParameterError
from gavip_archive.tableset import load_tableset

from .build import require_current


def export_table(database: Path, name: str, output: Path) -> int:
    """Write a table as CSV with a header line; NULL is an empty field.

    Parameters
    ----------
    database : Path
        The archive's DuckDB file.
    name : str
        ``schema.table``.
    output : Path
        The file, replaced when it exists.

    Returns
    -------
    int
        The number of rows.

    Raises
    ------
    ParameterError
        When there is no such table.
    DatabaseUnusable
        When the database is missing or outdated.
    """
    require_current(database)
    table = load_tableset().table(name)
    if table is None:
        raise ParameterError(
            f"there is no table {name}", hint="See gavip_archive/data/tableset.yaml."
        )
    part = output.with_name(f"{output.name}.part")
    target = str(part).replace("'", "''")
    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(
            f"COPY (SELECT * FROM {table.qualified}) TO '{target}' (FORMAT csv, HEADER true)"  # noqa: S608  # own names
        ).fetchall()
    os.replace(part, output)
    return int(rows[0][0])
