"""Routes and their documentation, declared once: the same table routes requests and yields the OpenAPI 3.1 document.

Invariant: a method that is routed is documented; :func:`undocumented` lists those that are not, and
each service's tests require the list to be empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from apispec import APISpec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from tornado.routing import URLSpec
from tornado.web import RequestHandler

from .auth import check_caller
from .handlers import PROBLEM_JSON, ApiHandler, ServiceHandler

_TEMPLATE = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{model}"
_METHODS = ("get", "post", "put", "patch", "delete", "head")

_Method = TypeVar("_Method", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True)
class Operation:
    """What one method of one route does; see :func:`operation`."""

    summary: str
    scopes: tuple[str, ...] | None
    request: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    media: tuple[str, ...] = ("application/json",)
    description: str = ""
    errors: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    security: str = "token"


def operation(
    summary: str,
    *,
    scopes: tuple[str, ...] | None = (),
    request: type[BaseModel] | None = None,
    response: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    status: int = 200,
    media: str | tuple[str, ...] = "application/json",
    errors: tuple[int, ...] = (),
    tags: tuple[str, ...] = (),
    security: str = "token",
) -> Callable[[_Method], _Method]:
    """Document a handler method and enforce the scopes it declares.

    Parameters
    ----------
    summary : str
        One line for the reference; the method's docstring is the long description.
    scopes : tuple of str, or None
        The caller needs one of these; ``()`` any signed-in caller, None anybody (or the handler's
        own credentials).
    request, response, query : pydantic model, optional
        Body, answer and query parameters.
    status : int
        Status of success.
    media : str or tuple of str
        Media types that the answer may have.
    errors : tuple of int
        Statuses of failure beyond 401, 403, 422 and 500, which are implied.
    tags : tuple of str
        Sections of the reference.
    security : str
        Name of the security scheme.
    """

    def decorate(method: _Method) -> _Method:
        doc = " ".join((method.__doc__ or "").split())
        media_types = (media,) if isinstance(media, str) else media
        described = Operation(
            summary,
            scopes,
            request,
            response,
            query,
            status,
            media_types,
            doc,
            errors,
            tags,
            security,
        )

        @functools.wraps(method)
        async def wrapped(self: ServiceHandler, *args: Any, **kwargs: Any) -> Any:
            if scopes is not None:
                check_caller(self.caller, scopes)
            return await method(self, *args, **kwargs)

        wrapped.operation = described  # type: ignore[attr-defined]
        return wrapped  # type: ignore[return-value]

    return decorate


class Problem(BaseModel):
    """An error (RFC 9457 problem details)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    errors: dict[str, Any] = {}
    request: str = ""


def _own_methods(handler: type[ServiceHandler]) -> dict[str, Callable[..., Any]]:
    return {
        name: getattr(handler, name)
        for name in _METHODS
        if getattr(handler, name) is not getattr(RequestHandler, name)
    }


@dataclass
class Api:
    """The routes of a service.

    Parameters
    ----------
    title, version, description : str
        Head of the OpenAPI document.
    """

    title: str
    version: str
    description: str = ""
    routes: list[tuple[str, type[ServiceHandler], dict[str, Any]]] = field(default_factory=list)

    def add(self, path: str, handler: type[ServiceHandler], **kwargs: Any) -> None:
        """Route `path`, a template such as ``/jobs/{job}``, to `handler`; `kwargs` go to its ``initialize``."""
        self.routes.append((path, handler, kwargs))

    def rules(self, prefix: str) -> list[URLSpec]:
        """Return tornado rules for all routes and ``openapi.json`` below `prefix`."""
        base = prefix.rstrip("/")
        rules = [URLSpec(pattern(base + path), h, kw) for path, h, kw in self.routes]
        document = {"document": self.document(base)}
        rules.append(URLSpec(re.escape(base + "/openapi.json"), OpenApiHandler, document))
        return rules

    def document(self, base: str) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document; `base` is the path that all routes begin with."""
        spec = APISpec(
            title=self.title,
            version=self.version,
            openapi_version="3.1.0",
            info={"description": self.description},
            servers=[{"url": base or "/"}],
        )
        spec.components.security_scheme(
            "token",
            {"type": "apiKey", "in": "header", "name": "Authorization", "description": "token …"},
        )
        spec.components.security_scheme("job", {"type": "http", "scheme": "bearer"})
        names = self._schemas(spec)
        for path, handler, _ in self.routes:
            described = {
                name: method.operation
                for name, method in _own_methods(handler).items()
                if hasattr(method, "operation")
            }
            operations = {name: _describe(op, name, path, names) for name, op in described.items()}
            parameters = [
                {"name": p, "in": "path", "required": True, "schema": {"type": "string"}}
                for p in _TEMPLATE.findall(path)
            ]
            spec.path(path=path, operations=operations, parameters=parameters)
        return spec.to_dict()

    def _schemas(self, spec: APISpec) -> dict[tuple[type[BaseModel], str], dict[str, str]]:
        wanted: dict[tuple[type[BaseModel], str], None] = {(Problem, "serialization"): None}
        for _, handler, _ in self.routes:
            for method in _own_methods(handler).values():
                op: Operation | None = getattr(method, "operation", None)
                if op and op.request:
                    wanted[(op.request, "validation")] = None
                if op and op.response:
                    wanted[(op.response, "serialization")] = None
        refs, schema = models_json_schema(
            list(wanted),  # type: ignore[arg-type]
            ref_template=_REF,
        )
        for name, component in schema.get("$defs", {}).items():
            spec.components.schema(name, component)
        return refs  # type: ignore[return-value]


def _describe(
    op: Operation,
    method: str,
    path: str,
    refs: dict[tuple[type[BaseModel], str], dict[str, str]],
) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Success"}
    if op.response is not None:
        success["content"] = {
            media: {"schema": refs[(op.response, "serialization")]} for media in op.media
        }
    elif op.status != 204:
        success["content"] = {media: {"schema": {"type": "string"}} for media in op.media}
    described: dict[str, Any] = {
        "summary": op.summary,
        "operationId": method + "".join(p.title() for p in re.findall(r"\w+", path)),
        "responses": {str(op.status): success},
    }
    if op.description:
        described["description"] = op.description
    if op.tags:
        described["tags"] = list(op.tags)
    failures = {500, *op.errors}
    if op.scopes is not None:
        failures |= {401, 403}
        # scopes of an apiKey scheme may be named since OpenAPI 3.1 (section 4.8.30)
        described["security"] = [{op.security: list(op.scopes)}]
    elif op.security != "token":
        failures |= {401}
        described["security"] = [{op.security: []}]
    if op.request is not None:
        failures |= {400, 413, 415, 422}
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": refs[(op.request, "validation")]}},
        }
    if op.query is not None:
        failures |= {422}
        described["parameters"] = _query_parameters(op.query)
    problem = {PROBLEM_JSON: {"schema": refs[(Problem, "serialization")]}}
    for status in sorted(failures):
        described["responses"][str(status)] = {"description": "Problem", "content": problem}
    return described


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(ref_template=_REF)
    definitions = schema.get("$defs", {})
    required = schema.get("required", [])
    found = []
    for name, declared in schema["properties"].items():
        inlined = _inline(declared, definitions)
        inlined.pop("title", None)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": inlined}
        if description := inlined.pop("description", None):
            parameter["description"] = description
        found.append(parameter)
    return found


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    # query models are shallow (enums at most), so their definitions are put in place
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inline(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
        return {k: _inline(v, definitions) for k, v in schema.items()}
    if isinstance(schema, list):
        return [_inline(v, definitions) for v in schema]
    return schema


def pattern(path: str) -> str:
    """Return the tornado regular expression of a path template; a parameter is one path segment."""
    out, at = "", 0
    for match in _TEMPLATE.finditer(path):
        out += re.escape(path[at : match.start()]) + f"(?P<{match[1]}>[^/]+)"
        at = match.end()
    return out + re.escape(path[at:])


def undocumented(api: Api) -> list[str]:
    """Return ``Handler.method`` of every routed method without :func:`operation`; tests require it empty."""
    return [
        f"{handler.__name__}.{name}"
        for _, handler, _ in api.routes
        for name, method in _own_methods(handler).items()
        if not hasattr(method, "operation")
    ]


class OpenApiHandler(ApiHandler):
    """``openapi.json``: the document itself, for anybody."""

    authenticated = False
    guests = "visitors"

    def initialize(self, document: dict[str, Any]) -> None:  # type: ignore[override]
        """Take the document."""
        super().initialize()
        self.document = document

    async def get(self) -> None:
        """Answer with the document."""
        self.reply(self.document)
