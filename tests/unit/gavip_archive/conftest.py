"""A small archive of invented rows: enough to execute every translation, quick enough for unit tests."""

from pathlib import Path

import duckdb
import numpy as np
import pytest

from gavip_archive.adql.translate import Translator
from gavip_archive.engine.worker import StopRequest, Worker
from gavip_archive.limits import Limits
from gavip_archive.tableset import load_tableset

ROWS = 2000


def write_database(path: Path) -> Path:
    random = np.random.default_rng(1)
    with duckdb.connect(str(path)) as connection:
        for schema in load_tableset().schemas:
            connection.execute(f"CREATE SCHEMA {schema.name}")
        for table in load_tableset().tables:
            columns = ", ".join(
                f'"{column.name}" {column.storage_type}' for column in table.columns
            )
            connection.execute(f"CREATE TABLE {table.qualified} ({columns})")
        stars = {
            "source_id": np.arange(ROWS) * 1_000_003 + 1,
            "ra": random.uniform(0, 360, ROWS),
            "dec": np.degrees(np.arcsin(random.uniform(-1, 1, ROWS))),
            "phot_g_mean_mag": random.uniform(2, 10, ROWS),
            "hip": np.arange(ROWS),
        }
        connection.register("stars", stars)
        connection.execute(
            "INSERT INTO gaiadr3.gaia_source (source_id, ra, dec, phot_g_mean_mag, hip)"
            " SELECT source_id, ra, dec, phot_g_mean_mag, CASE WHEN hip % 4 = 0 THEN hip END FROM stars"
            " ORDER BY source_id"
        )
    return path


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_database(tmp_path_factory.mktemp("archive") / "archive.duckdb")


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits(max_rows=10_000, query_memory=256 * 2**20, threads=1, workers=2)


@pytest.fixture(scope="session")
def translator() -> Translator:
    return Translator(load_tableset())


@pytest.fixture
def worker(database: Path, limits: Limits):
    worker = Worker(database, limits)
    yield worker
    worker.close()


@pytest.fixture
def rows(worker: Worker, translator: Translator):
    """Execute a query and return its rows as tuples, NULL as None."""

    def run(query: str, limit: int = 5000) -> list[tuple]:
        result = worker.run(translator.translate(query, limit=limit + 1), {}, limit, StopRequest())
        return [
            row
            for page in result.pages()
            for row in zip(*(c.tolist() for c in page.columns), strict=True)
        ]

    return run
