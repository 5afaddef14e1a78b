"""The published tables and columns: their names, types, units and descriptions.

The one source is ``data/tableset.yaml``; the build writes it into TAP_SCHEMA, everything else reads it here.
Invariants: names are lower case; ``Column.name`` never carries quotes (``adql_name`` does where ADQL needs them).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

# VOTable datatype → DuckDB type
STORAGE_TYPES = {
    "boolean": "BOOLEAN",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "char": "VARCHAR",
    "unicodeChar": "VARCHAR",
}


@dataclass(frozen=True)
class Column:
    """One published column.

    Attributes
    ----------
    name : str
        The bare name.
    datatype : str
        VOTable datatype (VOTable 1.4, section 2.1); strings are ``char`` of any length.
    unit, ucd, description, xtype : str or None
        VOUnit, UCD 1+, text for people, DALI extended type.
    indexed, principal, std : bool
        As in TAP_SCHEMA (TAP 1.1, section 4.3).
    reserved : bool
        Whether ADQL needs the name in quotes.
    """

    name: str
    datatype: str
    unit: str | None = None
    ucd: str | None = None
    description: str | None = None
    xtype: str | None = None
    indexed: bool = False
    principal: bool = True
    std: bool = False
    reserved: bool = False

    @property
    def adql_name(self) -> str:
        """The name as it must be written in a query."""
        return f'"{self.name}"' if self.reserved else self.name

    @property
    def arraysize(self) -> str | None:
        """VOTable arraysize: ``*`` for strings, None for scalars."""
        return "*" if self.datatype in ("char", "unicodeChar") else None

    @property
    def storage_type(self) -> str:
        """The DuckDB type that holds the column."""
        return STORAGE_TYPES[self.datatype]

    @property
    def is_integer(self) -> bool:
        """Whether the values are whole numbers."""
        return self.datatype in ("short", "int", "long")


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key from the table that owns it to ``target`` (``schema.table``)."""

    target: str
    columns: tuple[tuple[str, str], ...]
    description: str | None = None


@dataclass(frozen=True)
class Table:
    """One published table."""

    schema: str
    name: str
    description: str
    columns: tuple[Column, ...]
    keys: tuple[ForeignKey, ...] = ()

    @property
    def qualified(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Schema:
    """One published schema."""

    name: str
    title: str
    description: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Tableset:
    """All published schemas."""

    schemas: tuple[Schema, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of all schemas, in the recommended order."""
        return tuple(table for schema in self.schemas for table in schema.tables)

    def table(self, qualified: str) -> Table | None:
        """Return the table of this name (``schema.table``, any case), or None."""
        wanted = qualified.lower()
        return next((table for table in self.tables if table.qualified == wanted), None)


def _column(key: str, entry: list[Any], standard: bool) -> Column:
    datatype, unit, ucd, description = entry
    name = key.rstrip("!*")
    return Column(
        name=name.strip('"'),
        datatype=datatype,
        unit=unit,
        ucd=ucd,
        description=description,
        indexed="!" in key,
        principal="*" not in key,
        std=standard,
        reserved=name.startswith('"'),
    )


def _table(schema: str, name: str, entry: dict[str, Any]) -> Table:
    columns = tuple(
        _column(key, value, schema == "tap_schema") for key, value in entry["columns"].items()
    )
    keys = tuple(
        ForeignKey(key["to"], tuple(key["columns"].items()), key.get("description"))
        for key in entry.get("keys", ())
    )
    return Table(schema, name, entry["description"], columns, keys)


@cache
def load_tableset() -> Tableset:
    """Return the metadata of ``tableset.yaml``."""
    text = resources.files(__package__).joinpath("data/tableset.yaml").read_text("utf-8")
    schemas = yaml.safe_load(text)["schemas"]
    return Tableset(
        tuple(
            Schema(
                name,
                entry["title"],
                entry["description"],
                tuple(_table(name, table, value) for table, value in entry["tables"].items()),
            )
            for name, entry in schemas.items()
        )
    )
