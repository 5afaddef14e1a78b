"""Commands made from the OpenAPI document: one group per resource, one command per operation.

``GET /jobs`` is ``gavip jobs list``, ``GET /jobs/{id}`` is ``gavip jobs show ID``, ``POST /jobs`` is
``gavip jobs create``, ``DELETE …`` is ``… delete``, ``POST /jobs/{id}/cancel`` is ``gavip jobs cancel
ID``; ``GET /jobs/events`` beside ``GET /jobs/{id}/events`` is ``gavip jobs all-events``. Invariant:
every operation of the document has exactly one command, so a new route needs no new client.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import click

from .session import Session
from .show import render

_VERBS = {"post": "create", "put": "set", "patch": "change", "delete": "delete"}
_METHODS = ("get", "post", "put", "patch", "delete")
_TYPES: dict[str, click.ParamType[Any]] = {
    "integer": click.INT,
    "number": click.FLOAT,
    "boolean": click.BOOL,
}


class JsonText(click.ParamType):  # type: ignore[type-arg] # generic from click 8.3 on only
    """A JSON value on the command line; bare words are strings."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value, or the text itself when it is no JSON."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            if value[:1] in '{["':
                self.fail(f"{value!r} is not valid JSON", param, ctx)
            return value


def command_path(method: str, path: str) -> tuple[str, str]:
    """Return group and name of the command of an operation.

    Parameters
    ----------
    method : str
        Lower case.
    path : str
        As in the document, for example ``/jobs/{id}/cancel``.
    """
    literal = [p for p in path.strip("/").split("/") if not p.startswith("{")]
    group, rest = literal[0], literal[1:]
    ends_in_item = path.rstrip("/").endswith("}")
    if method == "get":
        verb = "show" if ends_in_item else ("" if rest else "list")
    elif method == "post" and rest and not ends_in_item:
        verb = ""
    else:
        verb = _VERBS[method]
        if method == "delete" and not ends_in_item and not rest:
            verb = "delete-all"
    return group, "-".join(filter(None, [*rest, verb]))


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = document["components"]["schemas"][
            schema["$ref"].rsplit("/", 1)[1]
        ]
        return found
    return schema


def _type(schema: Mapping[str, Any]) -> click.ParamType[Any]:
    kinds = [schema, *schema.get("anyOf", ())]
    names = {k.get("type") for k in kinds} - {None, "null"}
    if len(names) == 1 and "$ref" not in str(kinds):
        name = names.pop()
        if name == "string":
            return click.STRING
        return _TYPES.get(str(name), JsonText())
    return JsonText()


def _flag(name: str) -> str:
    return "--" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _command(
    document: Mapping[str, Any], method: str, path: str, shared: list[Any], op: Any
) -> click.Command:
    parameters: list[click.Parameter] = []
    places: dict[str, tuple[str, str]] = {}
    for p in [*shared, *op.get("parameters", ())]:
        key = f"{p['in']}_{re.sub(r'[^a-z0-9]', '_', p['name'].lower())}"
        places[key] = (p["in"], p["name"])
        if p["in"] == "path":
            parameters.append(click.Argument([key], metavar=p["name"].upper()))
        elif p["in"] == "query":
            schema = p.get("schema", {})
            many = schema.get("type") == "array"
            switch = schema.get("type") == "boolean" and schema.get("default") is False
            parameters.append(
                click.Option(
                    [_flag(p["name"]), key],
                    type=_type(schema.get("items", {}) if many else schema),
                    is_flag=switch,
                    default=None,
                    multiple=many,
                    required=p.get("required", False),
                    help=p.get("description", ""),
                )
            )
    content = op.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        body = _resolve(document, content["schema"])
        for name, schema in body.get("properties", {}).items():
            key = f"body_{name}"
            places[key] = ("body", name)
            parameters.append(
                click.Option(
                    [_flag(name), key],
                    type=_type(schema),
                    required=name in body.get("required", ()),
                    help=schema.get("description", ""),
                )
            )
    answers = op.get("responses", {})
    media = {
        m for status in answers if status[0] == "2" for m in answers[status].get("content", {})
    }
    parameters.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))
    return click.Command(
        command_path(method, path)[1],
        callback=_callback(
            method, path, places, "text/event-stream" in media, media == {"text/event-stream"}
        ),
        params=parameters,
        help=op.get("description") or op.get("summary", ""),
        short_help=op.get("summary", ""),
    )


def _callback(
    method: str,
    path: str,
    places: Mapping[str, tuple[str, str]],
    may_stream: bool,
    always_streams: bool,
) -> Callable[..., None]:
    def run(as_json: bool, **values: Any) -> None:
        query: dict[str, Any] = {}
        body: dict[str, Any] = {}
        target = path
        for key, value in values.items():
            place, name = places[key]
            if place == "path":
                # a path parameter is one segment, whatever characters it has
                target = target.replace("{" + name + "}", click.format_filename(_quote(str(value))))
            elif value is not None and value != ():
                (query if place == "query" else body)[name] = value
        session: Session = click.get_current_context().obj
        if always_streams or (may_stream and query.get("follow")):
            for event in session.stream(target, query=query):
                # pieces of a log are for reading as they are; whoever wants events asks for JSON
                if event.event == "log" and not as_json:
                    click.echo(json.loads(event.data)["text"], nl=False)
                else:
                    click.echo(event.data)
            return
        has_body = any(place == "body" for place, _ in places.values())
        answer = session.request(
            method.upper(), target, query=query, body=body if has_body else None
        )
        render(answer, as_json)

    return run


def _quote(segment: str) -> str:
    from urllib.parse import quote

    return quote(segment, safe="")


def groups(document: Mapping[str, Any]) -> dict[str, click.Group]:
    """Return the command groups of a document, by name."""
    made: dict[str, click.Group] = {}
    beside_items = {
        re.sub(r"^/([^/]+)/\{[^}]*\}/", r"/\1/", p) for p in document["paths"] if "}/" in p
    }
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method not in item:
                continue
            group, _ = command_path(method, path)
            owner = made.setdefault(
                group, click.Group(group, help=f"{group.capitalize()} of the platform.")
            )
            command = _command(document, method, path, item.get("parameters", []), item[method])
            if path in beside_items:
                command.name = f"all-{command.name}"
            assert command.name is not None  # noqa: S101 - given above
            if command.name in owner.commands:
                raise ValueError(f"{method} {path}: `gavip {group} {command.name}` is made twice")
            owner.add_command(command)
    return made
