"""The import rules of docs/explanation/architecture.md, checked on the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ALLOWED: dict[str, set[str]] = {
    "gavip_api": set(),
    "gavip_web": {"gavip_api"},
    "gavip_spawner": {"gavip_api"},
    "jobqueue": {"gavip_web", "gavip_spawner", "gavip_api"},
    "gavip_portal": {"gavip_web", "gavip_spawner", "gavip_api"},
    "gavip_archive": {"gavip_api"},
    "avi": {"gavip_api"},
    "avi_kernelspec": {"gavip_api"},
    "gavip_client": {"gavip_api"},
    "hub_config": {"gavip_api", "gavip_spawner", "gavip_web"},
}
SPAWNER_DOORS = {
    "gavip_spawner." + m
    for m in ("disks", "layout", "placement", "specs", "plane", "process_plane")
}
"""What services may see of the spawner: specs, paths and the plane, not the hub's spawners."""

FORBIDDEN_AT_TOP = {"avi": {"tornado", "docker", "jupyterhub"}}
MAX_LINES = 600


def sources(package: str) -> list[Path]:
    return [p for p in (ROOT / package).rglob("*.py") if "__pycache__" not in p.parts]


def imports(path: Path, *, top_level: bool = False) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(), str(path))
    nodes = tree.body if top_level else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_they_may(package: str) -> None:
    assert sources(package), f"{package} is missing"
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for line, name in imports(path)
        if (top := name.split(".")[0]) in ALLOWED and top != package and top not in ALLOWED[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["jobqueue", "gavip_portal"])
def test_services_enter_the_spawner_by_its_doors(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for line, name in imports(path)
        if name.startswith("gavip_spawner.") and ".".join(name.split(".")[:2]) not in SPAWNER_DOORS
    ]
    assert wrong == []


@pytest.mark.parametrize("package", sorted(set(ALLOWED) - {"gavip_spawner"}))
def test_only_the_spawner_knows_docker(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources(package)
        for line, name in imports(path)
        if name.split(".")[0] == "docker"
    ]
    assert wrong == []


@pytest.mark.parametrize("package", sorted(FORBIDDEN_AT_TOP))
def test_light_packages_stay_light(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for line, name in imports(path, top_level=True)
        if name.split(".")[0] in FORBIDDEN_AT_TOP[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["jobqueue", "gavip_portal"])
def test_handlers_do_not_reach_past_services(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(f"{package}/handlers")
        for line, name in imports(path)
        if name.startswith((f"{package}.storage", f"{package}.backends", "sqlalchemy"))
    ]
    assert wrong == []


def test_modules_fit_in_a_head() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in ALLOWED
        for path in sources(package)
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in sources(package)
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []
