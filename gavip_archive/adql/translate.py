"""Turns one ADQL query into one DuckDB query with known output columns.

Invariants: the result reads tables of the archive and uploads of this query only; it yields at most ``limit`` rows;
it has exactly the columns of :attr:`Translation.columns`, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, build_scope, traverse_scope

from gavip_archive.errors import ADQLError
from gavip_archive.tableset import Column, Table, Tableset

from . import geometry
from .dialect import parse
from .functions import FUNCTIONS, GEOMETRY_FUNCTIONS, KEEPS_INTEGER
from .names import UPLOAD_SCHEMA, Names, mapping_schema, projection

ARCHIVE_CATALOG = "archive"

_OUTPUT_NAME = "output_name"
_INTEGER_DIVISION = "integer_division"
_PREDICATE = "predicate"


@dataclass(frozen=True)
class OutputColumn:
    """A column of the result.

    Attributes
    ----------
    name : str
        The name to show, as the query wrote it.
    source : Column or None
        The metadata of the published column it is a copy of.
    """

    name: str
    source: Column | None


@dataclass(frozen=True)
class Translation:
    """A query for DuckDB and the columns it yields."""

    sql: str
    columns: tuple[OutputColumn, ...]


class Translator:
    """Translates queries against one set of published tables.

    Parameters
    ----------
    tableset : Tableset
        The published tables.
    max_length : int
        The longest query in characters.
    """

    def __init__(self, tableset: Tableset, max_length: int = 100_000) -> None:
        self._tableset = tableset
        self._schema = mapping_schema(tableset.tables)
        self._max_length = max_length

    def translate(
        self, query: str, *, limit: int | None = None, uploads: Mapping[str, Table] | None = None
    ) -> Translation:
        """Translate one query.

        Parameters
        ----------
        query : str
            ADQL.
        limit : int, optional
            The most rows to yield.
        uploads : mapping of str to Table, optional
            Uploaded tables by lower-case name.

        Returns
        -------
        Translation
            The DuckDB query and its columns.

        Raises
        ------
        ADQLError
            When the query is not ADQL or names what does not exist.
        """
        if len(query) > self._max_length:
            raise ADQLError(
                f"The query is longer than {self._max_length} characters.",
                hint="Upload long lists as a table.",
            )
        names = Names(self._tableset, uploads or {}, self._schema)
        tree = parse(query)
        try:
            return _translate(tree, names, limit)
        except RecursionError as error:
            raise ADQLError(
                "The query is nested too deeply.", hint="Use fewer parentheses."
            ) from error
        except SqlglotError as error:
            raise ADQLError("The query cannot be translated for this archive.") from error


def _translate(tree: exp.Query, names: Names, limit: int | None) -> Translation:
    _remember_names(tree)
    names.qualify_tables(tree)
    tree = names.qualify_columns(tree)
    columns = _output_columns(tree, names)
    _mark_integer_divisions(tree, names)
    tree = _rewrite(tree)
    _isolate_limits(tree)
    if limit is not None:
        _limit(tree, limit)
    sql = tree.sql(dialect="duckdb", identify=True, comments=False, normalize_functions=False)
    return Translation(sql, columns)


def _remember_names(tree: exp.Query) -> None:
    """Keep the spelling of the output columns: qualifying turns names to lower case."""
    for select in tree.selects:
        if isinstance(select, (exp.Alias, exp.Column)) and not select.is_star:
            select.meta[_OUTPUT_NAME] = select.alias_or_name
        elif isinstance(select, exp.Anonymous):
            select.meta[_OUTPUT_NAME] = str(select.this).lower()


def _output_columns(tree: exp.Query, names: Names) -> tuple[OutputColumn, ...]:
    scope = build_scope(tree)
    if scope is None:
        raise ADQLError("The query does not start with SELECT.")
    while scope.set_operation_scopes:
        scope = scope.set_operation_scopes[0]
    columns: list[OutputColumn] = []
    taken: set[str] = set()
    for number, select in enumerate(tree.selects, 1):
        source = names.column_of(scope, select)
        inner = select.this if isinstance(select, exp.Alias) else select
        name = select.meta.get(_OUTPUT_NAME) or inner.meta.get(_OUTPUT_NAME)
        if not name:
            name = select.alias_or_name
            if source and source.name.lower() == name.lower():
                name = source.name  # from a star: uploads keep their spelling
            elif not name or name.startswith("_col_"):
                name = f"col_{number}"
        unique, suffix = name, 2
        while unique.lower() in taken:  # FITS, Parquet and most clients need distinct names
            unique, suffix = f"{name}_{suffix}", suffix + 1
        taken.add(unique.lower())
        columns.append(OutputColumn(unique, replace(source, name=unique) if source else None))
    return tuple(columns)


def _mark_integer_divisions(tree: exp.Query, names: Names) -> None:
    """Find divisions of whole numbers, whose result is whole (SQL-92, 6.12); DuckDB's ``/`` always yields a fraction.

    Queries rely on it to cut the HEALPix index out of a source_id.
    """
    for scope in traverse_scope(tree):
        for node in scope.find_all(exp.Div):
            if _is_integer(node, scope, names):
                node.meta[_INTEGER_DIVISION] = True


def _is_integer(node: exp.Expr | None, scope: Scope, names: Names) -> bool:
    if isinstance(node, exp.Literal):
        return not node.is_string and str(node.this).isdigit()
    if isinstance(node, (exp.Paren, exp.Neg, exp.Alias)):
        return _is_integer(node.this, scope, names)
    if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
        return _is_integer(node.left, scope, names) and _is_integer(node.right, scope, names)
    if isinstance(node, exp.Cast):
        return node.to.this in (
            exp.DataType.Type.SMALLINT,
            exp.DataType.Type.INT,
            exp.DataType.Type.BIGINT,
        )
    if isinstance(node, exp.Anonymous):
        name = str(node.this).upper()
        if name == "COUNT":
            return True
        return name in KEEPS_INTEGER and all(
            _is_integer(each, scope, names) for each in node.expressions
        )
    if isinstance(node, exp.Column):
        source = scope.sources.get(node.table)
        if isinstance(source, Scope):
            inner = projection(source, node.name)
            return inner is not None and _is_integer(inner[1], inner[0], names)
        column = names.column_of(scope, node)
        return column is not None and column.is_integer
    return False


def _rewrite(tree: exp.Query) -> exp.Query:
    """Replace ADQL's functions, geometry, literals and tables by DuckDB's, leaves first."""
    for node in reversed(list(tree.dfs())):
        new = _rewritten(node)
        if new is not node:
            node.replace(new)
    for node in tree.find_all(exp.Anonymous):
        if str(node.this).upper() in geometry.CONSTRUCTORS:
            raise ADQLError(
                f"A {str(node.this).upper()} cannot stand here.",
                hint="Use it inside CONTAINS, INTERSECTS, DISTANCE or AREA; select COORD1 and COORD2 of a point.",
            )
    return tree


def _rewritten(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Anonymous):
        return _function(node)
    if isinstance(node, exp.EQ):
        return _predicate_comparison(node)
    if isinstance(node, exp.Div) and node.meta.get(_INTEGER_DIVISION):
        return exp.IntDiv(this=node.left.copy(), expression=node.right.copy())
    if (
        isinstance(node, exp.Literal)
        and not node.is_string
        and not isinstance(node.parent, (exp.Limit, exp.Offset))
    ):
        # DuckDB reads 1.5 as a decimal, which overflows in products; 1.5e0 is a double
        text = str(node.this)
        return exp.Literal.number(f"{text}e0") if "." in text and "e" not in text.lower() else node
    if isinstance(node, exp.Table) and node.db:
        return _table(node)
    return node


def _function(node: exp.Anonymous) -> exp.Expr:
    name = str(node.this).upper()
    if name in geometry.CONSTRUCTORS:
        return node  # its parent reads it
    arguments = list(node.expressions)
    if name in GEOMETRY_FUNCTIONS:
        return _geometry_function(name, arguments)
    function = FUNCTIONS.get(name)
    if function is None:
        raise ADQLError(
            f"There is no function {name}.",
            hint=f"The functions are {', '.join(sorted(FUNCTIONS))}.",
        )
    if not function.least <= len(arguments) <= function.most:
        raise ADQLError(
            f"{name} takes {_count(function.least, function.most)}, not {len(arguments)}."
        )
    star = any(isinstance(argument, (exp.Star, exp.Distinct)) for argument in arguments)
    if (star and not function.aggregate) or (
        name != "COUNT" and any(isinstance(each, exp.Star) for each in arguments)
    ):
        raise ADQLError(f"{name} cannot take * or DISTINCT.")
    return function.build(arguments)


def _count(least: int, most: int) -> str:
    if least == most:
        return f"{least} argument{'' if least == 1 else 's'}"
    return f"{least} to {most} arguments"


def _geometry_function(name: str, arguments: list[exp.Expr]) -> exp.Expr:
    if name == "DISTANCE" and len(arguments) == 4:  # ADQL 2.1: four coordinates
        return geometry.separation(geometry.Point(*arguments[:2]), geometry.Point(*arguments[2:]))
    expected = 2 if name in ("CONTAINS", "INTERSECTS", "DISTANCE") else 1
    if len(arguments) != expected:
        raise ADQLError(f"{name} takes {_count(expected, expected)}, not {len(arguments)}.")
    shapes = [geometry.read_geometry(argument) for argument in arguments]
    if name in ("CONTAINS", "INTERSECTS"):
        condition = (geometry.contains if name == "CONTAINS" else geometry.intersects)(
            shapes[0], shapes[1]
        )
        value = exp.Cast(this=exp.paren(condition), to=exp.DataType.build("INT"))
        value.meta[_PREDICATE] = True
        return value
    if name == "AREA":
        return exp.paren(geometry.area(shapes[0]))
    if name == "COORDSYS":
        return exp.Literal.string("ICRS")
    if name == "CENTROID":
        raise ADQLError("CENTROID is not supported.", hint="Write the centre yourself.")
    points = [shape for shape in shapes if isinstance(shape, geometry.Point)]
    if len(points) != expected:
        raise ADQLError(
            f"{name} takes points: {name}(POINT(ra, dec){', POINT(…)' if expected == 2 else ''})."
        )
    if name == "DISTANCE":
        return geometry.separation(points[0], points[1])
    return exp.paren((points[0].ra if name == "COORD1" else points[0].dec).copy())


def _predicate_comparison(node: exp.EQ) -> exp.Expr:
    """Turn ``1 = CONTAINS(…)`` into the bare condition, which DuckDB can push down to the tables."""
    for value, other in ((node.left, node.right), (node.right, node.left)):
        if (
            value.meta.get(_PREDICATE)
            and isinstance(other, exp.Literal)
            and str(other.this) in ("0", "1")
        ):
            condition = value.this.copy()
            return exp.Not(this=condition) if str(other.this) == "0" else condition
    return node


def _table(node: exp.Table) -> exp.Table:
    upload = node.db == UPLOAD_SCHEMA
    catalog, schema = ("temp", "main") if upload else (ARCHIVE_CATALOG, node.db)
    table = node.copy()
    table.set("catalog", exp.to_identifier(catalog, quoted=True))
    table.set("db", exp.to_identifier(schema, quoted=True))
    table.set(
        "this", exp.to_identifier(upload_table(node.name) if upload else node.name, quoted=True)
    )
    return table


def upload_table(name: str) -> str:
    """Return the name of the temporary table that holds an upload."""
    return f"upload_{name.lower()}"


def _isolate_limits(tree: exp.Query) -> None:
    """Put parentheses around TOP queries inside UNION, EXCEPT and INTERSECT, where LIMIT would bind to the whole."""
    for operation in list(tree.find_all(exp.SetOperation)):
        for side in ("this", "expression"):
            operand = operation.args[side]
            if isinstance(operand, exp.Select) and (
                operand.args.get("limit") or operand.args.get("order")
            ):
                operation.set(side, exp.Subquery(this=operand.copy()))


def _limit(tree: exp.Query, limit: int) -> None:
    present = tree.args.get("limit")
    asked = int(str(present.expression.this)) if isinstance(present, exp.Limit) else None
    if asked is None or asked > limit:
        tree.set("limit", exp.Limit(expression=exp.Literal.number(limit)))
