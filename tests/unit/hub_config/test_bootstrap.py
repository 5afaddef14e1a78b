"""The set-up that `make` runs: what a person reads when something is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub_config import bootstrap

ROOT = Path(__file__).resolve().parents[3]


def test_an_old_python_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    assert bootstrap.main() == 1
    said = capsys.readouterr().out
    assert "needs Python 3.10 or newer" in said
    assert "Python 3.9" in said
    assert "make run PYTHON=" in said


def test_old_pythons_can_parse_it() -> None:
    # the oldest grammar that this Python can check (3.7 and later parse f-strings and annotations alike)
    import ast

    ast.parse((ROOT / "hub_config" / "bootstrap.py").read_text(), feature_version=(3, 6))


def test_no_network_at_first_set_up_is_a_clear_message(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "hub_config").mkdir(parents=True)
    (clone / "gavip_api").mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "hub_config/bootstrap.py"):
        shutil.copy(ROOT / name, clone / name)
    # an index nobody listens at, and none of the machine's own settings, stand in for a missing network
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
    }
    done = subprocess.run(
        [sys.executable, "hub_config/bootstrap.py"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Check the network" in done.stdout
    assert "goes on where it stopped" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_step_is_done_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    first = bootstrap.Stamp(tmp_path, "packages", "one")
    assert not first.current
    first.done()
    assert bootstrap.Stamp(tmp_path, "packages", "one").current
    assert not bootstrap.Stamp(tmp_path, "packages", "two").current
