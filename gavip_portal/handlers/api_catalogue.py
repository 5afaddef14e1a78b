"""``users/me``, ``avis``: profile and catalogue."""

from __future__ import annotations

from gavip_api.models import Avi, UserProfile
from gavip_web.openapi import operation

from .base import PortalApiHandler
from .listing import AviList, ReleaseList, reply_list


class MeHandler(PortalApiHandler):
    """Who the caller is."""

    @operation("Who am I", response=UserProfile, tags=("users",))
    async def get(self) -> None:
        """Return the caller's profile; for an AVI instance, that of the person it runs for."""
        self.reply((await self.principal()).owner)


class AvisHandler(PortalApiHandler):
    """The catalogue."""

    @operation("List AVIs", response=AviList, tags=("catalogue",))
    async def get(self) -> None:
        """Return every AVI with a public release, by title."""
        await self.principal()
        reply_list(self, await self.services.catalogue.list())


class AviHandler(PortalApiHandler):
    """One AVI."""

    @operation("Show an AVI", response=Avi, errors=(404,), tags=("catalogue",))
    async def get(self, owner: str, name: str) -> None:
        """Return description, views and pipelines of the current release."""
        await self.principal()
        self.reply(await self.services.catalogue.show(owner, name))


class ReleasesHandler(PortalApiHandler):
    """Releases of an AVI."""

    @operation("List releases", response=ReleaseList, errors=(404,), tags=("catalogue",))
    async def get(self, owner: str, name: str) -> None:
        """Return the public releases, newest first."""
        await self.principal()
        reply_list(self, await self.services.catalogue.releases(owner, name))
