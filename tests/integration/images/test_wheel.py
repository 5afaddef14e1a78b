"""The wheel that goes into the images."""

from __future__ import annotations

import zipfile
from pathlib import Path

from images.build import wheel
from images.catalogue import ROOT


def test_the_wheel_holds_the_platform_and_nothing_of_the_clone_changes(tmp_path: Path) -> None:
    before = {p.name for p in ROOT.iterdir()}
    made = wheel(tmp_path)
    assert {p.name for p in ROOT.iterdir()} == before
    names = zipfile.ZipFile(made).namelist()
    for needed in (
        "avi/__init__.py", "hub_config/jupyterhub_config.py", "gavip_portal/static/dist/",
        "hub_config/jupyter/labconfig/default_setting_overrides.json",
    ):  # fmt: skip
        assert any(name.startswith(needed) for name in names), needed
    assert not [n for n in names if n.startswith(("tests/", "images/", "docs/", "examples/"))]
