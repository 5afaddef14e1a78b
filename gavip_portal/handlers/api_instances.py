"""``instances``: running AVIs."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pydantic import Field

from gavip_api.errors import Forbidden
from gavip_api.models import Instance, InstanceRequest, Model
from gavip_api.scopes import PORTAL_OPERATE
from gavip_web.openapi import operation
from gavip_web.sse import ServerEvent

from .base import PortalApiHandler
from .listing import InstanceList, reply_list


class OwnerQuery(Model):
    """Whose instances to stop."""

    owner: str = Field(min_length=1, max_length=255, description="hub user name")


class Stopped(Model):
    """How many instances are being stopped."""

    stopping: int


class InstancesHandler(PortalApiHandler):
    """All instances of the caller."""

    @operation("List running AVIs", response=InstanceList, tags=("instances",))
    async def get(self) -> None:
        """Return the caller's instances, newest first; the last 100."""
        reply_list(self, await self.services.instances.list(self.person.name))

    @operation(
        "Open an AVI",
        request=InstanceRequest,
        response=Instance,
        status=202,
        errors=(404, 409, 429),
        tags=("instances",),
    )
    async def post(self) -> None:
        """Start an instance, or return the running one that shows the same view of the same release."""
        person = self.person
        request = self.body(InstanceRequest)
        self.reply(await self.services.instances.request(person, request), 202)

    @operation(
        "Stop all running AVIs of a user",
        scopes=(PORTAL_OPERATE,),
        query=OwnerQuery,
        response=Stopped,
        status=202,
        tags=("instances",),
    )
    async def delete(self) -> None:
        """Stop every instance of the owner named; what the hub asks for at sign-out."""
        if self.signed_in.is_technical:
            raise Forbidden("An AVI may not stop others.")
        owner = self.query(OwnerQuery).owner
        # sign-out: the hub has revoked tokens that we still believe in, and there is no session cookie to tell by
        self.hub_auth.cache.clear()
        self.reply(Stopped(stopping=await self.services.instances.stop_all(owner)), 202)


class InstanceHandler(PortalApiHandler):
    """One instance."""

    @operation("Show a running AVI", response=Instance, errors=(404,), tags=("instances",))
    async def get(self, instance: str) -> None:
        """Return state, step and address."""
        self.reply(await self.services.instances.show(self.person.name, instance))

    @operation("Stop a running AVI", status=204, errors=(404,), tags=("instances",))
    async def delete(self, instance: str) -> None:
        """Stop it; repeating is harmless."""
        await self.services.instances.stop(self.person.name, instance)
        self.no_content()


class InstanceEventsHandler(PortalApiHandler):
    """Live changes of one instance."""

    @operation(
        "Follow a running AVI",
        media="text/event-stream",
        response=Instance,
        errors=(404,),
        tags=("instances",),
    )
    async def get(self, instance: str) -> None:
        """Stream the instance at every change; ends when it has ended."""
        person = self.person
        await self.services.instances.show(person.name, instance)
        async with self.event_stream() as stream:
            await stream.pump(_encode(self.services.instances.follow(person.name, instance)))


class AllInstanceEventsHandler(PortalApiHandler):
    """Live changes of all instances."""

    @operation(
        "Follow all running AVIs",
        media="text/event-stream",
        response=Instance,
        tags=("instances",),
    )
    async def get(self) -> None:
        """Stream each of the caller's instances when it changes."""
        person = self.person
        async with self.event_stream() as stream:
            await stream.pump(_encode(self.services.instances.changes(person.name)))


async def _encode(changes: AsyncGenerator[Instance, None]) -> AsyncGenerator[ServerEvent, None]:
    try:
        async for change in changes:
            yield ServerEvent(change.model_dump_json())
    finally:
        await changes.aclose()
