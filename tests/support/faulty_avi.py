"""An AVI that goes wrong in every way an author's code can, for the tests of what people then see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

MANIFEST = """\
avi: 1
name: faulty
title: Faulty on purpose
interface: app.ipynb
pipelines:
  raises:
    title: Raises
    notebook: raises.ipynb
    parameters:
      n: {type: integer, minimum: 1, maximum: 10, default: 1}
      word: {type: string, maxLength: 8}
    resources: {memory: 512M, cpu: 0.5, time: 2m}
  bad-adql:
    title: Bad ADQL
    notebook: bad_adql.ipynb
    resources: {memory: 512M, cpu: 0.5, time: 2m}
  bad-syntax:
    title: Not ADQL
    notebook: bad_syntax.ipynb
    resources: {memory: 512M, cpu: 0.5, time: 2m}
  queries:
    title: Queries
    notebook: queries.ipynb
    resources: {memory: 512M, cpu: 0.5, time: 2m}
  dies:
    title: Kernel dies
    notebook: dies.ipynb
    resources: {memory: 512M, cpu: 0.5, time: 2m}
  grows:
    title: Grows
    notebook: grows.ipynb
    resources: {memory: 400M, cpu: 0.5, time: 2m}
  slow:
    title: Slow
    notebook: slow.ipynb
    resources: {memory: 512M, cpu: 0.5, time: 2m}
  late:
    title: Too slow
    notebook: slow.ipynb
    resources: {memory: 512M, cpu: 0.5, time: 8s}
"""

NOTEBOOKS = {
    "raises": ["print('before')", "raise RuntimeError('the catalogue is upside down')"],
    "bad_adql": [
        "import avi",
        "avi.connectors.tap().run('SELECT TOP 5 sorce_id FROM gaiadr3.gaia_source')",
    ],
    "bad_syntax": [
        "import avi",
        "avi.connectors.tap().run('SELECT TOP 5 source_id FORM gaiadr3.gaia_source')",
    ],
    "queries": [
        "import avi",
        "avi.connectors.tap().run('SELECT TOP 5 source_id FROM gaiadr3.gaia_source')",
    ],
    "dies": ["import os, signal", "os.kill(os.getpid(), signal.SIGKILL)"],
    "grows": [
        "import time",
        "x = bytearray(900 << 20)\nx[::4096] = b'1' * len(x[::4096])",
        "time.sleep(60)",
    ],
    "slow": ["import time", "print('working', flush=True)", "time.sleep(90)"],
    "app": [
        "import os, signal\nimport ipywidgets as w\nfrom IPython.display import display",
        "die = w.Button(description='Kill the kernel')\n"
        "die.on_click(lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
        "display(w.HTML('<h1>Faulty on purpose</h1>'), die)",
    ],
    "dashboard_broken": ["raise RuntimeError('this view cannot be drawn')"],
    "dashboard_dies": ["import os, signal", "os.kill(os.getpid(), signal.SIGKILL)", "print(1)"],
}

METADATA: dict[str, dict[str, Any]] = {
    "raises": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "queries": {"kernelspec": {"name": "no-such-kernel", "display_name": "Author's own"}},
}
"""Kernelspecs without a language, of another machine, or none at all: all that editors leave in notebooks."""


def make(folder: Path) -> Path:
    """Write the AVI into `folder`/faulty and return that."""
    root = folder / "faulty"
    root.mkdir(parents=True)
    (root / "avi.yaml").write_text(MANIFEST)
    for name, cells in NOTEBOOKS.items():
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata=METADATA.get(name, {}),
        )
        nbformat.write(notebook, root / f"{name}.ipynb")
    return root
