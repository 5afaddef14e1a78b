"""The example's own code, on rows whose answers are known."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from astropy.table import Table

from gavip_api import manifest

EXAMPLES = Path(__file__).parents[3] / "examples"
NOTEBOOKS = sorted(EXAMPLES.rglob("*.ipynb"))


@pytest.fixture(scope="module")
def lib():
    sys.path.insert(0, str(EXAMPLES / "gavidav"))
    yield lambda name: importlib.import_module(f"gavidav.{name}")
    sys.path.remove(str(EXAMPLES / "gavidav"))


@pytest.fixture
def rows():
    # Sirius-like, Sun-like at 10 pc, bad parallax, negative parallax, unknown parallax, unknown colour
    table = Table()
    n = 6
    table["source_id"] = np.arange(n)
    table["ra"] = np.linspace(56, 57, n)
    table["dec"] = np.linspace(24, 25, n)
    table["parallax"] = np.ma.array([379.2, 100, 5, -1, 0, 20], mask=[0, 0, 0, 0, 1, 0])
    table["parallax_error"] = np.ma.array([1.6, 0.1, 2, 1, 0, 0.1], mask=[0, 0, 0, 0, 1, 0])
    table["pmra"] = np.array([-546.0, 100, 1, 1, 1, 3])
    table["pmdec"] = np.array([-1223.1, 0, 1, 1, 1, 4])
    table["phot_g_mean_mag"] = np.array([-1.46, 4.67, 10, 10, 10, 10])
    table["bp_rp"] = np.ma.array([0.0, 0.82, 1, 1, 1, 0], mask=[0, 0, 0, 0, 0, 1])
    return table


def test_physics_of_known_stars(lib, rows):
    stars = lib("stars").Stars.of(rows)
    assert stars.distance[:2] == pytest.approx([2.637, 10], rel=1e-3)
    assert stars.absolute_g[:2] == pytest.approx([1.43, 4.67], abs=0.02)
    # Sirius: 1.339 arcsec/yr at 2.637 pc is 16.7 km/s
    assert stars.tangential_velocity[0] == pytest.approx(16.74, abs=0.05)


def test_only_good_parallaxes_are_kept(lib, rows):
    stars = lib("stars").Stars.of(rows)
    assert stars.good(5).tolist() == [True, True, False, False, False, False]
    assert np.isnan(stars.absolute_g[3])
    assert np.isnan(stars.distance[4])


def test_adql_is_plain_and_numbers_only(lib):
    query = lib("query")
    text = query.adql(query.PLACES["Pleiades"], 100)
    assert "SELECT TOP 100 source_id" in text
    assert "CIRCLE('ICRS', 56.75000000, 24.12000000, 4.00000000)" in text
    assert ";" not in text


@pytest.mark.parametrize(
    "values",
    [
        (400, 0, 1, 10),
        (0, 91, 1, 10),
        (0, 0, 0, 10),
        (0, 0, 21, 10),
        (0, 0, 1, 99),
        (float("nan"), 0, 1, 10),
    ],
)
def test_a_cone_off_the_sky_is_refused(lib, values):
    with pytest.raises(ValueError, match="must be between"):
        lib("query").Cone(*values)


def test_figures_say_when_there_are_no_parallaxes(lib, rows):
    stars, figures = lib("stars").Stars.of(rows[2:5]), lib("figures")
    figure, told = figures.hr(stars)
    assert "apparent magnitude" in told
    assert "Apparent" in figure.axes[0].get_ylabel()
    assert figures.png(figure).startswith(b"\x89PNG")


def test_right_ascension_increases_to_the_left(lib):
    figures, query = lib("figures"), lib("query")
    wcs = figures._projection(query.Cone(10, 0, 1, 10), 20)
    east, west = wcs.world_to_pixel_values([10.5, 9.5], [0, 0])[0]
    assert east < west


def test_the_report_names_source_and_numbers(lib, rows):
    stars, query = lib("stars").Stars.of(rows), lib("query")
    kept = lib("stars").Stars.of(rows[:2])
    cone = query.PLACES["Hyades"]
    text = lib("report").markdown(cone, "SELECT 1", "http://a/tap", stars, kept, 10, {"hr": "HR"})
    for words in (
        "| in the cone | 6 |",
        "| with a parallax | 5 |",
        "| 2 |",
        "http://a/tap",
        "A&A 616",
    ):
        assert words in text


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/avi.yaml")), ids=lambda p: p.parent.name)
def test_manifests_load_and_their_files_exist(path):
    found = manifest.load(path.read_bytes())
    assert found.name == path.parent.name
    for name in filter(
        None,
        [
            found.interface,
            found.outreach,
            found.requirements,
            *(p.notebook for p in found.pipelines.values()),
        ],
    ):
        assert (path.parent / name).is_file()
    assert (path.parent / "LICENSE").read_text().startswith("BSD 3-Clause")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_notebooks_are_valid_and_without_outputs(path):
    node = nbformat.read(path, as_version=4)
    nbformat.validate(node)
    for cell in node.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"
