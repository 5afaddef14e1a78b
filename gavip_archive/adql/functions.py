"""The functions a query may call, and what each becomes in DuckDB.

Invariant: a name that is not in :data:`FUNCTIONS` or among the geometry functions is refused, so no function of the
database can be reached by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from .geometry import call, number

Build = Callable[[list[exp.Expr]], exp.Expr]


@dataclass(frozen=True)
class Function:
    """One ADQL function: how many arguments it takes and how it is written for DuckDB."""

    least: int
    most: int
    build: Build
    aggregate: bool = False


def _same(name: str, least: int, most: int | None = None, *, aggregate: bool = False) -> Function:
    return Function(
        least, least if most is None else most, lambda values: call(name, *values), aggregate
    )


def _truncate(values: list[exp.Expr]) -> exp.Expr:
    if len(values) == 1:
        return call("trunc", values[0])
    scale = call("pow", number(10.0), values[1])
    scaled = exp.Mul(this=exp.paren(values[0].copy()), expression=scale)
    return exp.Div(this=call("trunc", scaled), expression=scale.copy(), typed=False, safe=False)


def _round(values: list[exp.Expr]) -> exp.Expr:
    digits = values[1] if len(values) > 1 else exp.Literal.number(0)
    return call("round", values[0], exp.Cast(this=digits.copy(), to=exp.DataType.build("INT")))


_MANY = 1000

# ADQL 2.0, sections 2.3 and 4.1: LOG is the natural logarithm (in DuckDB, log is the decimal one)
FUNCTIONS: dict[str, Function] = {
    "ABS": _same("abs", 1),
    "ACOS": _same("acos", 1),
    "ASIN": _same("asin", 1),
    "ATAN": _same("atan", 1),
    "ATAN2": _same("atan2", 2),
    "CEILING": _same("ceil", 1),
    "COS": _same("cos", 1),
    "COT": _same("cot", 1),
    "DEGREES": _same("degrees", 1),
    "EXP": _same("exp", 1),
    "FLOOR": _same("floor", 1),
    "LOG": _same("ln", 1),
    "LOG10": _same("log10", 1),
    "MOD": _same("mod", 2),
    "PI": _same("pi", 0),
    "POWER": _same("pow", 2),
    "RADIANS": _same("radians", 1),
    "RAND": Function(0, 1, lambda values: call("random")),
    "ROUND": Function(1, 2, _round),
    "SIN": _same("sin", 1),
    "SQRT": _same("sqrt", 1),
    "TAN": _same("tan", 1),
    "TRUNCATE": Function(1, 2, _truncate),
    "LOWER": _same("lower", 1),
    "UPPER": _same("upper", 1),
    "COALESCE": _same("coalesce", 1, _MANY),
    "AVG": _same("avg", 1, aggregate=True),
    "COUNT": _same("count", 1, aggregate=True),
    "MAX": _same("max", 1, aggregate=True),
    "MIN": _same("min", 1, aggregate=True),
    "SUM": _same("sum", 1, aggregate=True),
}

GEOMETRY_FUNCTIONS = frozenset(
    {"CONTAINS", "INTERSECTS", "DISTANCE", "AREA", "COORD1", "COORD2", "COORDSYS", "CENTROID"}
)

# Functions whose result is whole when their first argument is (MOD needs both, which integers give)
KEEPS_INTEGER = frozenset({"ABS", "MAX", "MIN", "SUM", "MOD", "COALESCE"})
