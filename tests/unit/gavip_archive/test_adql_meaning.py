"""What translated queries compute, against independent calculations."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gavip_archive.adql.geometry import Polygon, bounding_circle, polygon_area

AGAIN = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def vector(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def angle(a, b):
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


@AGAIN
@given(ra=st.floats(0, 360), dec=st.floats(-90, 90), radius=st.floats(0.01, 100))
def test_cone_holds_what_is_near(rows, ra, dec, radius):
    stars = rows("SELECT source_id, ra, dec FROM gaia_source")
    centre = vector(ra, dec)
    separations = {star: angle(vector(a, d), centre) for star, a, d in stars}
    found = {
        star
        for (star,) in rows(
            "SELECT source_id FROM gaia_source"
            f" WHERE 1=CONTAINS(POINT('ICRS',ra,dec),CIRCLE('ICRS',{ra!r},{dec!r},{radius!r}))"
        )
    }
    assert {star for star, far in separations.items() if far < radius - 1e-6} <= found
    assert found <= {star for star, far in separations.items() if far <= radius + 1e-6}


@AGAIN
@given(ra=st.floats(0, 360), dec=st.floats(-85, 85), size=st.floats(1, 60), turn=st.floats(0, 2))
def test_convex_polygon_agrees_with_half_spaces(rows, ra, dec, size, turn):
    centre = vector(ra, dec)
    east = np.cross([0, 0, 1.0], centre)
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)
    corners = []
    for step in range(5):
        phase = turn + step * 2 * math.pi / 5
        direction = math.cos(phase) * east + math.sin(phase) * north
        corners.append(
            math.cos(math.radians(size)) * centre + math.sin(math.radians(size)) * direction
        )
    positions = [
        (math.degrees(math.atan2(c[1], c[0])) % 360, math.degrees(math.asin(c[2]))) for c in corners
    ]
    text = ",".join(f"{a!r},{d!r}" for a, d in positions)
    found = {
        s
        for (s,) in rows(
            f"SELECT source_id FROM gaia_source WHERE 1=CONTAINS(POINT(ra,dec),POLYGON('ICRS',{text}))"
        )
    }
    normals = [np.cross(a, b) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)]
    for star, a, d in rows("SELECT source_id, ra, dec FROM gaia_source"):
        depth = min(float(normal @ vector(a, d)) for normal in normals)
        if abs(depth) > 1e-9:
            assert (star in found) == (depth > 0), (a, d)


def test_concave_polygon_leaves_its_notch_out(rows):
    notch = "POLYGON(0,0, 20,0, 20,20, 10,5, 0,20)"
    inside = lambda ra, dec: rows(f"SELECT CONTAINS(POINT({ra},{dec}),{notch}) AS c")[0][0]  # noqa: E731
    assert [inside(10, 2), inside(2, 12), inside(18, 12), inside(10, 12), inside(30, 2)] == [
        1,
        1,
        1,
        0,
        0,
    ]


def test_polygon_across_the_meridian(rows):
    box = "BOX(0, 0, 4, 4)"
    inside = [rows(f"SELECT CONTAINS(POINT({ra},0),{box}) AS c")[0][0] for ra in (359, 1, 357, 3)]
    assert inside == [1, 1, 0, 0]


def test_area_of_an_octant():
    assert polygon_area(Polygon(((0, 0), (90, 0), (0, 90)))) == pytest.approx(
        4 * 180**2 / math.pi / 8
    )


def test_bounding_circle_holds_the_vertices():
    vertices = ((350.0, -5.0), (10.0, -5.0), (0.0, 12.0))
    ra, dec, radius = bounding_circle(vertices)
    assert max(angle(vector(a, d), vector(ra, dec)) for a, d in vertices) == pytest.approx(radius)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        pytest.param("7/2", 3, id="integer-division"),
        pytest.param("-7/2", -3, id="integer-division-truncates"),
        pytest.param("7/2.0", 3.5, id="real-division"),
        pytest.param("1.5*2.5", 3.75, id="decimals-are-doubles"),
        pytest.param("MOD(7, 3)", 1, id="mod"),
        pytest.param("LOG(EXP(2.0))", 2.0, id="log-is-natural"),
        pytest.param("LOG10(1000)", 3.0, id="log10"),
        pytest.param("TRUNCATE(-1.239, 2)", -1.23, id="truncate-digits"),
        pytest.param("ROUND(1.25, 1)", 1.3, id="round-digits"),
        pytest.param("POWER(2, 10)", 1024.0, id="power"),
        pytest.param("'a' || 'b''c'", "ab'c", id="strings"),
        pytest.param("UPPER('aé')", "AÉ", id="upper"),
        pytest.param("COALESCE(NULL, 3)", 3, id="coalesce"),
        pytest.param("CAST('12' AS INTEGER)", 12, id="cast"),
        pytest.param("CAST(2.7 AS BIGINT)", 3, id="cast-rounds"),
        pytest.param("CASE WHEN 1 < 2 THEN 'y' ELSE 'n' END", "y", id="case"),
        pytest.param(
            "AREA(CIRCLE(0, 0, 90))", 2 * math.pi * (180 / math.pi) ** 2, id="area-of-a-hemisphere"
        ),
        pytest.param("COORD1(POINT('ICRS', 12.5, -3))", 12.5, id="coord1"),
        pytest.param("COORD2(POINT('ICRS', 12.5, -3))", -3, id="coord2"),
        pytest.param("DISTANCE(POINT(0, 0), POINT(90, 0))", 90.0, id="distance"),
        pytest.param("CONTAINS(CIRCLE(0, 0, 1), CIRCLE(0, 0, 2))", 1, id="circle-in-circle"),
        pytest.param("INTERSECTS(CIRCLE(0, 0, 1), CIRCLE(3, 0, 1))", 0, id="circles-apart"),
        pytest.param("INTERSECTS(CIRCLE(0, 0, 2), CIRCLE(3, 0, 2))", 1, id="circles-overlap"),
    ],
)
def test_values(rows, expression, value):
    ((found,),) = rows(f"SELECT {expression} AS x")
    assert found == pytest.approx(value) if isinstance(value, float) else found == value


def test_nulls_come_last(rows):
    assert rows("SELECT TOP 1 hip FROM gaia_source ORDER BY hip")[0][0] == 0


def test_healpix_of_a_source_id_groups(rows):
    pixels = rows(
        "SELECT source_id / 1000000000 AS pixel, COUNT(*) AS n FROM gaia_source GROUP BY pixel ORDER BY pixel"
    )
    assert pixels[0] == (0, 1000)
    assert sum(count for _, count in pixels) == 2000


def test_with_union_exists_and_subqueries_run(rows):
    assert (
        rows(
            "WITH near AS (SELECT TOP 3 source_id AS s FROM gaia_source ORDER BY source_id)"
            " SELECT s FROM near WHERE EXISTS (SELECT 1 FROM gaia_source AS g WHERE g.source_id = near.s)"
            " EXCEPT SELECT 1"
        ).__len__()
        == 2
    )
