"""The same AVI on an independent TAP implementation (DaCHS) and on the embedded archive: only the URL differs."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pytest
import pyvo
from astropy.table import Table

import avi
from avi import surroundings
from tests.support.running import ROOT, Archive, build_archive

DACHS = os.environ.get("GAVIP_DACHS_URL", "")
GAVIDAV = ROOT / "examples" / "gavidav"
CONE = (
    "SELECT source_id, ra, dec, parallax, hip, phot_g_mean_mag FROM gaiadr3.gaia_source"
    " WHERE 1=CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', {ra}, {dec}, {radius}))"
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.dachs,
    pytest.mark.skipif(
        not DACHS, reason="GAVIP_DACHS_URL is not set (tests/support/dachs/start.sh prints it)"
    ),
]


@pytest.fixture(autouse=True)
def _collect_what_pyvo_leaves() -> Iterator[None]:
    """pyvo drops streamed answers unread; their sockets are only closed when collected."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the embedded archive, on the database whose rows DaCHS got."""
    archive = Archive(build_archive(), tmp_path_factory.mktemp("archive"))
    archive.start()
    yield archive.url
    archive.stop()


@pytest.fixture
def gavidav(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(GAVIDAV)
    return lambda name: importlib.import_module(f"gavidav.{name}")


def plain(table: Table, name: str) -> np.ndarray:
    """Return a column in the order of the sources, NaN where there is no value."""
    column = np.ma.asarray(table[name])[np.argsort(table["source_id"])]
    if column.dtype.kind == "f":
        return np.asarray(column.filled(np.nan))
    assert not np.ma.is_masked(column)
    return np.asarray(column)


def assert_same_rows(one: Table, other: Table) -> None:
    assert one.colnames == other.colnames
    assert len(one) == len(other) > 0
    for name in one.colnames:
        np.testing.assert_array_equal(plain(one, name), plain(other, name), err_msg=name)
        assert one[name].unit == other[name].unit, name


def test_it_is_another_implementation_with_the_same_rows(embedded: str) -> None:
    query = (
        "SELECT COUNT(*) AS n, COUNT(parallax) AS p, COUNT(bp_rp) AS c, MIN(source_id) AS least,"
        " MAX(source_id) AS most FROM gaiadr3.gaia_source"
    )
    rows = [
        tuple(pyvo.dal.TAPService(url).run_sync(query)[0].values()) for url in (DACHS, embedded)
    ]
    assert rows[0] == rows[1]
    assert rows[0][0] > 400_000
    servers = [
        httpx.get(f"{url}/availability", timeout=30, trust_env=False).headers.get("server", "")
        for url in (DACHS, embedded)
    ]
    assert ["DaCHS" in server for server in servers] == [True, False]


@pytest.mark.parametrize(
    ("ra", "dec", "radius"),
    [
        pytest.param(56.75, 24.12, 1.0, id="pleiades"),
        pytest.param(0.0, -5.0, 2.0, id="across-ra-0"),
        pytest.param(120.0, 90.0, 3.0, id="north-pole"),
    ],
)
def test_a_cone_finds_the_same_sources(embedded: str, ra: float, dec: float, radius: float) -> None:
    query = CONE.format(ra=ra, dec=dec, radius=radius)
    found = [
        set(pyvo.dal.TAPService(url).run_sync(query)["source_id"].tolist())
        for url in (DACHS, embedded)
    ]
    assert len(found[0]) > 50
    assert found[0] == found[1]


def run_pipeline(url: str, output: Path) -> Table:
    """Run gavidav's pipeline as a scientist does; return its table."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("GAVIP_", "JUPYTERHUB_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from avi.cli import main; main()",
            "run",
            "hr-diagram",
            "--output",
            output,
        ],
        cwd=GAVIDAV,
        env={**environ, "PYTHONPATH": str(ROOT), "GAVIP_ARCHIVE_URL": url},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert url in (output / "report.md").read_text()
    return Table.read(output / "stars.fits")


def test_the_pipeline_makes_the_same_product(embedded: str, tmp_path: Path) -> None:
    ours = run_pipeline(embedded, tmp_path / "embedded")
    theirs = run_pipeline(DACHS, tmp_path / "dachs")
    assert len(ours) > 40
    assert_same_rows(theirs, ours)


def test_the_interfaces_query_finds_the_same_synchronously(
    embedded: str, gavidav: Callable[[str], ModuleType]
) -> None:
    query = gavidav("query")
    for place in ("Pleiades", "Hyades"):
        adql = query.adql(query.PLACES[place], 5000)
        tables = [avi.connectors.tap(url).query(adql, maxrec=5000) for url in (DACHS, embedded)]
        assert [table.meta["overflow"] for table in tables] == [False, False]
        assert_same_rows(*tables)


class Watched:
    """What a task of the interface gives its work: a place for words, and whether it was cancelled."""

    cancelled = False

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, words: str, seconds: float = 0) -> None:
        self.said.append(words)


def test_the_interface_shows_the_same_stars(
    embedded: str, gavidav: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    panels, query = gavidav("panels"), gavidav("query")
    found = []
    for url in (DACHS, embedded):
        monkeypatch.setenv("GAVIP_ARCHIVE_URL", url)
        surroundings.reset()
        watched = Watched()
        _, stars, more = panels.fetch(query.PLACES["Praesepe (Beehive)"], watched)
        assert not more
        assert watched.said[-1] == f"Drawing {len(stars):,} stars"
        found.append(stars)
    surroundings.reset()
    assert len(found[0]) > 100
    for name in ("ra", "dec", "parallax", "pmra", "pmdec", "g", "colour"):
        dachs, ours = (np.sort(getattr(stars, name)) for stars in found)
        np.testing.assert_array_equal(dachs, ours, err_msg=name)
