"""Workers, their limits and the pool."""

import asyncio
import threading

import duckdb
import pytest

from gavip_archive.engine.pool import Pool
from gavip_archive.engine.worker import StopRequest, Worker, _reason
from gavip_archive.errors import (
    Busy,
    DatabaseUnusable,
    QueryCancelled,
    QueryFailed,
    QueryTimedOut,
    QueryTooLarge,
)
from gavip_archive.limits import Limits

BOMB = (
    "SELECT a.source_id, b.ra, b.dec, c.ra FROM gaia_source AS a, gaia_source AS b, gaia_source AS c"
    " ORDER BY a.ra * b.ra + c.dec"
)

SLOW = "SELECT MAX(SIN(a.ra * b.ra * c.ra * d.ra)) FROM gaia_source a, gaia_source b, gaia_source c, gaia_source d"


def run(worker, translator, query, limit=10_000, stop=None):
    return worker.run(
        translator.translate(query, limit=limit + 1), {}, limit, stop or StopRequest()
    )


def test_rows_and_overflow(worker, translator):
    assert (run(worker, translator, "SELECT ra FROM gaia_source").row_count,) == (2000,)
    cut = run(worker, translator, "SELECT ra FROM gaia_source", limit=7)
    assert (cut.row_count, cut.overflow) == (7, True)
    exact = run(worker, translator, "SELECT TOP 7 ra FROM gaia_source", limit=7)
    assert (exact.row_count, exact.overflow) == (7, False)
    none = run(worker, translator, "SELECT ra FROM gaia_source", limit=0)
    assert (none.row_count, none.overflow, list(none.pages())) == (0, True, [])


def test_types_and_nulls(worker, translator):
    query = "SELECT hip, ra, SUM(hip) AS s, CAST(NULL AS VARCHAR) AS t FROM gaia_source GROUP BY hip, ra ORDER BY hip"
    result = run(worker, translator, query)
    assert [field.datatype for field in result.fields] == ["int", "double", "long", "char"]
    (page,) = result.pages()
    assert page.columns[0].mask.sum() == 1500
    assert page.columns[3].mask.all()


def test_too_much_memory_ends_one_query_and_nothing_else(worker, translator):
    with pytest.raises(QueryTooLarge) as caught:
        run(worker, translator, BOMB, limit=2_000_000_000)
    assert "memory" in caught.value.message
    assert run(worker, translator, "SELECT 1").row_count == 1


def test_a_failure_shows_the_reason_and_nothing_of_the_inside(worker, translator):
    with pytest.raises(QueryFailed) as caught:
        run(worker, translator, "SELECT CAST('x' AS INTEGER) FROM gaia_source")
    assert "Could not convert" in caught.value.message
    assert "archive.duckdb" not in caught.value.message
    assert "LINE" not in caught.value.message


def test_division_by_zero_is_said_in_terms_of_adql():
    # as DuckDB 2 says it; DuckDB 1 gives NULL
    said = (
        "Invalid Input Error: Division by zero in expression (1 // 0). Use TRY(...), or SET x=false"
    )
    assert _reason(duckdb.InvalidInputException(said)) == (
        "it divides by zero. Leave out the rows where the divisor is 0: WHERE x <> 0"
    )


@pytest.mark.parametrize(
    ("reason", "error"), [("timeout", QueryTimedOut), ("cancelled", QueryCancelled)]
)
def test_a_running_query_is_interrupted(worker, translator, reason, error):
    stop = StopRequest()
    timer = threading.Timer(0.2, stop.stop, [reason])
    timer.start()
    try:
        with pytest.raises(error):
            run(worker, translator, SLOW, stop=stop)
    finally:
        timer.join()
    assert run(worker, translator, "SELECT 1").row_count == 1


def test_a_stop_before_the_start_counts(worker, translator):
    stop = StopRequest()
    stop.stop("cancelled")
    with pytest.raises(QueryCancelled):
        run(worker, translator, "SELECT 1", stop=stop)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("SELECT * FROM read_csv('/etc/passwd')", id="read-a-file"),
        pytest.param("COPY (SELECT 1) TO '/tmp/gavip-escape.csv'", id="write-a-file"),
        pytest.param("ATTACH '/tmp/gavip-escape.duckdb'", id="attach"),
        pytest.param("INSTALL httpfs", id="install"),
        pytest.param("LOAD httpfs", id="load"),
        pytest.param("SET memory_limit = '100GB'", id="raise-the-limit"),
        pytest.param("SET enable_external_access = true", id="open-the-door"),
        pytest.param("DELETE FROM archive.gaiadr3.gaia_source", id="change-the-archive"),
    ],
)
def test_even_raw_sql_finds_the_database_locked(worker, statement):
    import duckdb

    with pytest.raises(duckdb.Error):
        worker._connection.execute(statement).fetchall()


def test_a_missing_database_is_said(tmp_path, limits):
    with pytest.raises(DatabaseUnusable):
        Worker(tmp_path / "none.duckdb", limits)


async def test_the_pool_bounds_who_runs_and_who_waits(database):
    pool = Pool(database, Limits(query_memory=64 * 2**20, threads=1, workers=1, queue_length=1))
    order = []

    async def hold(name, release):
        async with pool.worker():
            order.append(name)
            await release.wait()

    first, second = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(hold("a", first))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(hold("b", second)))
    await asyncio.sleep(0)
    assert (order, pool.waiting) == (["a"], 1)
    with pytest.raises(Busy):
        async with pool.worker():
            pass
    tasks[1].cancel()
    await asyncio.sleep(0)
    assert pool.waiting == 0
    first.set()
    await tasks[0]
    async with pool.worker():
        pass
    pool.close()


async def test_a_broken_worker_is_replaced(database):
    pool = Pool(database, Limits(query_memory=64 * 2**20, threads=1, workers=1))
    async with pool.worker() as first:
        first.broken = True
    async with pool.worker() as second:
        assert second is not first
        second.clear()
    pool.close()
