"""The AVI manifest, ``avi.yaml``: its schema, and a loader that says every fault with its line.

Invariant: a :class:`Manifest` that exists is valid; nothing half-checked leaves this module. The file is read as
data: YAML's safe subset, bounded size, no aliases (a few bytes of them expand without bound).
"""

from __future__ import annotations

import difflib
import posixpath
import re
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from . import parameters as params
from . import resources as res
from .enums import Template
from .errors import GavipError, InvalidInput
from .slugs import check_slug

MANIFEST_NAME = "avi.yaml"
MAX_MANIFEST_BYTES = 256 * 1024

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?\Z")
"""Names of the DNS in lower case, with a dot (RFC 1123, section 2.1); the last label is no number, so no addresses."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def check_member_path(path: str) -> str:
    """Return a repository path in normal form when it stays inside the repository.

    Raises
    ------
    ValueError
        If it is absolute, leaves the repository, or holds control characters or backslashes.
    """
    if not path or path.startswith("/") or "\\" in path or any(ord(c) < 32 for c in path):
        raise ValueError("must be a relative path with forward slashes")
    normal = posixpath.normpath(path)
    if normal == ".." or normal.startswith("../") or normal == ".":
        raise ValueError("must stay inside the repository")
    return normal


class Permissions(_Part):
    """What the AVI asks of the user; its own folder is always read-write."""

    userspace: Literal["none", "read"] = Field(
        default="none", description="`read` shows the AVI the user's other files, read-only"
    )
    archive: bool = Field(default=True, description="whether it may query the archive")
    network: tuple[str, ...] = Field(
        default=(), max_length=20, description="names of other hosts it wants to reach"
    )

    @field_validator("network")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # people are shown these names and decide by them: nothing that could read as something else
        for host in value:
            if len(host) > 253 or not _HOST.match(host):
                raise ValueError(f"{host[:80]!r} is no host name such as `data.example.org`")
        return tuple(dict.fromkeys(value))


NOTHING_GRANTED = Permissions(archive=False)
"""What code may do whom nobody granted anything: its own folder, no archive, no network."""


class ResourceSpec(_Part):
    """Resources of a pipeline: numbers, or expressions over its parameters."""

    memory: int | str = Field(
        default="512M", description="bytes, a size, or an expression over parameters"
    )
    cpu: float | str = Field(
        default=1.0, description="processor cores, or an expression over parameters"
    )
    time: int | str = Field(
        default="1h", description="wall-clock limit: seconds or text such as `1h 30m`"
    )
    archive: int = Field(
        default=1, ge=0, le=1000, description="archive queries that it may have running at once"
    )

    @field_validator("time")
    @classmethod
    def _time(cls, value: int | str) -> int | str:
        try:
            res.seconds(value)
        except InvalidInput as e:
            raise ValueError(e.message) from None
        return value


class PipelineSpec(_Part):
    """One declared pipeline: a papermill notebook or a ploomber spec."""

    title: str = Field(default="", max_length=120, description="what people see")
    description: str = Field(default="", max_length=4000, description="what it does, one paragraph")
    notebook: str | None = Field(default=None, description="notebook that papermill executes")
    spec: str | None = Field(
        default=None, description="ploomber `pipeline.yaml`; accepted, but not run yet"
    )
    parameters: dict[str, params.ParameterSpec] = Field(
        default={}, max_length=100, description="declared parameters: JSON Schema properties"
    )
    resources: ResourceSpec = Field(default=ResourceSpec(), description="what a job of it needs")

    @field_validator("notebook", "spec")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        return None if value is None else check_member_path(value)

    @field_validator("parameters")
    @classmethod
    def _identifiers(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if fault := params.name_fault(name):
                raise ValueError(fault)
        return value

    @model_validator(mode="after")
    def _one_definition(self) -> PipelineSpec:
        if (self.notebook is None) == (self.spec is None):
            raise ValueError("a pipeline has exactly one of `notebook` and `spec`")
        defaults = {n: (1 if s.default is None else s.default) for n, s in self.parameters.items()}
        try:
            res.memory_bytes(self.resources.memory, defaults)
            res.cpu_cores(self.resources.cpu, defaults)
        except InvalidInput as e:
            raise ValueError(e.message) from None
        return self


class Manifest(_Part):
    """The whole of ``avi.yaml``."""

    avi: Literal[1] = Field(description="manifest version")
    name: str = Field(description="slug of the AVI")
    title: str = Field(min_length=1, max_length=120, description="name that people see")
    description: str = Field(
        default="", max_length=1000, description="one paragraph for the catalogue"
    )
    authors: tuple[str, ...] = Field(default=(), max_length=100, description="people to credit")
    keywords: tuple[str, ...] = Field(default=(), max_length=30, description="words to find it by")
    license: str = Field(default="", max_length=64, description="SPDX identifier")
    template: Template = Field(default=Template.PYTHON, description="base environment")
    requirements: str | None = Field(default=None, description="pip requirements file")
    permissions: Permissions = Field(default=Permissions(), description="what it asks of the user")
    interface: str | None = Field(default=None, description="notebook of the web interface")
    outreach: str | None = Field(default=None, description="simpler interface for outreach users")
    pipelines: dict[str, PipelineSpec] = Field(
        default={}, max_length=50, description="pipelines by slug"
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _as_value_error(check_slug, value, "AVI name")

    @field_validator("pipelines")
    @classmethod
    def _pipeline_names(cls, value: dict[str, PipelineSpec]) -> dict[str, PipelineSpec]:
        for name in value:
            _as_value_error(check_slug, name, "pipeline name")
        return value

    @field_validator("interface", "outreach", "requirements")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        return None if value is None else check_member_path(value)

    @model_validator(mode="after")
    def _something_to_run(self) -> Manifest:
        if self.interface is None and not self.pipelines:
            raise ValueError("an AVI needs an `interface` notebook or at least one pipeline")
        return self


def _as_value_error(check: Any, *args: Any) -> Any:
    try:
        return check(*args)
    except GavipError as e:
        raise ValueError(e.message) from None


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a manifest."""

    line: int
    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        place = f" {self.where}:" if self.where else ""
        return f"{MANIFEST_NAME}:{self.line}:{place} {self.message}{hint}"


class InvalidManifest(InvalidInput):
    """The manifest has faults; ``faults`` lists them all."""

    code = "invalid-manifest"
    title = "Invalid avi.yaml"

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(
            "\n".join(str(f) for f in faults),
            hint="Correct the lines named and try again; nothing was stored.",
            detail={"faults": [vars(f) for f in faults]},
        )
        self.faults = faults


class _Loader(yaml.SafeLoader):
    """Safe loader without aliases and without silently overwritten duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)


def _lines(node: yaml.Node, path: tuple[Any, ...], out: dict[tuple[Any, ...], int]) -> None:
    out.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {name!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(name)
            here = (*path, name)
            out[here] = key.start_mark.line + 1
            _lines(value, here, out)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _lines(value, (*path, i), out)


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    models: list[type[BaseModel]] = [
        Manifest,
        PipelineSpec,
        params.ParameterSpec,
        Permissions,
        ResourceSpec,
    ]
    depth = {0: [Manifest]}.get(len(loc), models)
    return [f.alias or n for m in depth for n, f in m.model_fields.items()]


def _fault(error: Any, lines: dict[tuple[Any, ...], int]) -> Fault:
    loc = tuple(error["loc"])
    at = loc
    while at and at not in lines:
        at = at[:-1]
    message = str(error["msg"]).removeprefix("Value error, ")
    hint = ""
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(loc[-1]), _known_keys(loc[:-1]), 1)
        message = "this key is not known"
        hint = (
            f"did you mean `{close[0]}`?"
            if close
            else "see the manifest reference for the allowed keys"
        )
    elif error["type"] == "missing":
        message = f"`{loc[-1]}` is missing"
    return Fault(lines.get(at, 1), ".".join(map(str, loc)), message, hint)


def load(text: str | bytes) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    text : str or bytes
        Content of ``avi.yaml`` (UTF-8).

    Raises
    ------
    InvalidManifest
        With one fault per error: line, place, message and hint.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise InvalidManifest([Fault(1, "", f"longer than {MAX_MANIFEST_BYTES // 1024} KiB")])
    try:
        source = text.decode() if isinstance(text, bytes) else text
        node = yaml.compose(source, Loader=_Loader)
        lines: dict[tuple[Any, ...], int] = {}
        if node is not None:
            _lines(node, (), lines)
        data = yaml.load(source, Loader=_Loader)  # noqa: S506 - a SafeLoader subclass
    except UnicodeDecodeError:
        raise InvalidManifest([Fault(1, "", "is not UTF-8 text")]) from None
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise InvalidManifest(
            [Fault(line, "", f"is not valid YAML: {e.problem}", "check indentation and quotes")]
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InvalidManifest([Fault(1, "", f"is not valid YAML: {str(e)[:200]}")]) from None
    if not isinstance(data, dict):
        raise InvalidManifest([Fault(1, "", "must be a mapping of keys to values")])
    try:
        return Manifest.model_validate(data)
    except ValidationError as e:
        raise InvalidManifest([_fault(x, lines) for x in e.errors(include_context=False)]) from None
