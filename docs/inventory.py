"""What there is to document, read from the packages themselves.

Owns the lists that the reference pages and ``tests/unit/test_docs.py`` share: options, routes, scopes, roles, manifest
keys, variables and errors. Invariants: packages are imported, nothing is started, nothing is read from the network;
what is added to the code appears here without a change of this module.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tornado.web import RequestHandler
from traitlets import HasTraits, TraitType

from gavip_api import environment as env
from gavip_api.errors import GavipError
from gavip_api.manifest import Manifest

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = (
    "gavip_api",
    "gavip_web",
    "gavip_spawner",
    "jobqueue",
    "gavip_portal",
    "gavip_archive",
    "avi",
    "avi_kernelspec",
    "gavip_client",
    "hub_config",
)

_NOT_IMPORTABLE = re.compile(r"\.migrations\b|\.__main__$|hub_config\.\w+_config$")
"""Scripts: alembic, ``python -m`` and the hub run them with surroundings of their own."""


def modules() -> list[ModuleType]:
    """Import and return all modules of our packages."""
    found = []
    for package in PACKAGES:
        top = importlib.import_module(package)
        found.append(top)
        for info in pkgutil.walk_packages(top.__path__, f"{package}."):
            if not _NOT_IMPORTABLE.search(info.name):
                found.append(importlib.import_module(info.name))
    return found


def summary(thing: object) -> str:
    """Return the first paragraph of a docstring as one line; empty when there is none."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


# -- options --


@dataclass(frozen=True)
class Option:
    """One configurable trait.

    Attributes
    ----------
    name : str
        ``Class.trait``, as in a configuration file.
    type : str
        Kind of value.
    default : str
        As Python; empty when it is computed (the help text says how).
    help : str
        Effect, unit and default.
    """

    name: str
    type: str
    default: str
    help: str


def configurables() -> list[type[HasTraits]]:
    """Return our classes that have options of their own."""
    found: dict[str, type[HasTraits]] = {}
    for module in modules():
        for cls in vars(module).values():
            if (
                isinstance(cls, type)
                and issubclass(cls, HasTraits)
                and cls.__module__ == module.__name__
                and _own_options(cls)
            ):
                found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return [found[name] for name in sorted(found)]


def _own_options(cls: type[HasTraits]) -> dict[str, TraitType[Any, Any]]:
    own = cls.class_own_traits(config=True)
    # traitlets counts a trait whose default a subclass changes as the subclass's own
    return {name: trait for name, trait in own.items() if name in vars(cls)}


def _default(cls: type[HasTraits], trait: TraitType[Any, Any]) -> str:
    if trait.name in cls._trait_default_generators:
        return ""
    text = trait.default_value_repr()
    # a path of the machine that builds these pages says nothing to anybody
    return "" if sys.prefix in text or sys.executable in text else text


def options(cls: type[HasTraits]) -> list[Option]:
    """Return the options that a class itself defines, in the order of their definition."""
    order = {name: i for i, name in enumerate(vars(cls))}
    return [
        Option(
            f"{cls.__name__}.{name}",
            trait.info(),
            _default(cls, trait),
            " ".join(str(trait.help).split()),
        )
        for name, trait in sorted(_own_options(cls).items(), key=lambda item: order[item[0]])
    ]


# -- routes --


@dataclass(frozen=True)
class Route:
    """One method of one path.

    Attributes
    ----------
    scopes : tuple of str or None
        The caller needs one of these; empty: any signed-in caller; None: anybody, or credentials of the route's own.
    """

    method: str
    path: str
    summary: str
    description: str = ""
    scopes: tuple[str, ...] | None = None
    credentials: str = ""
    request: str = ""
    response: str = ""


def api_routes(document: dict[str, Any]) -> list[Route]:
    """Return the operations of an OpenAPI document."""
    found = []
    for path, item in document["paths"].items():
        for method, op in item.items():
            if method == "parameters":
                continue
            security = [dict(s) for s in op.get("security", [])]
            needs = security[0] if security else {}
            found.append(
                Route(
                    method.upper(),
                    path,
                    op.get("summary", ""),
                    op.get("description", ""),
                    tuple(needs.get("token", ())) if "token" in needs else None,
                    next(iter(needs), ""),
                    _model(op.get("requestBody", {}).get("content", {})),
                    _model(_success(op).get("content", {})),
                )
            )
    return found


def _success(operation: dict[str, Any]) -> dict[str, Any]:
    return next(
        (r for status, r in operation["responses"].items() if str(status).startswith("2")), {}
    )


def _model(content: dict[str, Any]) -> str:
    for media, body in content.items():
        reference = body["schema"].get("$ref", "")
        return reference.rsplit("/", 1)[-1] if reference else media
    return ""


def documents() -> dict[str, dict[str, Any]]:
    """Return the OpenAPI documents by name of the service."""
    from gavip_portal.app import make_api as portal_api
    from jobqueue.handlers.routes import make_api as queue_api

    return {
        "portal": portal_api().document("/services/portal/api/v1"),
        "jobqueue": queue_api().document("/services/jobqueue/api/v1"),
    }


_METHODS = ("get", "head", "post", "put", "patch", "delete")
_GROUP = re.compile(r"\((?!\?)[^()]*\)")


def _own_methods(handler: type[RequestHandler]) -> dict[str, Any]:
    return {
        m: getattr(handler, m)
        for m in _METHODS
        if getattr(handler, m) is not getattr(RequestHandler, m)
    }


def _readable(pattern: str, method: Any) -> str:
    """Return a tornado pattern as a path template, its groups named like the method's arguments."""
    names = list(inspect.signature(method).parameters)[1:]
    path = pattern.removesuffix("$").replace("(?:tap/?)?", "tap").replace("/?", "")
    for name in names:
        path = _GROUP.sub("{" + name + "}", path, count=1)
    return path.replace("\\", "")


def archive_routes() -> list[Route]:
    """Return the routes of the embedded archive; they are IVOA standards' and have no OpenAPI document."""
    from gavip_archive.app import web_application

    nothing: Any = None
    application = web_application(nothing)
    found: dict[tuple[str, str], Route] = {}
    for rule in application.wildcard_router.rules:
        matcher: Any = rule.matcher  # tornado makes one with `regex` of each pattern
        for method, function in _own_methods(rule.target).items():
            path = _readable(matcher.regex.pattern, function)
            found[(path, method)] = Route(method.upper(), path, summary(function))
    return list(found.values())


def page_routes() -> list[Route]:
    """Return the portal's pages."""
    from gavip_portal.app import PAGES

    return [
        Route(method.upper(), f"/services/portal/{path}", summary(handler), summary(function), ())
        for path, handler in PAGES.items()
        for method, function in _own_methods(handler).items()
    ]


def service_routes() -> list[Route]:
    """Return what every service of ours has beside its API."""
    from gavip_web import handlers

    served = {
        "health": handlers.HealthHandler,
        "ready": handlers.ReadyHandler,
        "metrics": handlers.MetricsHandler,
    }
    return [
        Route(
            "GET",
            f"/services/<name>/{path}",
            summary(handler),
            scopes=("read:metrics",) if path == "metrics" else None,
        )
        for path, handler in served.items()
    ]


# -- commands --


def command_roots() -> dict[str, tuple[str, click.Command]]:
    """Return our command lines: program → (``module:attribute``, command)."""
    from avi.cli import main as avi
    from gavip_archive.cli import main as archive
    from gavip_client.cli import gavip

    return {
        "gavip": ("gavip_client.cli:gavip", gavip),
        "avi": ("avi.cli:main", avi),
        "python -m gavip_archive": ("gavip_archive.cli:main", archive),
    }


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and all below it with their full names."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from commands(f"{name} {child}", found)


# -- manifest --


def manifest_models() -> list[type[BaseModel]]:
    """Return the manifest's models, outermost first."""
    found: list[type[BaseModel]] = [Manifest]
    for model in found:
        for field in model.model_fields.values():
            found.extend(m for m in _models_in(field.annotation) if m not in found)
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the names that people write."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


# -- variables --

PLATFORM_VARIABLES = {
    "GAVIP_TOKEN": "Command line: hub token with scope `custom:portal:access`.",
    "GAVIP_URL": "Command line: the platform's API, ending in `/api/v1`.",
    "GAVIP_STATE": "State folder of the platform. `make run` sets it to `.gavip/state` in the clone unless it is set.",
    "GAVIP_PLATFORM_FILE": "File with ports and secrets of the running platform; `gavip up` sets it for the hub.",
    "GAVIP_COOKIE_SECRET": "Secret that signs a service's cookies, hexadecimal; `gavip up` keeps it between starts.",
    "GAVIP_PROXY_ISOLATION": "What the proxy does to the answers of AVIs, as JSON; `gavip up` sets it.",
    "GAVIP_IN_CONTAINER": "`1` says that the platform itself runs in a container, so that disks must be mounted where"
    " the engine sees them; `compose.yaml` sets it.",
    "GAVIP_JOBQUEUE_URL": "Base URL of the job queue's internal API, for a portal started by hand.",
}
"""What the platform's own programs read; no code of an AVI sees them. A test compares this with the source."""


@dataclass(frozen=True)
class Variable:
    """One environment variable."""

    name: str
    description: str


def avi_variables() -> list[Variable]:
    """Return the variables that AVI code is given, with the text below each constant."""
    found = _documented_constants(Path(inspect.getfile(env)))
    found += _documented_constants(ROOT / "avi_kernelspec" / "settings.py")
    return found


def _documented_constants(path: Path) -> list[Variable]:
    body = ast.parse(path.read_text()).body
    found = []
    for i, node in enumerate(body):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)):
            continue
        after = body[i + 1] if i + 1 < len(body) else None
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = " ".join(str(after.value.value).split())
        if isinstance(node.value.value, str):
            found.append(Variable(node.value.value, text))
    return found


_VARIABLE = re.compile(r"GAVIP_[A-Z_]+\Z")


def variables_in_source() -> set[str]:
    """Return every ``GAVIP_…`` name that a string of our source holds."""
    return {
        node.value
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _VARIABLE.match(node.value)
    }


# -- errors --


def errors() -> list[type[GavipError]]:
    """Return our error classes by status and code."""
    modules()
    found: list[type[GavipError]] = [GavipError]
    for cls in found:
        found.extend(c for c in cls.__subclasses__() if c not in found)
    own = [c for c in found if c.__module__.partition(".")[0] in PACKAGES]
    return sorted(own, key=lambda c: (c.status, c.code, c.__name__))


def job_errors() -> dict[str, str]:
    """Return the codes that a failed job may carry, with what they mean or what to do."""
    from avi import errors as framework

    known = framework.explain_name("SomeError", "")
    found = {known.code: known.hint} | dict(framework._KNOWN.values())
    for package in ("avi", "jobqueue"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "JobError":
                    said = {k.arg: _text(k.value) for k in node.keywords}
                    if said.get("code"):
                        found.setdefault(
                            said["code"],
                            f"{said.get('message', '')} {said.get('hint', '')}".strip(),
                        )
    return found


def _text(node: ast.expr) -> str:
    """Return a string of the source, with ``…`` for what is filled in at run time."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(v) if isinstance(v, ast.Constant) else "…" for v in node.values)
    return ""
