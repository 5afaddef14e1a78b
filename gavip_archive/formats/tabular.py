"""CSV, TSV, FITS and Parquet.

Invariant: NULL is an empty cell in text, NaN or TNULL in FITS, NULL in Parquet.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import numpy as np
from astropy.io import fits

from gavip_archive.engine.fields import NUMPY_TYPES, Field
from gavip_archive.engine.worker import Result

# FITS integers have no NaN: this value of each type says NULL (FITS 4.0, section 7.3.2, TNULLn)
_FITS_NULLS = {"short": -(2**15), "int": -(2**31), "long": -(2**63)}
_FITS_FORMATS = {"boolean": "L", "short": "I", "int": "J", "long": "K", "float": "E", "double": "D"}
_PARQUET_TYPES = {
    "boolean": "BOOLEAN",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "char": "VARCHAR",
    "unicodeChar": "VARCHAR",
}


def write_csv(result: Result, file: BinaryIO, query: str) -> None:
    """Write comma-separated values with a header line (RFC 4180)."""
    _write_text(result, file, csv.excel, "\r\n")


def write_tsv(result: Result, file: BinaryIO, query: str) -> None:
    """Write tab-separated values with a header line; tabs and line ends in strings become blanks."""
    _write_text(result, file, csv.excel_tab, "\n")


def _write_text(result: Result, file: BinaryIO, dialect: type[csv.Dialect], end: str) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, dialect, lineterminator=end)
    writer.writerow([field.name for field in result.fields])
    blanks = dict.fromkeys(map(ord, "\t\r\n"), " ") if dialect is csv.excel_tab else {}
    for page in result.pages():
        columns = [
            _texts(field, values, blanks)
            for field, values in zip(result.fields, page.columns, strict=True)
        ]
        writer.writerows(zip(*columns, strict=True))
    text.flush()
    text.detach()


def _texts(field: Field, values: np.ma.MaskedArray[Any, Any], blanks: dict[int, str]) -> list[str]:
    data = np.ma.getdata(values)
    if field.datatype == "boolean":
        texts = np.where(data, "true", "false").tolist()
    elif field.datatype in ("float", "double"):
        texts = data.astype(str).tolist()
    elif field.is_text:
        texts = [str(value).translate(blanks) for value in data.tolist()]
    else:
        texts = [str(value) for value in data.tolist()]
    mask = np.ma.getmaskarray(values)
    return (
        ["" if hidden else text for text, hidden in zip(texts, mask.tolist(), strict=True)]
        if mask.any()
        else texts
    )


def write_fits(result: Result, file: BinaryIO, query: str) -> None:
    """Write a FITS binary table (FITS 4.0, section 7.3). The whole table is held in memory."""
    dtype = np.dtype([(f"c{i}", _fits_dtype(field)) for i, field in enumerate(result.fields)])
    rows = np.zeros(result.row_count, dtype)
    start = 0
    for page in result.pages():
        part = rows[start : start + len(page)]
        for index, (field, values) in enumerate(zip(result.fields, page.columns, strict=True)):
            part[f"c{index}"] = _fits_values(field, values)
        start += len(page)
    columns = [
        fits.Column(
            name=field.name,
            format=f"{max(field.width, 1)}A" if field.is_text else _FITS_FORMATS[field.datatype],
            unit=_fits_unit(field),
            null=_FITS_NULLS.get(field.datatype),
            array=rows[f"c{index}"],
        )
        for index, field in enumerate(result.fields)
    ]
    table = fits.BinTableHDU.from_columns(columns, name="RESULT")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(file)


def _fits_dtype(field: Field) -> str:
    return f"S{max(field.width, 1)}" if field.is_text else NUMPY_TYPES[field.datatype]


def _fits_values(field: Field, values: np.ma.MaskedArray[Any, Any]) -> Any:
    if field.is_text:
        return [str(value).encode("ascii", "replace") for value in values.filled("").tolist()]
    if field.datatype in ("float", "double"):
        return values.filled(np.nan)
    return values.filled(_FITS_NULLS.get(field.datatype, False))


def _fits_unit(field: Field) -> str | None:
    return field.unit.replace(".", " ") if field.unit else None


def write_parquet(result: Result, file: BinaryIO, query: str) -> None:
    """Write a Parquet file with a DuckDB instance of its own: the workers may not write files."""
    with (
        tempfile.TemporaryDirectory(prefix="gavip-parquet-") as scratch,
        duckdb.connect(":memory:") as database,
    ):
        database.execute("SET memory_limit = '512MB'")
        database.execute(f"SET temp_directory = '{scratch}/spill'")
        database.execute(f"CREATE TABLE result ({', '.join(_parquet_columns(result.fields))})")
        for page in result.pages():
            arrays: dict[str, Any] = {}
            for index, values in enumerate(page.columns):
                arrays[f"v{index}"], arrays[f"m{index}"] = (
                    np.ma.getdata(values),
                    np.ma.getmaskarray(values),
                )
            database.register("page", arrays)
            picked = ", ".join(
                f"CASE WHEN m{i} THEN NULL ELSE v{i} END" for i in range(len(page.columns))
            )
            database.execute(f"INSERT INTO result SELECT {picked} FROM page").fetchall()  # noqa: S608  # own names
            database.unregister("page")
        target = Path(scratch, "result.parquet")
        database.execute(f"COPY result TO '{target}' (FORMAT parquet)").fetchall()
        with target.open("rb") as written:
            while block := written.read(1 << 20):
                file.write(block)


def _parquet_columns(fields: Sequence[Field]) -> list[str]:
    quoted = [field.name.replace('"', '""') for field in fields]
    return [
        f'"{name}" {_PARQUET_TYPES[field.datatype]}'
        for name, field in zip(quoted, fields, strict=True)
    ]
