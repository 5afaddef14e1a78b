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
    assert "failed: the package index cannot be reached" in done.stdout
    assert "Check the network" in done.stdout
    assert "goes on where it stopped" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_step_is_done_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    first = bootstrap.Stamp(tmp_path, "packages", "one")
    assert not first.current
    first.done()
    assert bootstrap.Stamp(tmp_path, "packages", "one").current
    assert not bootstrap.Stamp(tmp_path, "packages", "two").current


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        pytest.param(
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError: [Errno -3] "
            "Temporary failure in name resolution': /simple/uuid6/\nERROR: No matching distribution found for uuid6",
            "the package index cannot be found (no network, or no name resolution).",
            id="pip-no-name-resolution",
        ),
        pytest.param(
            "npm error code ENOTFOUND\nnpm error network request to https://registry.example.org failed",
            "the package index cannot be found (no network, or no name resolution).",
            id="npm-no-name-resolution",
        ),
        pytest.param(
            "WARNING: Retrying … 'NewConnectionError: [Errno 111] Connection refused'\nERROR: nothing",
            "the package index cannot be reached.",
            id="refused",
        ),
        pytest.param(
            "SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')",
            "the package index shows a certificate that this machine does not trust.",
            id="certificate",
        ),
        pytest.param("one\ntwo\nthree", "\n    one\n    two\n    three", id="anything-else"),
    ],
)
def test_the_cause_of_a_failed_step_is_one_line_where_it_is_known(said: str, cause: str) -> None:
    assert bootstrap._cause(said) == cause


def test_a_machine_without_git_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    assert bootstrap.main() == 1
    assert "GAVIP needs git" in capsys.readouterr().out


@pytest.mark.parametrize(
    "python",
    [
        pytest.param("python-that-is-not-there", id="absent"),
        pytest.param("false", id="cannot-read-python-3"),
    ],
)
def test_make_names_the_python_it_needs(python: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        [make, "run", f"PYTHON={python}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "GAVIP needs Python 3.10 or newer" in done.stdout
    assert "make run PYTHON=python3.11" in done.stdout
