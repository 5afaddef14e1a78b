"""Reads uploaded VOTables into columns that the database can load.

Uploads are hostile: no document type definition, no external STREAM (astropy would fetch any href, files too), bounded
size, rows and columns. Invariant: column names are unique without case.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from astropy.io.votable import parse
from astropy.io.votable.exceptions import VOTableSpecError, VOWarning
from astropy.io.votable.tree import Field as VOField
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from gavip_archive.errors import UploadError
from gavip_archive.limits import Limits
from gavip_archive.tableset import Column, Table

# Temporary tables of the database: leave room for its own words
TABLE_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,62}$")

_MAX_COLUMNS = 500
_SUPPORTED = (
    "boolean",
    "unsignedByte",
    "short",
    "int",
    "long",
    "float",
    "double",
    "char",
    "unicodeChar",
)
_STORAGE = {"unsignedByte": "short"}


@dataclass(frozen=True)
class Upload:
    """One uploaded table: its description and its columns, of the same order."""

    table: Table
    columns: tuple[np.ma.MaskedArray[Any, Any], ...]


def read_votable(name: str, content: bytes, limits: Limits) -> Upload:
    """Read one VOTable.

    Parameters
    ----------
    name : str
        The table's name in ``TAP_UPLOAD``.
    content : bytes
        The document.
    limits : Limits
        Bounds on bytes and rows.

    Returns
    -------
    Upload
        The table of schema ``tap_upload``.

    Raises
    ------
    UploadError
        When it is no VOTable with one usable table within the limits.
    """
    if len(content) > limits.upload_bytes:
        raise UploadError(
            f"The upload {name} is larger than {limits.upload_bytes // 2**20} MiB.",
            hint="Upload fewer rows or columns.",
        )
    _inspect(name, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", VOWarning
            )  # sloppy but readable documents are common and welcome
            document = parse(io.BytesIO(content), verify="ignore")
            element = document.get_first_table()
    except (
        VOTableSpecError,
        ValueError,
        IndexError,
        TypeError,
        KeyError,
        OSError,
        OverflowError,
    ) as error:
        raise UploadError(f"The upload {name} is not a readable VOTable: {error}") from error
    values = element.array
    if len(values) > limits.upload_rows:
        raise UploadError(
            f"The upload {name} has more than {limits.upload_rows} rows.", hint="Upload fewer rows."
        )
    if not element.fields or len(element.fields) > _MAX_COLUMNS:
        raise UploadError(f"The upload {name} has no columns or more than {_MAX_COLUMNS}.")
    columns, arrays, taken = [], [], set()
    for field in element.fields:
        column = _describe(name, field)
        if column.name.lower() in taken:
            raise UploadError(
                f"The upload {name} has two columns named {column.name}.", hint="Rename one."
            )
        taken.add(column.name.lower())
        columns.append(column)
        arrays.append(_values(name, field, values[field.ID]))
    return Upload(Table("tap_upload", name, "Uploaded table", tuple(columns)), tuple(arrays))


def _inspect(name: str, content: bytes) -> None:
    """Refuse documents that reach outside themselves, before anything else reads them."""
    try:
        for _, element in iterparse(io.BytesIO(content), forbid_dtd=True):
            if element.tag.rpartition("}")[2] == "STREAM" and element.get("href"):
                raise UploadError(
                    f"The upload {name} refers to external data.",
                    hint="Put the rows into the document.",
                )
            element.clear()
    except (ParseError, DefusedXmlException) as error:
        raise UploadError(
            f"The upload {name} is not well-formed XML.", hint="Send a VOTable."
        ) from error


def _describe(name: str, field: VOField) -> Column:
    text = field.datatype in ("char", "unicodeChar")
    scalar = field.arraysize in (None, "1")
    if field.datatype not in _SUPPORTED or not (
        scalar or (text and "x" not in str(field.arraysize))
    ):
        raise UploadError(
            f"The column {field.name} of the upload {name} has the unsupported type"
            f" {field.datatype}{'' if scalar else f'[{field.arraysize}]'}.",
            hint="Numbers, logicals and strings are supported; arrays are not.",
        )
    return Column(
        name=str(field.name or field.ID),
        datatype=_STORAGE.get(field.datatype, field.datatype),
        unit=str(field.unit) if field.unit is not None else None,
        ucd=str(field.ucd) if field.ucd else None,
        description=str(field.description) if field.description else None,
        xtype=str(field.xtype) if field.xtype else None,
    )


def _values(name: str, field: VOField, values: Any) -> np.ma.MaskedArray[Any, Any]:
    masked = np.ma.MaskedArray(values)
    mask = np.ma.getmaskarray(masked)
    data = np.ma.getdata(masked)
    if field.datatype in ("char", "unicodeChar"):
        texts = np.empty(len(data), dtype=object)
        texts[:] = [
            "" if hidden else _text(value)
            for value, hidden in zip(data, mask.reshape(-1), strict=True)
        ]
        return np.ma.MaskedArray(texts, mask=mask | (texts == ""))
    if data.dtype.kind == "f":
        mask = mask | np.isnan(data)
    if data.dtype.kind == "O" or data.ndim != 1:
        raise UploadError(
            f"The column {field.name} of the upload {name} is not a column of single values."
        )
    return np.ma.MaskedArray(data.astype(data.dtype.newbyteorder("=")), mask=mask)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
