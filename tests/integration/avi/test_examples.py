"""Every example AVI runs headless: pipelines through the runner, views through a kernel of the interface mode."""

from __future__ import annotations

import json

import nbformat
import pytest
from astropy.table import Table
from nbclient import NotebookClient

from tests.integration.avi.conftest import EXAMPLES, clean_environ

pytestmark = pytest.mark.integration

GAVIDAV = EXAMPLES / "gavidav"
VIEWS = sorted(p for p in EXAMPLES.glob("*/*.ipynb"))


def test_gavidavs_pipeline_makes_its_product(run, archive):
    ran = run(
        GAVIDAV, "hr-diagram", {"ra": 130.1, "dec": 19.67, "radius": 1.5}, GAVIP_ARCHIVE_URL=archive
    )
    assert ran.status == 0, ran.log
    assert set(ran.result["outputs"]) == {
        "stars.fits", "hr_diagram.png", "sky_map.png", "proper_motions.png", "report.md",
        "provenance.json", "executed.ipynb",
    }  # fmt: skip
    table = Table.read(ran.folder / "stars.fits")
    assert 100 < len(table) < 900
    assert (table["parallax"] / table["parallax_error"]).min() >= 10
    assert str(table["abs_g"].unit) == "mag"
    report = (ran.folder / "report.md").read_text()
    assert f"| {len(table):,} |" in report
    assert archive in report
    assert (ran.folder / "sky_map.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((ran.folder / "provenance.json").read_text())["archive"] == archive


@pytest.mark.parametrize(
    ("parameters", "archive_url", "code"),
    [
        pytest.param({"dec": -89}, None, "empty-result", id="no-stars"),
        pytest.param({"min_snr": 1000, "g_max": 1}, None, "empty-result", id="none-left"),
        pytest.param({}, "http://127.0.0.1:9/tap", "archive-unavailable", id="archive-down"),
    ],
)
def test_gavidavs_pipeline_explains_its_failures(run, archive, parameters, archive_url, code):
    ran = run(GAVIDAV, "hr-diagram", parameters, GAVIP_ARCHIVE_URL=archive_url or archive)
    assert ran.result["error"]["code"] == code
    assert ran.result["error"]["hint"]
    assert ran.result["error"]["cell"] in {2, 3}


@pytest.mark.parametrize("path", VIEWS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_views_run_without_an_error(path, archive, tmp_path):
    node = nbformat.read(path, as_version=4)
    client = NotebookClient(
        node,
        kernel_name="python3",
        timeout=90,
        extra_arguments=["--InteractiveShellApp.extra_extensions=avi.kernel"],
    )
    environ = clean_environ(
        GAVIP_MODE="interface",
        GAVIP_RELEASE_DIR=str(path.parent),
        GAVIP_USER_SPACE=str(tmp_path),
        GAVIP_ARCHIVE_URL=archive,
        GAVIP_USER='{"name": "ada", "roles": ["outreach"]}',
    )
    client.execute(env=environ, cwd=str(tmp_path))
    kinds = [o.output_type for c in node.cells if c.cell_type == "code" for o in c.outputs]
    assert "error" not in kinds
    assert "display_data" in kinds
