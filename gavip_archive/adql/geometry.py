"""ADQL's geometry on the sphere, as SQL expressions over right ascension and declination in degrees.

Owns the DuckDB macros the expressions call (:data:`MACROS`). Only ICRS is known: other coordinate systems are
refused, never ignored. Invariants: angles are degrees; a region's boundary belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from gavip_archive.errors import ADQLError

# Angular separation by the haversine formula: well conditioned at small angles, unlike the law of cosines
# (Sinnott 1984, Sky & Telescope 68, 159). The range of declinations comes first so that DuckDB skips row groups.
MACROS = (
    """CREATE MACRO adql_separation(ra1, dec1, ra2, dec2) AS degrees(2 * asin(least(1, sqrt(
           pow(sin(radians(dec1 - dec2) / 2), 2)
           + cos(radians(dec1)) * cos(radians(dec2)) * pow(sin(radians(ra1 - ra2) / 2), 2)))))""",
    """CREATE MACRO adql_in_circle(ra, "dec", ra0, dec0, radius) AS
           "dec" BETWEEN dec0 - radius AND dec0 + radius AND adql_separation(ra, "dec", ra0, dec0) <= radius""",
    # Gnomonic projection on the plane tangent at a centre, where great circles are straight lines
    # (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3)
    """CREATE MACRO adql_tangent_cos(ra, "dec", ra0, dec0) AS sin(radians(dec0)) * sin(radians("dec"))
           + cos(radians(dec0)) * cos(radians("dec")) * cos(radians(ra - ra0))""",
    """CREATE MACRO adql_tangent_x(ra, "dec", ra0, dec0) AS
           cos(radians("dec")) * sin(radians(ra - ra0)) / adql_tangent_cos(ra, "dec", ra0, dec0)""",
    """CREATE MACRO adql_tangent_y(ra, "dec", ra0, dec0) AS (cos(radians(dec0)) * sin(radians("dec"))
           - sin(radians(dec0)) * cos(radians("dec")) * cos(radians(ra - ra0)))
           / adql_tangent_cos(ra, "dec", ra0, dec0)""",
)

_ICRS_WORDS = frozenset(
    {
        "",
        "ICRS",
        "UNKNOWN",
        "UNKNOWNFRAME",
        "BARYCENTER",
        "GEOCENTER",
        "UNKNOWNREFPOS",
        "SPHERICAL2",
        "J2000",
    }
)
_MARGIN = 1e-9  # degrees: keeps points on a polygon's vertices inside its bounding circle


@dataclass(frozen=True)
class Point:
    """A position: two SQL expressions in degrees."""

    ra: exp.Expr
    dec: exp.Expr


@dataclass(frozen=True)
class Circle:
    """A cone around a point; the radius is an SQL expression in degrees."""

    centre: Point
    radius: exp.Expr


@dataclass(frozen=True)
class Polygon:
    """A polygon with great-circle edges and constant vertices (deg), convex or not, within a hemisphere."""

    vertices: tuple[tuple[float, float], ...]


Geometry = Point | Circle | Polygon

CONSTRUCTORS = frozenset({"POINT", "CIRCLE", "BOX", "POLYGON"})


def number(value: float) -> exp.Expr:
    """Return a DOUBLE literal."""
    literal = exp.Literal.number(
        repr(abs(float(value))) if "e" in repr(value) else f"{abs(float(value))!r}e0"
    )
    return exp.Neg(this=literal) if value < 0 else literal


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """Return a call of a DuckDB function or macro."""
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def constant(node: exp.Expr) -> float | None:
    """Return the value of a constant numeric expression, or None."""
    if isinstance(node, exp.Literal) and not node.is_string:
        return float(node.this)
    if isinstance(node, exp.Paren):
        return constant(node.this)
    if isinstance(node, exp.Neg):
        value = constant(node.this)
        return None if value is None else -value
    if isinstance(node, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
        left, right = constant(node.left), constant(node.right)
        if left is None or right is None:
            return None
        if isinstance(node, exp.Add):
            return left + right
        if isinstance(node, exp.Sub):
            return left - right
        if isinstance(node, exp.Mul):
            return left * right
        return left / right if right else None
    return None


def read_geometry(node: exp.Expr) -> Geometry:
    """Read POINT, CIRCLE, BOX or POLYGON (ADQL 2.0, section 2.4; ADQL 2.1, section 4.2).

    Parameters
    ----------
    node : sqlglot.exp.Expr
        The call, its arguments already SQL.

    Raises
    ------
    ADQLError
        When it is none of these, or its arguments are not usable.
    """
    name = str(node.this).upper() if isinstance(node, exp.Anonymous) else ""
    if name not in CONSTRUCTORS:
        raise ADQLError(
            "A geometry was expected: POINT, CIRCLE, BOX or POLYGON.",
            hint="The tables of this archive hold positions as two columns: write POINT(ra, dec).",
        )
    arguments = _without_frame(list(node.expressions))
    if name == "POINT":
        if len(arguments) != 2:
            raise ADQLError("POINT takes right ascension and declination: POINT(ra, dec).")
        return Point(*arguments)
    if name == "CIRCLE":
        *middle, radius = arguments or [exp.Null()]
        return Circle(
            _one_point(middle, "CIRCLE takes a centre and a radius: CIRCLE(ra, dec, radius)."),
            radius,
        )
    if name == "BOX":
        if len(arguments) < 3:
            raise ADQLError(
                "BOX takes a centre, a width and a height: BOX(ra, dec, width, height)."
            )
        centre = _one_point(
            arguments[:-2], "BOX takes a centre, a width and a height: BOX(ra, dec, width, height)."
        )
        return _box(centre, arguments[-2], arguments[-1])
    return _polygon(arguments)


def _without_frame(arguments: list[exp.Expr]) -> list[exp.Expr]:
    """Drop the deprecated first argument, the coordinate system, after checking that it is ICRS."""
    if arguments and isinstance(arguments[0], exp.Literal) and arguments[0].is_string:
        frame = str(arguments[0].this).upper()
        if not set(frame.split()) <= _ICRS_WORDS:
            raise ADQLError(
                f"The coordinate system “{arguments[0].this}” is not supported.",
                hint="All positions here are ICRS.",
            )
        return arguments[1:]
    return arguments


def _one_point(arguments: Sequence[exp.Expr], usage: str) -> Point:
    if len(arguments) == 1:
        point = read_geometry(arguments[0])
        if isinstance(point, Point):
            return point
    elif len(arguments) == 2:
        return Point(arguments[0], arguments[1])
    raise ADQLError(usage)


def _constants(arguments: Sequence[exp.Expr], what: str) -> list[float]:
    values = [constant(argument) for argument in arguments]
    if any(value is None or not math.isfinite(value) for value in values):
        raise ADQLError(f"{what} takes numbers here, not columns.", hint="CIRCLE takes columns.")
    return [value for value in values if value is not None]


def _box(centre: Point, width: exp.Expr, height: exp.Expr) -> Polygon:
    ra, dec, wide, high = _constants((centre.ra, centre.dec, width, height), "BOX")
    if wide <= 0 or high <= 0 or wide >= 180 or abs(dec) + high / 2 > 90:
        raise ADQLError("The BOX is empty, wider than 180 degrees or reaches over a pole.")
    west, east, south, north = ra - wide / 2, ra + wide / 2, dec - high / 2, dec + high / 2
    return _checked(((west, south), (east, south), (east, north), (west, north)))


def _polygon(arguments: Sequence[exp.Expr]) -> Polygon:
    flat: list[exp.Expr] = []
    for argument in arguments:
        if isinstance(argument, exp.Anonymous) and str(argument.this).upper() == "POINT":
            point = _one_point([argument], "POLYGON takes points.")
            flat += [point.ra, point.dec]
        else:
            flat.append(argument)
    values = _constants(flat, "POLYGON")
    if len(values) < 6 or len(values) % 2:
        raise ADQLError("POLYGON takes three or more pairs of right ascension and declination.")
    return _checked(tuple(zip(values[::2], values[1::2], strict=True)))


def _checked(vertices: tuple[tuple[float, float], ...]) -> Polygon:
    if any(abs(dec) > 90 for _, dec in vertices):
        raise ADQLError("A declination is outside -90 … 90 degrees.")
    _, _, radius = bounding_circle(vertices)
    if radius > 89:
        raise ADQLError(
            "The polygon is larger than a hemisphere.", hint="Split it into smaller ones."
        )
    return Polygon(vertices)


def _unit_vectors(vertices: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    lon, lat = np.radians(np.array(vertices, dtype="f8")).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def bounding_circle(vertices: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return right ascension, declination and radius (deg) of a circle that holds the polygon.

    The centre is the mean direction of the vertices. Within a hemisphere around it the polygon lies inside the
    circle through its farthest vertex, for great-circle edges never bulge away from a cap smaller than a hemisphere.
    """
    vectors = _unit_vectors(vertices)
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        return 0.0, 0.0, 180.0
    mean /= length
    radius = math.degrees(math.acos(float(np.clip((vectors @ mean).min(), -1, 1))))
    return (
        math.degrees(math.atan2(mean[1], mean[0])) % 360,
        math.degrees(math.asin(float(np.clip(mean[2], -1, 1)))),
        radius,
    )


def project(
    vertices: Sequence[tuple[float, float]], ra0: float, dec0: float
) -> list[tuple[float, float]]:
    """Project positions on the plane tangent at a centre, as the SQL macros do."""
    lon0, lat0 = math.radians(ra0), math.radians(dec0)
    out = []
    for ra, dec in vertices:
        lon, lat = math.radians(ra) - lon0, math.radians(dec)
        depth = math.sin(lat0) * math.sin(lat) + math.cos(lat0) * math.cos(lat) * math.cos(lon)
        x = math.cos(lat) * math.sin(lon) / depth
        y = (
            math.cos(lat0) * math.sin(lat) - math.sin(lat0) * math.cos(lat) * math.cos(lon)
        ) / depth
        out.append((x, y))
    return out


def separation(first: Point, second: Point) -> exp.Expr:
    """Return the angular separation of two points in degrees."""
    return call("adql_separation", first.ra, first.dec, second.ra, second.dec)


def contains(inner: Geometry, outer: Geometry) -> exp.Expr:
    """Return the condition that ``inner`` lies within ``outer``.

    Raises
    ------
    ADQLError
        For pairs that are not supported: a circle or polygon within a polygon, a polygon within a circle of columns.
    """
    if isinstance(outer, Point):
        raise ADQLError("CONTAINS needs a region as second argument: CIRCLE, BOX or POLYGON.")
    if isinstance(inner, Point):
        if isinstance(outer, Circle):
            return call(
                "adql_in_circle",
                inner.ra,
                inner.dec,
                outer.centre.ra,
                outer.centre.dec,
                outer.radius,
            )
        return _point_in_polygon(inner, outer)
    if isinstance(inner, Circle) and isinstance(outer, Circle):
        reach = exp.Add(
            this=separation(inner.centre, outer.centre), expression=exp.paren(inner.radius.copy())
        )
        return exp.LTE(this=reach, expression=exp.paren(outer.radius.copy()))
    raise ADQLError(
        "CONTAINS of these two regions is not supported.",
        hint="Points in any region and circles in circles are.",
    )


def intersects(first: Geometry, second: Geometry) -> exp.Expr:
    """Return the condition that two geometries share a point.

    Raises
    ------
    ADQLError
        When a polygon is tested against anything but a point.
    """
    if isinstance(first, Point) and isinstance(second, Point):
        return exp.EQ(this=separation(first, second), expression=number(0.0))
    if isinstance(first, Point):
        return contains(first, second)
    if isinstance(second, Point):
        return contains(second, first)
    if isinstance(first, Circle) and isinstance(second, Circle):
        reach = exp.Add(
            this=exp.paren(first.radius.copy()), expression=exp.paren(second.radius.copy())
        )
        return exp.LTE(this=separation(first.centre, second.centre), expression=reach)
    raise ADQLError(
        "INTERSECTS with a polygon is not supported.",
        hint="Circles with circles and points with regions are.",
    )


def area(region: Geometry) -> exp.Expr:
    """Return the area of a region in square degrees."""
    square = (180 / math.pi) ** 2
    if isinstance(region, Point):
        return number(0.0)
    if isinstance(region, Circle):
        cap = exp.Sub(this=number(1.0), expression=call("cos", call("radians", region.radius)))
        return exp.Mul(this=number(2 * math.pi * square), expression=exp.paren(cap))
    return number(polygon_area(region))


def polygon_area(polygon: Polygon) -> float:
    """Return the area of a polygon in square degrees.

    Sums the signed spherical excess of the triangles from the centre to each edge (van Oosterom & Strackee 1983, IEEE
    Trans. Biomed. Eng. 30, 125), which holds for polygons that are not convex, too.
    """
    ra0, dec0, _ = bounding_circle(polygon.vertices)
    centre = _unit_vectors([(ra0, dec0)])[0]
    vectors = _unit_vectors(polygon.vertices)
    total = 0.0
    for first, second in zip(vectors, np.roll(vectors, -1, axis=0), strict=True):
        triple = float(np.dot(centre, np.cross(first, second)))
        total += 2 * math.atan2(
            triple, 1 + float(centre @ first + first @ second + second @ centre)
        )
    return abs(total) * (180 / math.pi) ** 2


def _point_in_polygon(point: Point, polygon: Polygon) -> exp.Expr:
    """Even-odd rule in the tangent plane: the point is inside when a ray crosses an odd number of edges."""
    ra0, dec0, radius = bounding_circle(polygon.vertices)
    centre = Point(number(ra0), number(dec0))
    near = call(
        "adql_in_circle", point.ra, point.dec, centre.ra, centre.dec, number(radius + _MARGIN)
    )
    x = call("adql_tangent_x", point.ra, point.dec, centre.ra, centre.dec)
    y = call("adql_tangent_y", point.ra, point.dec, centre.ra, centre.dec)
    corners = project(polygon.vertices, ra0, dec0)
    crossings: list[exp.Expr] = []
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y1 == y2:
            continue  # an edge along the ray is never crossed
        low, high = min(y1, y2), max(y1, y2)
        slope = (x2 - x1) / (y2 - y1)
        spans = exp.and_(
            exp.LTE(this=number(low), expression=y.copy()),
            exp.LT(this=y.copy(), expression=number(high)),
        )
        offset = exp.Mul(
            this=number(slope), expression=exp.paren(exp.Sub(this=y.copy(), expression=number(y1)))
        )
        edge = exp.Add(this=number(x1), expression=offset)
        crossed = exp.and_(spans, exp.LT(this=x.copy(), expression=edge))
        crossings.append(exp.Cast(this=exp.paren(crossed), to=exp.DataType.build("INT")))
    total: exp.Expr = crossings[0]
    for crossing in crossings[1:]:
        total = exp.Add(this=total, expression=crossing)
    odd = exp.EQ(
        this=call("mod", exp.paren(total), exp.Literal.number(2)), expression=exp.Literal.number(1)
    )
    return exp.paren(exp.and_(near, odd))
