"""What astronomers do, with the client they use."""

import gc
import io
import time
import warnings

import duckdb
import numpy as np
import pytest
import pyvo
import requests
from astropy.io.votable import parse
from astropy.table import Table

from gavip_archive.web.examples import load_examples

from .conftest import wait_for

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _collect_what_pyvo_leaves():
    """pyvo drops streamed answers unread; their sockets are only closed when collected."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


CONE = (
    "SELECT source_id, ra, dec, parallax, pmra, pmdec, phot_g_mean_mag, bp_rp FROM gaiadr3.gaia_source"
    " WHERE 1=CONTAINS(POINT('ICRS',ra,dec),CIRCLE('ICRS',{ra},{dec},{r}))"
)
SLOW = "SELECT MAX(SIN(a.ra*b.ra*c.ra)) AS x FROM gaiadr3.gaia_source a, gaiadr3.gaia_source b, gaiadr3.gaia_source c"
# every pair must be remembered: 2e11 of them, which no limit holds
BOMB = (
    "SELECT COUNT(*) AS n FROM"
    " (SELECT DISTINCT a.source_id, b.ra FROM gaiadr3.gaia_source AS a, gaiadr3.gaia_source AS b) AS pairs"
)


def test_the_rows_are_the_real_ones(service):
    counts = service.tap().run_sync(
        "SELECT COUNT(*) AS n, COUNT(parallax) AS p, COUNT(bp_rp) AS c, MIN(source_id) AS least"
        " FROM gaiadr3.gaia_source"
    )[0]
    assert (counts["n"], counts["p"], counts["c"]) == (482_106, 109_785, 481_812)
    assert counts["least"] > 0


def test_the_pleiades_are_where_they_should_be(service):
    found = service.tap().run_sync(CONE.format(ra=56.75, dec=24.12, r=1.0)).to_table()
    assert len(found) == 112
    parallax = np.asarray(found["parallax"].filled(np.nan))
    assert 6.5 < np.median(parallax[parallax > 5]) < 9.5  # 7.4 mas, de Grijs & Bono 2017
    assert found["parallax"].unit == "mas"


def test_magnitudes_are_gaia_and_astrometry_is_hipparcos(service):
    """BP-RP follows Hipparcos B-V closely: what the package calls proper motions are magnitudes."""
    pairs = service.tap().run_sync(
        "SELECT g.bp_rp, h.b_v FROM gaiadr3.gaia_source AS g JOIN hipparcos.hipparcos2 AS h ON g.hip = h.hip"
        " WHERE g.bp_rp IS NOT NULL AND h.b_v <> 0"
    )
    assert np.corrcoef(pairs["bp_rp"], pairs["b_v"])[0, 1] > 0.9


@pytest.mark.parametrize("example", load_examples(), ids=lambda example: example.id)
def test_every_example_finds_something(service, example):
    assert len(service.tap().run_sync(example.query)) > 0


def test_tables_are_described(service):
    tables = service.tap().tables
    columns = {column.name: column for column in tables["gaiadr3.gaia_source"].columns}
    assert columns["parallax"].unit == "mas"
    assert {"ogle.variable_star", "macho.light_curve", "gaiadr2.asteroid_photometry"} <= set(
        tables.keys()
    )


def test_async(service):
    job = service.tap().submit_job(CONE.format(ra=56.75, dec=24.12, r=1.0))
    assert job.phase == "PENDING"
    job.run().wait(timeout=20)
    assert job.phase == "COMPLETED"
    assert len(job.fetch_result()) == 112
    url = job.url
    job.delete()
    assert requests.get(url, timeout=5).status_code == 404


UPLOAD = Table({"name": ["Pleiades", "Hyades"], "r": [56.75, 66.75], "d": [24.12, 15.87]})
JOINED = (
    "SELECT u.name, g.source_id FROM TAP_UPLOAD.t1 AS u JOIN gaiadr3.gaia_source AS g"
    " ON 1=CONTAINS(POINT('ICRS',g.ra,g.dec),CIRCLE('ICRS',u.r,u.d,0.5))"
)


@pytest.mark.parametrize("run", ["run_sync", "run_async"])
def test_upload(service, run):
    found = getattr(service.tap(), run)(JOINED, uploads={"t1": UPLOAD}).to_table()
    assert set(found["name"]) == {"Pleiades", "Hyades"}
    assert len(found) == 52


def test_uploads_of_others_are_not_seen(service):
    service.tap().run_sync("SELECT * FROM TAP_UPLOAD.t1", uploads={"t1": UPLOAD})
    with pytest.raises(pyvo.DALQueryError, match="no table"):
        service.tap().run_sync("SELECT * FROM TAP_UPLOAD.t1")


@pytest.mark.parametrize("run", ["run_sync", "run_async"])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param(
            "SELECT paralax FROM gaiadr3.gaia_source", "Did you mean parallax?", id="column"
        ),
        pytest.param(
            "SELECT * FROM gaiadr3.gaia_sourc", "Did you mean gaiadr3.gaia_source?", id="table"
        ),
        pytest.param(
            "SELECT ra FROM gaiadr3.gaia_source; DROP TABLE gaiadr3.gaia_source",
            "semicolon",
            id="semicolon",
        ),
        pytest.param("SELECT ra FROM", "syntax error", id="syntax"),
    ],
)
def test_errors_say_what_to_do(service, run, query, message):
    with pytest.raises(pyvo.DALQueryError) as caught:
        getattr(service.tap(), run)(query)
    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_overflow_and_maxrec(service):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pyvo.dal.exceptions.DALOverflowWarning)
        cut = service.tap().run_sync("SELECT ra FROM gaiadr3.gaia_source", maxrec=10)
    assert len(cut) == 10
    assert cut.query_status == "OVERFLOW"
    exact = service.tap().run_sync("SELECT TOP 10 ra FROM gaiadr3.gaia_source", maxrec=10)
    assert exact.query_status == "OK"


def test_maxrec_zero_gives_the_columns_alone(service):
    document = parse(
        io.BytesIO(service.sync("SELECT ra, hip FROM gaiadr3.gaia_source", MAXREC="0").content)
    )
    table = document.get_first_table()
    assert ([field.name for field in table.fields], len(table.array)) == (["ra", "hip"], 0)


def test_a_memory_bomb_harms_nobody(service):
    before = time.monotonic()
    with pytest.raises(pyvo.DALQueryError, match="memory"):
        service.tap().run_sync(BOMB)
    assert time.monotonic() - before < 30
    assert (
        service.tap().run_sync("SELECT COUNT(*) AS n FROM gaiadr3.gaia_source")["n"][0] == 482_106
    )


def test_abort_while_executing(service):
    job = service.tap().submit_job(SLOW)
    job.run()
    wait_for(job.url, "EXECUTING")
    started = time.monotonic()
    job.abort()
    assert job.phase == "ABORTED"
    assert time.monotonic() - started < 3
    assert len(service.tap().run_sync("SELECT TOP 1 ra FROM gaiadr3.gaia_source")) == 1
    job.delete()


def test_execution_duration_is_enforced(service):
    job = service.tap().submit_job(SLOW)
    job.execution_duration = 1
    job.run().wait(timeout=20)
    assert job.phase == "ERROR"
    with pytest.raises(pyvo.DALQueryError, match="longer than it may"):
        job.raise_if_error()
    job.delete()


QUERY = "SELECT TOP 100 source_id, ra, parallax, hip FROM gaiadr3.gaia_source WHERE hip IS NOT NULL ORDER BY source_id"


@pytest.mark.parametrize(
    ("name", "content_type", "read"),
    [
        pytest.param(
            "votable",
            "application/x-votable+xml",
            lambda c: Table.read(io.BytesIO(c), format="votable"),
            id="votable",
        ),
        pytest.param(
            "votable/td",
            "application/x-votable+xml;serialization=TABLEDATA",
            lambda c: Table.read(io.BytesIO(c), format="votable"),
            id="tabledata",
        ),
        pytest.param(
            "csv",
            "text/csv;header=present",
            lambda c: Table.read(c.decode(), format="ascii.csv"),
            id="csv",
        ),
        pytest.param(
            "tsv",
            "text/tab-separated-values",
            lambda c: Table.read(c.decode(), format="ascii.tab"),
            id="tsv",
        ),
        pytest.param(
            "fits",
            "application/fits",
            lambda c: Table.read(io.BytesIO(c), format="fits"),
            id="fits",
        ),
    ],
)
def test_formats_agree(service, name, content_type, read):
    reference = service.tap().run_sync(QUERY).to_table()
    answer = service.sync(QUERY, RESPONSEFORMAT=name)
    assert answer.headers["Content-Type"] == content_type
    table = read(answer.content)
    for column in reference.colnames:
        assert np.array_equal(np.asarray(table[column]), np.asarray(reference[column])), column


def test_parquet(service, tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(service.sync(QUERY, RESPONSEFORMAT="parquet").content)
    reference = service.tap().run_sync(QUERY)
    assert [row[0] for row in duckdb.read_parquet(str(path)).fetchall()] == reference[
        "source_id"
    ].tolist()


def test_fifty_thousand_rows_in_a_second(service):
    """The bar of issue 2 is 1.0 s; measured without the client's parsing, on a machine others use, too."""
    query = "SELECT TOP 50000 source_id, ra, dec, phot_g_mean_mag, bp_rp FROM gaiadr3.gaia_source"
    times = []
    for _ in range(3):
        started = time.monotonic()
        answer = service.sync(query)
        times.append(time.monotonic() - started)
    assert min(times) <= 1.0
    assert len(parse(io.BytesIO(answer.content)).get_first_table().array) == 50_000


def test_a_fresh_cone_in_fifty_milliseconds(service):
    service.sync(CONE.format(ra=10, dec=10, r=1))
    times = []
    for step in range(5):
        started = time.monotonic()
        answer = service.sync(CONE.format(ra=20 + 30 * step, dec=-40 + 20 * step, r=1.0))
        times.append(time.monotonic() - started)
        assert answer.status_code == 200
    assert min(times) <= 0.05
