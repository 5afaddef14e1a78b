from __future__ import annotations

import subprocess
import sys

FORBIDDEN = {
    "ploomber",
    "jupytext",
    "lark",
    "rfc3987_syntax",
    "numpy",
    "matplotlib",
    "astropy",
    "pandas",
    "docker",
    "jupyterlab",
}


def test_the_server_loads_no_heavy_library():
    code = "import sys, avi_kernelspec.server; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in out.stdout.split()} & FORBIDDEN
