"""Every package that GAVIP promises to AVIs is in the images and does a real line of work there.

In a container restricted as those of user code are, without a network.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from images.catalogue import HERE
from tests.support.containers import run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
SCRIPT = (Path(__file__).parent / "bundle.py").read_text()

LIGHT = {
    "avi": "import avi; assert avi.param and avi.pipeline and avi.connectors",
    "astropy": """
import io
from astropy.io import fits
file = io.BytesIO()
fits.PrimaryHDU([[1, 2], [3, 4]]).writeto(file)
file.seek(0)
assert fits.open(file)[0].data.sum() == 10
""",
    "astropy.coordinates": """
from astropy.coordinates import SkyCoord
assert abs(SkyCoord(56.75, 24.12, unit="deg").galactic.b.deg + 23.5) < 0.1
""",
    "ipywidgets": "import ipywidgets; assert ipywidgets.IntSlider(7).value == 7",
    "matplotlib": """
import io, warnings
with warnings.catch_warnings():
    # what it says when it cannot keep its list of fonts
    warnings.simplefilter("error", UserWarning)
    import matplotlib.pyplot as plt
    plt.plot([1, 2]); plt.title("Gaia")
    file = io.BytesIO()
    plt.savefig(file, format="png")
assert file.getvalue().startswith(b"\\x89PNG")
""",
    "numpy": "import numpy as np; assert np.linalg.det(np.eye(3)) == 1",
    "papermill": "import papermill; assert papermill.execute_notebook",
    "pyvo": """
import pyvo
assert pyvo.dal.TAPService("http://tap.invalid/tap").baseurl == "http://tap.invalid/tap"
""",
    "voila": "import avi_kernelspec.server, voila; assert voila.__version__",
}
PYTHON = LIGHT | {
    "astroml": "from astroML.stats import sigmaG; assert 0.7 < sigmaG([1, 2, 3]) < 0.8",
    "astroquery": """
from astroquery.gaia import GaiaClass
from astroquery.vizier import Vizier
assert Vizier(columns=["Gmag"]).columns == ["Gmag"]
""",
    "bokeh": """
from bokeh.embed import file_html
from bokeh.plotting import figure
from bokeh.resources import INLINE
plot = figure(); plot.line([1, 2], [3, 4])
assert "Bokeh" in file_html(plot, INLINE)
""",
    "bqplot": """
import bqplot
scales = {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()}
assert bqplot.Figure(marks=[bqplot.Lines(x=[1, 2], y=[3, 4], scales=scales)]).marks
""",
    "dask": "import dask.array as da; assert da.arange(1000, chunks=100).sum().compute() == 499500",
    "dask.dataframe": """
import dask.dataframe as dd, pandas as pd
frame = dd.from_pandas(pd.DataFrame({"a": [1, 2, 3]}), npartitions=2)
assert frame.a.sum().compute() == 6
""",
    "dask.distributed": """
from distributed import Client
with Client(processes=False, n_workers=1, dashboard_address=None) as client:
    assert client.submit(lambda x: x + 1, 1).result(timeout=60) == 2
""",
    "ipyaladin": "import ipyaladin; assert ipyaladin.Aladin(target='56.75 24.12').target.ra.deg == 56.75",
    "jinja2": "import jinja2; assert jinja2.Template('{{ a }}').render(a=1) == '1'",
    "lxml": "from lxml import etree; assert etree.fromstring('<a><b/></a>').find('b') is not None",
    "meson": """
import subprocess
assert subprocess.run(["meson", "--version"], check=True, capture_output=True).stdout
""",
    "ninja": """
import subprocess
assert subprocess.run(["ninja", "--version"], check=True, capture_output=True).stdout
""",
    "numba": """
import os, sys
os.makedirs("/home/avi/code")
with open("/home/avi/code/fast.py", "w") as file:
    file.write("import numba\\n@numba.njit(cache=True)\\ndef double(x):\\n    return 2 * x\\n")
sys.path.insert(0, "/home/avi/code")
import fast
assert fast.double(21) == 42
assert [n for _, _, names in os.walk("/tmp/numba") for n in names if n.endswith(".nbc")]
""",
    "numexpr": "import numexpr; assert numexpr.evaluate('a + 1', {'a': 1}) == 2",
    "pandas": "import pandas as pd; assert pd.DataFrame({'a': [1, 2]}).a.mean() == 1.5",
    "plotly": """
import plotly.graph_objects as go
assert "scatter" in go.Figure(go.Scatter(x=[1, 2], y=[3, 4])).to_json()
""",
    "psycopg": "import psycopg; assert psycopg.pq.__impl__ == 'binary'",
    "scikit-image": """
import numpy as np
from skimage.filters import gaussian
assert gaussian(np.eye(9)).shape == (9, 9)
""",
    "scikit-learn": """
from sklearn.linear_model import LinearRegression
assert round(LinearRegression().fit([[1], [2]], [2, 4]).predict([[3]])[0]) == 6
""",
    "scipy": "from scipy.integrate import quad; assert abs(quad(lambda x: x, 0, 1)[0] - 0.5) < 1e-9",
    "seaborn": "import seaborn; assert seaborn.histplot([1, 2, 2]).patches",
    "statsmodels": """
import statsmodels.api as sm
assert round(sm.OLS([1, 2, 3], sm.add_constant([1, 2, 3])).fit().params[1]) == 1
""",
    "ydata-profiling": """
import pandas as pd
from ydata_profiling import ProfileReport
page = ProfileReport(pd.DataFrame({"a": [1, 2, 3]}), minimal=True, progress_bar=False).to_html()
assert page.startswith("<!doctype html>") and "Distinct" in page
""",
}
BUNDLES = {"avi-light": LIGHT, "avi-python": PYTHON}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    return {}


def outcome(name: str, outcomes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Run the whole bundle of an image once."""
    if name not in outcomes:
        done = run(
            name,
            ["python", "-c", SCRIPT],
            options=["--memory", "2g", "--pids-limit", "256", "--env", "MPLBACKEND=agg"],
            stdin=json.dumps(BUNDLES[name]),
            limit=600,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        outcomes[name] = json.loads(done.stdout.splitlines()[-1])
        for package, (_, seconds) in outcomes[name].items():
            print(f"{name} {package}: {seconds} s")
    return outcomes[name]


@pytest.mark.parametrize(
    ("name", "package"),
    [(n, p) for n in BUNDLES for p in BUNDLES[n]],
)
def test_every_promised_package_works(
    name: str, package: str, outcomes: dict[str, dict[str, Any]]
) -> None:
    error, _ = outcome(name, outcomes)[package]
    assert error == ""


LIMITS = {"pyparsing", "setuptools"}
"""Named only to hold others back."""


def test_every_promised_package_has_its_line() -> None:
    asked = [
        re.split(r"[\[<>=]", line)[0].strip().lower()
        for line in (HERE / "locks" / "python.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert set(asked) - {"gavip"} - LIMITS <= set(PYTHON)
