"""Fonts: an image's list is handed out where matplotlib looks, and nothing ever fails for it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from images.catalogue import HERE

FILE = HERE / "deps" / "gavip_caches.py"


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    spec = importlib.util.spec_from_file_location("gavip_caches", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source = tmp_path / "source"
    source.mkdir()
    (source / "fontlist-v390.json").write_text("ready")
    (source / "other").write_text("not a list")
    monkeypatch.setattr(module, "SOURCE", str(source))
    return module


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        pytest.param({}, "home/.cache/matplotlib", id="home"),
        pytest.param({"XDG_CACHE_HOME": "x"}, "x/matplotlib", id="xdg"),
        pytest.param({"MPLCONFIGDIR": "m"}, "m", id="matplotlib's own"),
        pytest.param({"MPLCONFIGDIR": "m", "XDG_CACHE_HOME": "x"}, "m", id="which comes first"),
        pytest.param({"MPLCONFIGDIR": ""}, "home/.cache/matplotlib", id="set and empty"),
    ],
)
def test_the_list_goes_where_matplotlib_looks(
    variables: dict[str, str],
    folder: str,
    caches: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value else "")
    caches.hand_out()
    assert [p.name for p in (tmp_path / folder).iterdir()] == ["fontlist-v390.json"]
    # what matplotlib itself does with these variables
    code = "import matplotlib; print(matplotlib.get_cachedir())"
    asked = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    assert asked.stdout.strip() == str(tmp_path / folder)


def test_a_list_that_is_there_stays(caches: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".cache" / "matplotlib"
    folder.mkdir(parents=True)
    (folder / "fontlist-v390.json").write_text("the user's")
    caches.hand_out()
    assert (folder / "fontlist-v390.json").read_text() == "the user's"


def test_a_planted_link_is_not_followed(caches: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".cache" / "matplotlib"
    folder.mkdir(parents=True)
    (folder / "fontlist-v390.json").symlink_to(tmp_path / "elsewhere")
    caches.hand_out()
    assert not (tmp_path / "elsewhere").exists()


def test_no_home_is_no_error(
    caches: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file")
    caches.hand_out()
    monkeypatch.setattr(caches, "SOURCE", str(tmp_path / "nowhere"))
    caches.hand_out()


def test_it_imports_nothing_that_python_has_not_imported_already() -> None:
    code = f"import sys; a = set(sys.modules); exec(open({str(FILE)!r}).read()); print(set(sys.modules) - a)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
