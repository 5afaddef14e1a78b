"""Writes the reference pages from the code; run by ``conf.py`` at every build, or by hand.

Invariants: a page holds only what :mod:`inventory` found; a file is written only when its content changed, so that
Sphinx builds no more than it must; pages of things that no longer exist are removed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import inventory
from inventory import Option, Route
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gavip_api.enums import Role
from gavip_api.scopes import CUSTOM_SCOPES

TARGET = Path(__file__).resolve().parent / "reference" / "_generated"

_ROLE = re.compile(r":\w+:`~?\.?([^`]+)`")
_ANGLE = re.compile(r"(?<!`)<(?=\w)")


def _prose(text: str) -> str:
    """Return reStructuredText of docstrings and help texts as Markdown."""
    # the text between backticks is code in both; a bare angle bracket would begin HTML
    parts = re.split(r"(`+[^`]*`+)", _ROLE.sub(r"`\1`", text))
    return "".join(p if p.startswith("`") else _ANGLE.sub(r"\\<", p) for p in parts)


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|") or "–"


def _code(text: str) -> str:
    return f"`{text}`" if text else "–"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _option(option: Option) -> str:
    default = f" · default `{option.default}`" if option.default not in {"", "''", "b''"} else ""
    return f"### `{option.name}`\n\n*{option.type}*{default}\n\n{_prose(option.help)}\n"


def options_page() -> str:
    """Return every option of services, spawners, authenticators and kernels."""
    parts = [
        "# Options\n",
        "Every option is a [traitlets](https://traitlets.readthedocs.io/) trait. Set it in a configuration file as"
        " `c.Class.option = value`, or on the command line of the program as `--Class.option=value`."
        " A class also has the options of the classes it is made from.\n",
    ]
    for cls in inventory.configurables():
        bases = [b.__name__ for b in cls.__mro__[1:] if b in inventory.configurables()]
        parts.append(f"## {cls.__name__}\n")
        parts.append(f"`{cls.__module__}.{cls.__name__}`: {_prose(inventory.summary(cls))}\n")
        if bases:
            parts.append(f"It also has the options of {', '.join(f'`{b}`' for b in bases)}.\n")
        parts += [_option(o) for o in inventory.options(cls)]
    return "\n".join(parts)


def _who(route: Route) -> str:
    if route.credentials == "job":
        return "the job's own token"
    if route.scopes is None:
        return "anybody"
    return " or ".join(f"`{s}`" for s in route.scopes) or "any signed-in caller"


def _meaning(route: Route) -> str:
    told = [f"**{_cell(route.summary.rstrip('.'))}.**", _cell(route.description)]
    models = [f"Body `{route.request}`." if route.request else ""]
    models.append(f"Answer `{route.response}`." if route.response else "")
    return " ".join(t for t in (*told, *models) if t not in {"", "–"})


def _routes(routes: list[Route]) -> str:
    rows = [(f"`{r.method} {r.path}`", _meaning(r), _who(r)) for r in routes]
    return _table(("call", "what it does", "who may"), rows)


def routes_page() -> str:
    """Return every HTTP route."""
    parts = [
        "# HTTP routes\n",
        "Callers send `Authorization: token …` with a hub token; browsers use the cookie of the portal's origin."
        " Errors are problem details (RFC 9457), see [](errors.md)."
        " Each API serves its whole description, models included, as `openapi.json`.\n",
    ]
    parts.append(
        "In the portal a person's token also needs the scope `custom:portal:access`. The token of an AVI instance, with"
        " `custom:portal:instance`, reaches the profile of its user, the jobs of its own AVI for them, the catalogue,"
        " and the figures of queue and pool, but no files and no other instances.\n"
    )
    for name, document in inventory.documents().items():
        base = document["servers"][0]["url"]
        parts.append(f"## {document['info']['title']} ({name})\n")
        parts.append(f"{document['info']['description']} Paths are below `{base}`.\n")
        parts.append(_routes(inventory.api_routes(document)))
    parts.append("## Pages of the portal\n")
    parts.append("HTML for people. Whoever is not signed in is sent to the hub.\n")
    parts.append(_routes(inventory.page_routes()))
    parts.append("## Every service\n")
    parts.append(_routes(inventory.service_routes()))
    parts.append("## Embedded archive\n")
    parts.append(
        "TAP 1.1, UWS 1.1, DALI 1.1 and VOSI 1.1. It asks for no sign-in and listens on this machine only.\n"
    )
    archive = [(f"`{r.method} {r.path}`", _cell(r.summary)) for r in inventory.archive_routes()]
    parts.append(_table(("call", "what it does"), archive))
    return "\n".join(parts)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{n}`" for n in names) or "–"


def permissions_page() -> str:
    """Return custom scopes, the roles of people and parts, and the scopes of servers' tokens."""
    from hub_config import roles
    from hub_config.accounts import DEMO_USERS

    scopes = [(f"`{n}`", _cell(s["description"])) for n, s in CUSTOM_SCOPES.items()]
    hub = [
        (
            f"`{r['name']}`",
            _cell(r["description"]),
            _names([f"group {g}" for g in r.get("groups", [])] + r.get("services", [])),
            _names(r["scopes"]),
        )
        for r in roles.load_roles()
    ]
    people = [
        (f"`{r.value}`", _names([n for n, has in DEMO_USERS.items() if r in has])) for r in Role
    ]
    tokens = [
        ("a person's JupyterLab", _names(roles.LAB_TOKEN_SCOPES)),
        ("an AVI instance", _names(roles.INSTANCE_TOKEN_SCOPES)),
    ]
    return "\n".join(
        [
            "# Scopes and roles\n",
            "A scope says what a caller may ask for. Whose things it may touch follows from the token's owner, never"
            " from the request. The hub's own scopes are described in JupyterHub's documentation.\n",
            "## Custom scopes\n",
            _table(("scope", "what it allows"), scopes),
            "## Roles of people\n",
            "A person may have several. They are groups of the hub.\n",
            _table(("role", "demo accounts"), people),
            "## Roles of the hub\n",
            "Without a name in the third column, every signed-in person has the role.\n",
            _table(("role", "what for", "who", "scopes"), hub),
            "## Tokens of servers\n",
            "The token that the hub puts into a server carries at most these scopes.\n",
            _table(("server", "scopes"), tokens),
        ]
    )


def commands_page() -> str:
    """Return the command lines; sphinx-click writes the entries out."""
    parts = [
        "# Commands\n",
        "`avi run` has one sub-command for each pipeline that the `avi.yaml` of the present folder declares."
        " Shown here are those of the example `gavidav`."
        " `python -m gavip_archive serve` takes the options of [ArchiveApp](options.md#archiveapp).\n",
    ]
    for name, (where, _) in inventory.command_roots().items():
        parts.append(
            f"```{{eval-rst}}\n.. click:: {where}\n   :prog: {name}\n   :nested: full\n```\n"
        )
    return "\n".join(parts)


def _kind(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text).replace("NoneType", "None")
    return text.replace("|", "or")


def _key(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = "required" if field.is_required() else ""
    value = field.get_default()
    if not default and value not in (None, "", (), {}) and not isinstance(value, BaseModel):
        default = f"`{getattr(value, 'value', value)}`"
    return (
        f"`{name}`",
        _code(_kind(field.annotation)),
        default or "–",
        _cell(field.description or ""),
    )


def manifest_page() -> str:
    """Return the keys of ``avi.yaml``."""
    parts = [
        "# The manifest, `avi.yaml`\n",
        "YAML 1.1 without aliases, at most 256 KiB. Unknown keys are faults, each named with its line."
        " Sizes are powers of 1024 (`512M`, `2G`); durations look like `1h 30m`."
        " Expressions over parameters know numbers, sizes, `+ - * /`, `min`, `max`, `ceil`, `floor` and `sqrt`.\n",
    ]
    for model in inventory.manifest_models():
        parts.append(f"## {model.__name__}\n\n{_prose(inventory.summary(model))}\n")
        rows = [_key(name, field) for name, field in inventory.keys(model).items()]
        parts.append(_table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def environment_page() -> str:
    """Return the environment variables."""
    avi = [(f"`{v.name}`", _cell(v.description)) for v in inventory.avi_variables()]
    own = [(f"`{n}`", _cell(text)) for n, text in inventory.PLATFORM_VARIABLES.items()]
    return "\n".join(
        [
            "# Environment variables\n",
            "## What AVI code is given\n",
            "The contract between the execution plane and AVIs. Only tokens limited to one instance or one job are"
            " ever placed here.\n",
            _table(("variable", "meaning"), avi),
            "## What the platform reads\n",
            _table(("variable", "meaning"), own),
        ]
    )


def errors_page() -> str:
    """Return the codes of errors and of failed jobs."""
    rows = [
        (f"`{e.code}`", str(e.status), _cell(e.title), _cell(inventory.summary(e)))
        for e in inventory.errors()
    ]
    jobs = [(f"`{code}`", _cell(text)) for code, text in sorted(inventory.job_errors().items())]
    return "\n".join(
        [
            "# Error codes\n",
            "Every error names its cause and the next step. In HTTP it is a problem-details object (RFC 9457) whose"
            " `type` is `urn:gavip:error:` and the code.\n",
            "## Errors\n",
            _table(("code", "status", "title", "when"), rows),
            "## Failed jobs\n",
            "The `error` of a job that did not succeed.\n",
            _table(("code", "what it means, or what to do"), jobs),
        ]
    )


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    return {
        "commands.md": commands_page(),
        "environment.md": environment_page(),
        "errors.md": errors_page(),
        "manifest.md": manifest_page(),
        "options.md": options_page(),
        "permissions.md": permissions_page(),
        "routes.md": routes_page(),
    }


def write(target: Path = TARGET) -> None:
    """Write the pages."""
    target.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for stale in set(target.glob("*.md")) - {target / name for name in wanted}:
        stale.unlink()
    for name, text in wanted.items():
        path = target / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    write()
