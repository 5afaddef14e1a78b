"""``permissions``: what people grant AVIs."""

from __future__ import annotations

from pydantic import Field

from gavip_api.models import Model
from gavip_api.permits import AviPermissions, GrantRequest, Revoked
from gavip_web.openapi import operation

from .base import PortalApiHandler
from .listing import GrantHistory, GrantList, reply_list


class ReleaseQuery(Model):
    """Of which release."""

    release: str | None = Field(
        default=None, max_length=64, description="Git SHA; default: the current release"
    )


class PermissionsHandler(PortalApiHandler):
    """All grants of the caller."""

    @operation("List what I granted", response=GrantList, tags=("permissions",))
    async def get(self) -> None:
        """Return everything that the caller grants AVIs, by AVI."""
        reply_list(self, await self.services.granting.list(self.person.name))


class GrantHistoryHandler(PortalApiHandler):
    """All decisions of the caller."""

    @operation("List what I granted and revoked", response=GrantHistory, tags=("permissions",))
    async def get(self) -> None:
        """Return each grant and revocation, newest first; the last 200."""
        reply_list(self, await self.services.granting.history(self.person.name))


class AviPermissionsHandler(PortalApiHandler):
    """The caller's grant for one AVI."""

    @operation(
        "Show an AVI's permissions",
        query=ReleaseQuery,
        response=AviPermissions,
        errors=(404,),
        tags=("permissions",),
    )
    async def get(self, owner: str, name: str) -> None:
        """Return what the release asks, what the caller granted, and what is missing, also in words."""
        release = self.query(ReleaseQuery).release
        person = self.person.name
        self.reply(await self.services.granting.show(person, f"{owner}/{name}", release))

    @operation(
        "Grant an AVI what it asks",
        request=GrantRequest,
        response=AviPermissions,
        errors=(404, 409, 429),
        tags=("permissions",),
    )
    async def put(self, owner: str, name: str) -> None:
        """Grant exactly the permissions sent; 409 when the release asks for others than these."""
        person = self.person.name
        request = self.body(GrantRequest)
        self.reply(await self.services.granting.grant(person, f"{owner}/{name}", request))

    @operation(
        "Revoke an AVI's permissions",
        response=Revoked,
        status=202,
        errors=(404, 503),
        tags=("permissions",),
    )
    async def delete(self, owner: str, name: str) -> None:
        """Revoke everything, stop the caller's running instances of the AVI and cancel its jobs."""
        person = self.person.name
        self.reply(await self.services.granting.revoke(person, f"{owner}/{name}"), 202)
