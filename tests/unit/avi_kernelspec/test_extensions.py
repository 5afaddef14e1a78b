from __future__ import annotations

import pytest

from avi_kernelspec.extensions import NEEDED, draws, for_pages


@pytest.mark.parametrize(
    ("package", "drawn"),
    [
        pytest.param({"dependencies": {"@jupyter-widgets/base": "^6"}}, True, id="bqplot"),
        pytest.param({"jupyterlab": {"mimeExtension": True}}, True, id="plotly"),
        pytest.param(
            {"jupyterlab": {"sharedPackages": {"@jupyter-widgets/base": {"bundled": False}}}},
            True,
            id="shares-ipywidgets",
        ),
        pytest.param({"dependencies": {"@lumino/widgets": "^2"}}, False, id="lab-user-interface"),
        pytest.param({"jupyterlab": {"extension": True}}, False, id="jupytext"),
        pytest.param({}, False, id="nothing-told"),
    ],
)
def test_what_draws_is_told_by_the_package(package, drawn):
    assert draws(package) is drawn


def test_pages_load_what_draws_and_never_an_empty_list():
    installed = {"plot": {"jupyterlab": {"mimeExtension": True}}, "jupyterlab-jupytext": {}}
    assert for_pages(installed) == sorted([*NEEDED, "plot"])
    assert for_pages({}) == sorted(NEEDED)
