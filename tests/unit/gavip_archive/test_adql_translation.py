"""ADQL in, DuckDB's SQL out; and what is refused, with which words."""

import pytest

from gavip_archive.errors import ADQLError

SOURCE = '"archive"."gaiadr3"."gaia_source" AS "gaia_source"'


@pytest.mark.parametrize(
    ("query", "sql"),
    [
        pytest.param(
            "SELECT ra FROM gaiadr3.gaia_source",
            f'SELECT "gaia_source"."ra" AS "ra" FROM {SOURCE}',
            id="plain",
        ),
        pytest.param(
            "SELECT ra FROM gaia_source",
            f'SELECT "gaia_source"."ra" AS "ra" FROM {SOURCE}',
            id="schema-left-out",
        ),
        pytest.param(
            "select top 5 RA from GaiaDR3.Gaia_Source -- a comment",
            f'SELECT "gaia_source"."ra" AS "ra" FROM {SOURCE} LIMIT 5',
            id="case-top-and-comment",
        ),
        pytest.param(
            "SELECT ra AS Alpha FROM gaiadr3.gaia_source ORDER BY alpha",
            f'SELECT "gaia_source"."ra" AS "alpha" FROM {SOURCE} ORDER BY "alpha"',
            id="order-by-alias",
        ),
        pytest.param(
            "SELECT ra FROM gaia_source WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 56.75, 24.1, 1))",
            f'SELECT "gaia_source"."ra" AS "ra" FROM {SOURCE} WHERE'
            ' (adql_in_circle("gaia_source"."ra", "gaia_source"."dec", 56.75e0, 24.1e0, 1))',
            id="cone",
        ),
        pytest.param(
            "SELECT ra FROM gaiadr3.gaia_source WHERE CONTAINS(POINT(ra, dec), CIRCLE(POINT(1, 2), 3)) = 0",
            f'SELECT "gaia_source"."ra" AS "ra" FROM {SOURCE} WHERE'
            ' NOT (adql_in_circle("gaia_source"."ra", "gaia_source"."dec", 1, 2, 3))',
            id="outside-a-cone-2.1-style",
        ),
        pytest.param(
            "SELECT CONTAINS(POINT(ra, dec), CIRCLE(1, 2, 3)) AS c FROM gaiadr3.gaia_source",
            'SELECT CAST((adql_in_circle("gaia_source"."ra", "gaia_source"."dec", 1, 2, 3)) AS INT) AS "c"'
            f" FROM {SOURCE}",
            id="contains-as-a-value",
        ),
        pytest.param(
            "SELECT DISTANCE(POINT('ICRS', ra, dec), POINT('ICRS', 1, -2.5)) AS d FROM gaiadr3.gaia_source",
            f'SELECT adql_separation("gaia_source"."ra", "gaia_source"."dec", 1, -2.5e0) AS "d" FROM {SOURCE}',
            id="distance",
        ),
        pytest.param(
            "SELECT DISTANCE(ra, dec, 1, 2) AS d FROM gaiadr3.gaia_source",
            f'SELECT adql_separation("gaia_source"."ra", "gaia_source"."dec", 1, 2) AS "d" FROM {SOURCE}',
            id="distance-of-four-numbers",
        ),
        pytest.param(
            "SELECT source_id/1000 AS a, ra/2 AS b FROM gaiadr3.gaia_source",
            f'SELECT "gaia_source"."source_id" // 1000 AS "a", "gaia_source"."ra" / 2 AS "b" FROM {SOURCE}',
            id="integer-and-real-division",
        ),
        pytest.param(
            "SELECT LOG(ra) AS a, LOG10(ra) AS b, CEILING(ra) AS c, TRUNCATE(ra) AS d FROM gaiadr3.gaia_source",
            'SELECT ln("gaia_source"."ra") AS "a", log10("gaia_source"."ra") AS "b", ceil("gaia_source"."ra") AS "c",'
            f' trunc("gaia_source"."ra") AS "d" FROM {SOURCE}',
            id="function-names",
        ),
        pytest.param(
            'SELECT "size" FROM TAP_SCHEMA.columns',
            'SELECT "columns"."size" AS "size" FROM "archive"."tap_schema"."columns" AS "columns"',
            id="quoted-name",
        ),
        pytest.param(
            "SELECT TOP 1 hip FROM hipparcos.hipparcos2 UNION SELECT TOP 2 hip FROM hipparcos.hipparcos2",
            '(SELECT "hipparcos2"."hip" AS "hip" FROM "archive"."hipparcos"."hipparcos2" AS "hipparcos2" LIMIT 1) UNION'
            ' (SELECT "hipparcos2"."hip" AS "hip" FROM "archive"."hipparcos"."hipparcos2" AS "hipparcos2" LIMIT 2)',
            id="top-in-union",
        ),
    ],
)
def test_translation(translator, query, sql):
    assert translator.translate(query).sql == sql


@pytest.mark.parametrize(
    ("query", "limit", "ending"),
    [
        pytest.param("SELECT ra FROM gaia_source", 11, "LIMIT 11", id="none-in-query"),
        pytest.param("SELECT TOP 5 ra FROM gaia_source", 11, "LIMIT 5", id="smaller-in-query"),
        pytest.param("SELECT TOP 50 ra FROM gaia_source", 11, "LIMIT 11", id="larger-in-query"),
        pytest.param(
            "SELECT ra FROM gaia_source ORDER BY ra OFFSET 3",
            11,
            "LIMIT 11 OFFSET 3",
            id="with-offset",
        ),
    ],
)
def test_limit(translator, query, limit, ending):
    assert translator.translate(query, limit=limit).sql.endswith(ending)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param(
            "SELECT Source_ID, RA AS Alpha FROM gaia_source",
            ["Source_ID", "Alpha"],
            id="spelling-kept",
        ),
        pytest.param(
            "SELECT COUNT(*), COUNT(hip) FROM gaia_source",
            ["count", "count_2"],
            id="functions-made-unique",
        ),
        pytest.param(
            "SELECT 1+1, ra*2 FROM gaia_source", ["col_1", "col_2"], id="expressions-numbered"
        ),
        pytest.param(
            "SELECT a.ra, b.ra FROM gaia_source a, gaia_source b",
            ["ra", "ra_2"],
            id="doubles-made-unique",
        ),
        pytest.param(
            "SELECT * FROM (SELECT ra AS x, dec FROM gaia_source) AS q",
            ["x", "dec"],
            id="star-of-subquery",
        ),
    ],
)
def test_output_names(translator, query, names):
    assert [column.name for column in translator.translate(query).columns] == names


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("SELECT parallax FROM gaia_source", id="direct"),
        pytest.param(
            "SELECT q.p AS z FROM (SELECT parallax AS p FROM gaia_source) AS q",
            id="through-subquery",
        ),
        pytest.param(
            "WITH c AS (SELECT parallax AS p FROM gaia_source) SELECT p FROM c", id="through-with"
        ),
        pytest.param(
            "SELECT parallax FROM gaia_source UNION SELECT pmra FROM gaia_source",
            id="through-union",
        ),
    ],
)
def test_metadata_follows_columns(translator, query):
    (column,) = translator.translate(query).columns
    assert column.source is not None
    assert (column.source.unit, column.source.ucd) == ("mas", "pos.parallax.trig")


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        pytest.param("", "empty", "SELECT TOP 10", id="empty"),
        pytest.param("SELECT FROM x", "nothing is selected", "", id="nothing-selected"),
        pytest.param(
            "SELECT ra FROM gaia_source WHERE", "syntax error near “WHERE”", "", id="unfinished"
        ),
        pytest.param("SELECT 'a FROM x", "unfinished string", "quote", id="open-quote"),
        pytest.param(
            "SELECT 1; DROP TABLE x",
            "after the semicolon",
            "nothing was executed",
            id="second-statement",
        ),
        pytest.param("SELECT 1; SELECT 2", "after the semicolon", "", id="second-select"),
        pytest.param("DROP TABLE gaiadr3.gaia_source", "does not start with SELECT", "", id="drop"),
        pytest.param("INSERT INTO x SELECT 1", "does not start with SELECT", "", id="insert"),
        pytest.param(
            "SELECT ra FROM gaiadr3.gaia_sorce",
            "no table gaiadr3.gaia_sorce",
            "gaiadr3.gaia_source",
            id="table",
        ),
        pytest.param(
            "SELECT ra FROM main.build",
            "no table main.build",
            "The tables are",
            id="internal-table",
        ),
        pytest.param(
            "SELECT rra FROM gaia_source", "no column rra (line 1, column 8)", "ra?", id="column"
        ),
        pytest.param(
            "SELECT g.rra FROM gaia_source g", "no column g.rra", "ra?", id="column-of-alias"
        ),
        pytest.param("SELECT h.ra FROM gaia_source g", "no table or alias h", "g", id="alias"),
        pytest.param(
            "SELECT ra FROM gaia_source ORDER BY nope", "no column nope", "", id="order-by"
        ),
        pytest.param(
            "SELECT ra FROM gaia_source a, gaia_source b",
            "more than one table",
            "a.ra or b.ra",
            id="ambiguous",
        ),
        pytest.param("SELECT md5('x')", "no function MD5", "ABS", id="function"),
        pytest.param("SELECT getenv('HOME')", "no function GETENV", "", id="dangerous-function"),
        pytest.param(
            "SELECT * FROM read_csv('/etc/passwd')",
            "cannot be queried like a table",
            "",
            id="table-function",
        ),
        pytest.param("SELECT * FROM '/etc/passwd'", "no table", "", id="file-as-table"),
        pytest.param("SELECT SQRT(1, 2)", "SQRT takes 1 argument, not 2", "", id="arguments"),
        pytest.param(
            "SELECT SUM(ra) OVER () FROM gaia_source", "no such construct", "", id="window"
        ),
        pytest.param("SELECT CAST(ra AS BLOB) FROM gaia_source", "CAST to", "BIGINT", id="cast"),
        pytest.param("SELECT POINT(1, 2)", "POINT cannot stand here", "COORD1", id="bare-point"),
        pytest.param(
            "SELECT 1 WHERE 1=CONTAINS(POINT('GALACTIC',1,2),CIRCLE(1,2,3))",
            "GALACTIC",
            "ICRS",
            id="frame",
        ),
        pytest.param(
            "SELECT 1 FROM gaia_source WHERE 1=CONTAINS(POINT(1,2),POLYGON(ra,dec,1,2,3,4))",
            "POLYGON takes numbers",
            "",
            id="polygon-of-columns",
        ),
        pytest.param(
            "SELECT 1 WHERE 1=CONTAINS(POINT(1,2),POLYGON(0,0,120,0,240,0))",
            "hemisphere",
            "Split",
            id="huge-polygon",
        ),
        pytest.param("SELECT TOP 1.5 ra FROM gaia_source", "", "", id="fractional-top"),
        pytest.param(
            "SELECT " + "(" * 3000 + "1" + ")" * 3000,
            "nested too deeply",
            "",
            id="parenthesis-bomb",
        ),
        pytest.param("SELECT 1 " + " " * 200_000, "longer than", "Upload", id="too-long"),
        pytest.param(
            "WITH RECURSIVE a AS (SELECT 1 AS x UNION SELECT x FROM a) SELECT x FROM a",
            "RECURSIVE",
            "",
            id="recursion",
        ),
    ],
)
def test_refusal(translator, query, message, hint):
    with pytest.raises(ADQLError) as caught:
        translator.translate(query)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "query",
    [pytest.param("SELECT 1;", id="bare"), pytest.param("SELECT 1 ; \n -- bye", id="comment")],
)
def test_trailing_semicolon_is_tolerated(translator, query):
    assert translator.translate(query).columns[0].name
