"""Resolves table and column names against the published tables and the uploads of a query.

Invariants: names are compared without case; an unknown name is an error that suggests the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from gavip_archive.errors import ADQLError
from gavip_archive.tableset import Column, Table, Tableset

from .dialect import ADQL

UPLOAD_SCHEMA = "tap_upload"


class Names:
    """The tables and columns one query may use.

    Parameters
    ----------
    tableset : Tableset
        The published tables.
    uploads : mapping of str to Table
        The uploaded tables by lower-case name, of schema ``tap_upload``.
    schema : MappingSchema, optional
        The published tables for sqlglot, when already built.
    """

    def __init__(
        self, tableset: Tableset, uploads: Mapping[str, Table], schema: MappingSchema | None = None
    ) -> None:
        self._tables = {table.qualified: table for table in tableset.tables}
        self._tables |= {f"{UPLOAD_SCHEMA}.{name}": table for name, table in uploads.items()}
        self._schema = (
            schema if schema is not None and not uploads else mapping_schema(self._tables.values())
        )

    def qualify_tables(self, tree: exp.Query) -> None:
        """Give every table of the tree its schema.

        Raises
        ------
        ADQLError
            When a table is unknown.
        """
        ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        for node in tree.find_all(exp.Table):
            name, schema = node.name.lower(), node.db.lower()
            if not schema and not node.catalog and name in ctes:
                continue
            table = self._find_table(schema, name) if not node.catalog else None
            if table is None:
                raise self._unknown_table(node)
            if not node.alias:
                node.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
            node.set("db", exp.to_identifier(table.schema, quoted=True))
            node.set("this", exp.to_identifier(table.name.lower(), quoted=True))

    def _find_table(self, schema: str, name: str) -> Table | None:
        if schema:
            return self._tables.get(f"{schema}.{name}")
        found = [table for key, table in self._tables.items() if key.partition(".")[2] == name]
        return found[0] if len(found) == 1 else None

    def _unknown_table(self, node: exp.Table) -> ADQLError:
        wanted = ".".join(part.name for part in node.parts)
        guesses = difflib.get_close_matches(wanted.lower(), self._tables, n=1, cutoff=0.6)
        bare = {key.partition(".")[2]: key for key in self._tables}
        guesses += [
            bare[name]
            for name in difflib.get_close_matches(node.name.lower(), bare, n=1, cutoff=0.7)
        ]
        hint = (
            f"Did you mean {guesses[0]}?"
            if guesses
            else f"The tables are {', '.join(self._tables)}."
        )
        return ADQLError(f"There is no table {wanted}.", hint=hint)

    def qualify_columns(self, tree: exp.Query) -> exp.Query:
        """Expand stars and give every column its table.

        Raises
        ------
        ADQLError
            When a column is unknown or ambiguous, or an alias is used twice.
        """
        try:
            qualified = qualify(
                tree, dialect=ADQL, schema=self._schema, validate_qualify_columns=False
            )
        except OptimizeError as error:
            self._explain_columns(tree)
            raise ADQLError(f"{str(error).rstrip('.')}.") from error
        self._explain_columns(qualified)
        if not isinstance(qualified, (exp.Select, exp.SetOperation)):
            raise ADQLError("The query does not start with SELECT.")
        return qualified

    def _explain_columns(self, tree: exp.Query) -> None:
        """Find the first column that resolves to nothing and say so."""
        for scope in traverse_scope(tree):
            for column in scope.columns:
                if isinstance(column.this, exp.Star) or not isinstance(column.this, exp.Identifier):
                    continue
                self._check_column(scope, column)

    def _check_column(self, scope: Scope, column: exp.Column) -> None:
        visible: dict[str, list[str]] = {}
        step: Scope | None = scope
        while step is not None:  # a correlated subquery sees the outer query's tables
            for alias, source in step.sources.items():
                visible.setdefault(alias, self._columns_of(source))
            step = step.parent if step.is_correlated_subquery or step.is_subquery else None
        name, table = column.name.lower(), column.table.lower()
        position = _position(column)
        if table:
            sources = {alias.lower(): names for alias, names in visible.items()}
            if table not in sources:
                guess = difflib.get_close_matches(table, sources, n=1)
                raise ADQLError(
                    f"There is no table or alias {column.table} in this query{position}.",
                    hint=f"Did you mean {guess[0]}?"
                    if guess
                    else f"The query's tables are {', '.join(visible)}.",
                )
            if name not in sources[table]:
                raise _unknown_column(column, sources[table], position)
            return
        owners = [alias for alias in scope.selected_sources if name in visible.get(alias, ())]
        if len(owners) > 1:
            raise ADQLError(
                f"The column {column.name} is in more than one table of this query{position}.",
                hint=f"Write {owners[0]}.{column.name} or {owners[1]}.{column.name}.",
            )
        aliases = [
            select.alias.lower() for select in _selects(scope.expression) if not _is_bare(select)
        ]
        everything = [each for names in visible.values() for each in names]
        if name not in everything and name not in aliases:
            raise _unknown_column(
                column, everything + [alias for alias in aliases if alias], position
            )

    def _columns_of(self, source: exp.Expr | Scope) -> list[str]:
        if isinstance(source, Scope):
            outer = source.outer_columns  # names given as alias(a, b, …)
            return [name.lower() for name in (outer or _names(source.expression))]
        table = self.table_of(source)
        return [column.name.lower() for column in table.columns] if table else []

    def table_of(self, node: exp.Expr) -> Table | None:
        """Return the published or uploaded table a qualified table node stands for."""
        if not isinstance(node, exp.Table):
            return None
        return self._tables.get(f"{node.db}.{node.name}".lower())

    def column_of(self, scope: Scope, node: exp.Expr | None) -> Column | None:
        """Return the metadata of the published column an expression is a plain copy of.

        Follows columns through subqueries, common table expressions and the first branch of set operations.
        """
        while isinstance(node, (exp.Alias, exp.Paren)):
            node = node.this
        if not isinstance(node, exp.Column):
            return None
        source = scope.sources.get(node.table)
        if isinstance(source, Scope):
            inner = projection(source, node.name)
            return self.column_of(inner[0], inner[1]) if inner else None
        table = self.table_of(source) if source is not None else None
        wanted = node.name.lower()
        return next((c for c in table.columns if c.name.lower() == wanted), None) if table else None


def projection(scope: Scope, name: str) -> tuple[Scope, exp.Expr] | None:
    """Return the select-list entry of this name, with the scope it stands in."""
    while scope.set_operation_scopes:
        scope = scope.set_operation_scopes[0]
    names = [each.lower() for each in scope.outer_columns] or [
        select.alias_or_name.lower() for select in _selects(scope.expression)
    ]
    selects = _selects(scope.expression)
    return (scope, selects[names.index(name.lower())]) if name.lower() in names else None


def _selects(node: exp.Expr) -> list[exp.Expr]:
    return list(node.selects) if isinstance(node, exp.Query) else []


def _names(node: exp.Expr) -> list[str]:
    return list(node.named_selects) if isinstance(node, exp.Query) else []


def _is_bare(select: exp.Expr) -> bool:
    """Whether a select-list entry is a column under its own name, which qualifying gives even unknown ones."""
    inner = select.this if isinstance(select, exp.Alias) else select
    return isinstance(inner, exp.Column) and not inner.table and inner.name == select.alias_or_name


def _unknown_column(column: exp.Column, known: list[str], position: str) -> ADQLError:
    guess = difflib.get_close_matches(column.name.lower(), known, n=1)
    shown = ", ".join(dict.fromkeys(known[:20]))
    return ADQLError(
        f"There is no column {column.sql(dialect=ADQL)}{position}.".replace('"', ""),
        hint=f"Did you mean {guess[0]}?" if guess else f"The columns are {shown}.",
    )


def _position(column: exp.Column) -> str:
    meta = column.this.meta if isinstance(column.this, exp.Identifier) else {}
    if "line" not in meta:
        return ""
    return f" (line {meta['line']}, column {max(1, meta['col'] - len(column.name) + 1)})"  # col is the last character's


def mapping_schema(tables: Iterable[Table]) -> MappingSchema:
    """Return tables as sqlglot's optimizer wants them."""
    mapping: dict[str, Any] = {}
    for table in tables:
        columns = {column.name.lower(): column.storage_type for column in table.columns}
        mapping.setdefault(table.schema, {})[table.name.lower()] = columns
    return MappingSchema(mapping, dialect=ADQL)
