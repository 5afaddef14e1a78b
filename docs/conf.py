"""Sphinx configuration; the reference pages are generated first. Nothing is fetched from the network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import generate_reference

from gavip_api import __version__
from gavip_api.environment import RELEASE_DIR

# `avi run` has the pipelines of the AVI it is in; the commands page shows those of this one
os.environ[RELEASE_DIR] = str(Path(__file__).resolve().parents[1] / "examples" / "gavidav")
generate_reference.write()

project = "GAVIP"
author = "The GAVIP developers"
project_copyright = "the GAVIP developers, BSD-3-Clause"
version = release = __version__
language = "en_GB"

extensions = ["myst_parser", "sphinx_click"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "GAVIP"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
