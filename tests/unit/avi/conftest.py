"""A small AVI on disk, and a context that knows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import avi.surroundings

MANIFEST = """\
avi: 1
name: tiny
title: Tiny
pipelines:
  double:
    title: Double it
    notebook: double.ipynb
    parameters:
      x: {type: number, minimum: 0, maximum: 10, default: 2, unit: deg, title: The x}
      word: {type: string, enum: [a, b], default: a}
      fast: {type: boolean, default: true}
  other:
    notebook: other.ipynb
    parameters:
      y: {type: integer}
"""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in list(os.environ):
        if name.startswith("GAVIP_") or name == "JUPYTERHUB_API_TOKEN":
            monkeypatch.delenv(name)
    (tmp_path / "avi.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    avi.surroundings.reset()
    yield tmp_path
    avi.surroundings.reset()
