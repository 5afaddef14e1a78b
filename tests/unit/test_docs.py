"""Whatever people can set, call or write is described, and what the documentation says exists.

In the manner of datasette's ``test_docs.py``: something undocumented fails the tests.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel, Field
from traitlets import Unicode
from traitlets.config import Configurable

from avi import surroundings
from gavip_api import manifest
from gavip_api.environment import RELEASE_DIR
from gavip_api.scopes import CUSTOM_SCOPES
from gavip_web.openapi import Api, undocumented

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

# a folder of scripts for Sphinx, no package
sys.path.insert(0, str(DOCS))
generate_reference: Any = importlib.import_module("generate_reference")
inventory: Any = importlib.import_module("inventory")

WRITTEN = sorted(
    [p for p in DOCS.rglob("*.md") if not {"_build", "_generated"}.intersection(p.parts)]
    + [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    found: dict[str, str] = generate_reference.pages()
    return found


@pytest.fixture
def in_gavidav(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`avi run` has the pipelines of the AVI it is in."""
    monkeypatch.setenv(RELEASE_DIR, str(ROOT / "examples" / "gavidav"))
    surroundings.reset()
    yield
    surroundings.reset()


def option_faults(cls: type[Any]) -> list[str]:
    return [
        o.name
        for o in inventory.options(cls)
        if not re.search(r"\bdefault\b", o.help, re.IGNORECASE) or len(o.help.split()) < 4
    ]


# -- the reference is complete --


def test_every_option_says_what_it_does_and_its_default(pages: dict[str, str]) -> None:
    classes = inventory.configurables()
    assert {c.__name__ for c in classes} >= {
        "ServiceApp",
        "PortalApp",
        "JobQueueApp",
        "ArchiveApp",
        "GavipServer",
        "DemoAuthenticator",
        "GavipNames",
    }
    assert [fault for c in classes for fault in option_faults(c)] == []
    names = [o.name for c in classes for o in inventory.options(c)]
    assert [n for n in names if f"### `{n}`" not in pages["options.md"]] == []


def test_an_option_without_help_is_a_fault() -> None:
    class Bad(Configurable):
        silent = Unicode().tag(config=True)
        vague = Unicode(help="Where the files of everything are.").tag(config=True)
        good = Unicode(help="Folder of the files. Default: none.").tag(config=True)

    assert option_faults(Bad) == ["Bad.silent", "Bad.vague"]


def test_every_api_route_has_a_summary(pages: dict[str, str]) -> None:
    from gavip_portal.app import make_api as portal_api
    from jobqueue.handlers.routes import make_api as queue_api

    apis: list[Api] = [portal_api(), queue_api()]
    assert [fault for api in apis for fault in undocumented(api)] == []
    routes = [r for d in inventory.documents().values() for r in inventory.api_routes(d)]
    assert len(routes) >= sum(len(api.routes) for api in apis)
    assert [r for r in routes if not r.summary] == []
    assert [r for r in routes if f"`{r.method} {r.path}`" not in pages["routes.md"]] == []


def test_every_other_route_has_a_summary(pages: dict[str, str]) -> None:
    archive = inventory.archive_routes()
    assert {r.path for r in archive} >= {"/tap/sync", "/tap/async", "/tap/tables"}
    routes = [*archive, *inventory.page_routes(), *inventory.service_routes()]
    assert [r for r in routes if not r.summary] == []
    assert [r for r in routes if f"`{r.method} {r.path}`" not in pages["routes.md"]] == []
    assert [r.path for r in routes if set(r.path) & set("()?\\[]+*")] == []


def test_every_scope_and_role_is_described(pages: dict[str, str]) -> None:
    from hub_config.roles import load_roles

    page = pages["permissions.md"]
    assert [s for s, told in CUSTOM_SCOPES.items() if not told.get("description")] == []
    assert [s for s in CUSTOM_SCOPES if f"| `{s}` |" not in page] == []
    assert [r["name"] for r in load_roles() if not r.get("description")] == []
    assert [r["name"] for r in load_roles() if f"| `{r['name']}` |" not in page] == []
    granted = {s for r in load_roles() for s in r["scopes"] if s.startswith("custom:")}
    assert granted <= set(CUSTOM_SCOPES)


def command_faults(name: str, root: click.Command) -> list[str]:
    faults = []
    for full_name, command in inventory.commands(name, root):
        if not command.help:
            faults.append(full_name)
        faults += [
            f"{full_name} {option.opts[0]}"
            for option in command.params
            if isinstance(option, click.Option) and not option.help
        ]
    return faults


@pytest.mark.usefixtures("in_gavidav")
def test_every_command_and_its_options_have_help(pages: dict[str, str]) -> None:
    roots = inventory.command_roots()
    assert [f for name, (_, root) in roots.items() for f in command_faults(name, root)] == []
    config = _setup_cfg()["options.entry_points"]
    scripts = dict(_pairs(config["console_scripts"]))
    assert set(scripts) <= set(roots)
    # sphinx-click writes out everything below a root
    page = pages["commands.md"]
    for name, (where, _) in roots.items():
        assert f".. click:: {where}\n   :prog: {name}\n   :nested: full" in page
    # nothing that an entry point adds may fail to load, for it would be missing silently
    known = {n for n, _ in inventory.commands("gavip", roots["gavip"][1])}
    assert {f"gavip {n}" for n, _ in _pairs(config["gavip.commands"])} <= known


def test_a_command_without_help_is_a_fault() -> None:
    @click.command()
    @click.option("--silent")
    @click.option("--good", help="Say it.")
    def bad() -> None: ...

    assert command_faults("bad", bad) == ["bad", "bad --silent"]


def key_faults(model: type[BaseModel]) -> list[str]:
    return [
        f"{model.__name__}.{name}"
        for name, field in inventory.keys(model).items()
        if not field.description
    ]


def test_every_manifest_key_is_described(pages: dict[str, str]) -> None:
    models = inventory.manifest_models()
    assert {m.__name__ for m in models} >= {"Manifest", "PipelineSpec", "ParameterSpec"}
    assert [fault for m in models for fault in key_faults(m)] == []
    for model in models:
        section = pages["manifest.md"].split(f"\n## {model.__name__}\n")[1].split("\n## ")[0]
        assert [k for k in inventory.keys(model) if f"| `{k}` |" not in section] == []


def test_a_key_without_description_is_a_fault() -> None:
    class Bad(BaseModel):
        silent: int = 0
        good: int = Field(default=0, description="how many")

    assert key_faults(Bad) == ["Bad.silent"]


def test_every_variable_is_described(pages: dict[str, str]) -> None:
    variables = inventory.avi_variables()
    assert [v.name for v in variables if not v.description] == []
    known = {v.name for v in variables} | set(inventory.PLATFORM_VARIABLES)
    in_source = inventory.variables_in_source()
    assert in_source - known == set()
    assert set(inventory.PLATFORM_VARIABLES) <= in_source
    assert [n for n in known if f"| `{n}` |" not in pages["environment.md"]] == []


def test_every_error_is_described(pages: dict[str, str]) -> None:
    errors = inventory.errors()
    assert len(errors) > 20
    assert [e.__name__ for e in errors if not (vars(e).get("__doc__") and e.title)] == []
    codes = {e.code for e in errors} | set(inventory.job_errors())
    assert [c for c in codes if f"| `{c}` |" not in pages["errors.md"]] == []


# -- the written pages are true --


def _setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def _pairs(text: str) -> list[tuple[str, str]]:
    lines = (line.partition("=") for line in text.strip().splitlines())
    return [(name.strip(), target.strip()) for name, _, target in lines]


def test_every_requirement_says_why_it_is_there() -> None:
    config = _setup_cfg()
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    lines = {line.strip() for text in lists for line in text.splitlines() if line.strip()}
    required = {re.split(r"[\[<>=!~;\s]", line)[0] for line in lines} - {"gavip"}
    page = (DOCS / "explanation" / "dependencies.md").read_text()
    tables = page.split("\n## Removed on purpose")[0]
    told = {
        name
        for cell, why in re.findall(r"^\| (`[^|]*) \| ([^|]+) \|$", tables, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", cell)
        if len(why.split()) >= 2
    }
    assert len(required) > 40
    assert required - told == set()
    assert told - required == set()


_LINK = re.compile(r"(?<!\\)\]\(<?([^)\s>]+)>?\)")
_IMAGE_OR_ANCHOR = re.compile(r"[a-z][a-z0-9+.-]*:|#")


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path, pages: dict[str, str]) -> None:
    broken = []
    for link in _LINK.findall(_without_code(page.read_text())):
        if _IMAGE_OR_ANCHOR.match(link):
            continue
        target = (page.parent / link.partition("#")[0]).resolve()
        generated = target.parent == generate_reference.TARGET and target.name in pages
        if not (target.exists() or generated):
            broken.append(link)
    assert broken == []


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"run", "test", "docs"} <= targets
    named = {
        target
        for page in WRITTEN
        for code in re.findall(r"```.*?```|`[^`\n]*`", page.read_text(), re.DOTALL)
        for target in re.findall(r"(?:^|[\n`])make ([a-z]+)", code)
    }
    assert len(named) >= 5
    assert named - targets == set()


_MACHINE = re.compile(r"(?<![\w.])/(?:work|root|tmp|opt|Users|home)/\w")


def test_the_readme_maps_every_folder() -> None:
    git = shutil.which("git")
    assert git
    listed = subprocess.run(
        [git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    folders = {line.split("/")[0] for line in listed.splitlines() if "/" in line}
    mapped = re.findall(r"^\| `([a-z_]+)/` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(mapped) == sorted(name for name in folders if not name.startswith("."))


def test_no_page_names_a_path_of_this_machine(pages: dict[str, str]) -> None:
    everything = {p.relative_to(ROOT).as_posix(): p.read_text() for p in WRITTEN} | pages
    assert [name for name, text in everything.items() if _MACHINE.search(text)] == []
    here = {str(ROOT), sys.prefix, sys.executable}
    assert [name for name, text in pages.items() if any(path in text for path in here)] == []


def _blocks(page: Path, language: str) -> list[str]:
    fence = rf"```(?:\{{code-block\}} )?{language}\n(.*?)```"
    return re.findall(fence, page.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [p for p in WRITTEN if _blocks(p, "python")],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_python_of_the_pages_is_python(page: Path) -> None:
    import avi

    for block in _blocks(page, "python"):
        tree = ast.parse(re.sub(r"\A:caption:.*\n", "", block))
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "avi"
        }
        assert used <= set(avi.__all__)


def test_the_manifest_of_the_tutorial_is_valid() -> None:
    page = DOCS / "tutorials" / "write-an-avi.md"
    (block,) = _blocks(page, "yaml")
    declared = manifest.load(re.sub(r"\A:caption:.*\n", "", block))
    named = {declared.interface, *(p.notebook for p in declared.pipelines.values())}
    assert {f":caption: {name}" in page.read_text() for name in named} == {True}
    (pipeline,) = declared.pipelines
    assert f"avi run {pipeline} " in page.read_text()


def test_the_tutorial_quotes_the_interface() -> None:
    sources = [
        *(ROOT / "gavip_portal" / "templates").glob("*.html"),
        *(ROOT / "extensions").glob("*/src/*.ts"),
        *(ROOT / "avi" / "widgets").glob("*.py"),
        *(ROOT / "examples" / "gavidav").rglob("*.py"),
        ROOT / "examples" / "gavidav" / "avi.yaml",
    ]
    interface = "\n".join(p.read_text() for p in sources)
    page = (DOCS / "tutorials" / "first-steps.md").read_text()
    quoted = re.findall(r"(?<![*\w])\*([^*]+)\*(?![*\w])", page)
    words = [" ".join(q.split()).partition(": ")[0] for q in quoted]
    assert len(words) > 10
    folders = {"avis", "gavip.gavidav"}
    assert [w for w in words if w not in folders and w not in interface] == []
    demo = importlib.import_module("hub_config.accounts").DEMO_USERS
    assert [n for n in demo if not re.search(rf"^    {n}\b", page, re.MULTILINE)] == []


def test_the_generator_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the generator starts something")

    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.socket.bind", refuse)
    generate_reference.write(tmp_path)
    stale = tmp_path / "gone.md"
    stale.touch()
    generate_reference.write(tmp_path)
    assert not stale.exists()
    assert {p.name for p in tmp_path.iterdir()} == set(generate_reference.pages())
    assert inspect.getdoc(generate_reference)
