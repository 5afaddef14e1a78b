"""Answers that are JSON arrays: their models for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, RootModel

from gavip_api.models import AviSummary, Instance, Release
from gavip_api.permits import GrantEvent, PermissionGrant
from gavip_web.handlers import ServiceHandler


class AviList(RootModel[list[AviSummary]]):
    """The catalogue."""


class ReleaseList(RootModel[list[Release]]):
    """Releases, newest first."""


class InstanceList(RootModel[list[Instance]]):
    """Instances, newest first."""


class GrantList(RootModel[list[PermissionGrant]]):
    """What the caller grants, by AVI."""


class GrantHistory(RootModel[list[GrantEvent]]):
    """What the caller granted and revoked, newest first."""


def reply_list(handler: ServiceHandler, items: Sequence[BaseModel]) -> None:
    """Answer with a JSON array."""
    handler.set_header("Content-Type", "application/json")
    handler.finish("[" + ",".join(item.model_dump_json(by_alias=True) for item in items) + "]")
