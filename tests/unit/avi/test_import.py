from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "pydantic",
    "yaml",
    "numpy",
    "astropy",
    "pyvo",
    "httpx",
    "requests",
    "ipywidgets",
    "papermill",
    "tornado",
    "IPython",
}
FORBIDDEN = {"tornado", "docker", "jupyterhub"}


def loaded_by(statement: str) -> set[str]:
    code = (
        f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in out.stdout.split()}


def test_import_avi_loads_nothing_but_the_standard_library():
    assert loaded_by("import avi") - set(sys.stdlib_module_names) == {"avi"}


def test_reading_the_context_stays_light():
    assert not loaded_by("import avi; avi.context()") & (HEAVY - {"pydantic", "yaml"})


@pytest.mark.parametrize(
    "module", ["avi.parameters", "avi.portal", "avi.local", "avi.net", "avi.kernel"]
)
def test_no_module_loads_server_libraries(module):
    assert not loaded_by(f"import {module}") & FORBIDDEN


def test_runner_checks_before_it_loads_papermill():
    assert "papermill" not in loaded_by("import avi.runner.main")


def test_every_public_name_resolves():
    import avi

    for name in avi.__all__:
        assert getattr(avi, name) is not None
    with pytest.raises(AttributeError):
        avi.nonsense  # noqa: B018
