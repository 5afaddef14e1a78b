"""The columns of a result: what formats need to know of them.

Invariant: ``values`` of a page are of the numpy type of the field's datatype, strings as objects, with a mask
where NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# VOTable datatype → numpy type of the values in memory
NUMPY_TYPES: dict[str, str] = {
    "boolean": "?",
    "short": "<i2",
    "int": "<i4",
    "long": "<i8",
    "float": "<f4",
    "double": "<f8",
    "char": "O",
    "unicodeChar": "O",
}

# DuckDB type → (VOTable datatype, type to cast to when the two differ)
_DATABASE_TYPES: dict[str, tuple[str, str | None]] = {
    "BOOLEAN": ("boolean", None),
    "TINYINT": ("short", "SMALLINT"),
    "UTINYINT": ("short", "SMALLINT"),
    "SMALLINT": ("short", None),
    "USMALLINT": ("int", "INTEGER"),
    "INTEGER": ("int", None),
    "UINTEGER": ("long", "BIGINT"),
    "BIGINT": ("long", None),
    "UBIGINT": ("long", "BIGINT"),
    "HUGEINT": ("long", "BIGINT"),
    "FLOAT": ("float", None),
    "DOUBLE": ("double", None),
    "VARCHAR": ("char", None),
}


def datatype_of(database_type: str) -> tuple[str, str | None]:
    """Return the VOTable datatype of a DuckDB type and the DuckDB type to cast to first, if any."""
    if database_type.startswith("DECIMAL"):
        return "double", "DOUBLE"
    return _DATABASE_TYPES.get(database_type, ("char", "VARCHAR"))


@dataclass(frozen=True)
class Field:
    """One column of a result.

    Attributes
    ----------
    name, datatype : str
        As in VOTable; strings are of any length.
    unit, ucd, description, xtype : str or None
        Metadata of the published column it copies, if any.
    width : int
        Bytes of the longest value of a string column in UTF-8, else 0.
    """

    name: str
    datatype: str
    unit: str | None = None
    ucd: str | None = None
    description: str | None = None
    xtype: str | None = None
    width: int = 0

    @property
    def is_text(self) -> bool:
        """Whether the values are strings."""
        return self.datatype in ("char", "unicodeChar")


@dataclass(frozen=True)
class Page:
    """Some rows of a result, column by column: ``masked arrays`` of equal length."""

    columns: tuple[np.ma.MaskedArray[Any, Any], ...]

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0
