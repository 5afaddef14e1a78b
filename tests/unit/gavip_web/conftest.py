"""A service of the shared base on a real port, with a fake hub authenticator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Field
from tornado.routing import URLSpec
from tornado.web import RequestHandler

from gavip_api.errors import Conflict, NotSignedIn
from gavip_web.application import ServiceApp
from gavip_web.auth import Authenticator, Caller
from gavip_web.handlers import ApiHandler, PageHandler
from gavip_web.openapi import Api, operation
from gavip_web.sse import ServerEvent, last_event_id


class FakeHub:
    """Knows three tokens; `asked` counts the questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.callers = {
            "alice": Caller("alice", scopes=frozenset({"custom:portal:access"})),
            "avi": Caller("avi-0123", scopes=frozenset({"custom:portal:instance"})),
            "metrics": Caller("prom", kind="service", scopes=frozenset({"read:metrics"})),
        }

    async def authenticate(self, handler: RequestHandler) -> Caller | None:
        self.asked += 1
        header = handler.request.headers.get("Authorization", "")
        if not header:
            return None
        caller = self.callers.get(header.rpartition(" ")[2])
        if caller is None:
            raise NotSignedIn("The token is not valid or has expired.")
        return caller


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=2)
    size: int = Field(ge=0)


class ThingQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: int = Field(default=10, le=50, description="most items")
    kind: tuple[str, ...] = ()


class ThingHandler(ApiHandler):
    @operation("Show", scopes=("custom:portal:access",), query=ThingQuery, response=Thing)
    async def get(self, name: str) -> None:
        query = self.query(ThingQuery)
        self.reply({"name": name, "size": query.limit, "kind": list(query.kind)})

    @operation("Store", request=Thing, response=Thing, status=201, errors=(409,))
    async def post(self, name: str) -> None:
        thing = self.body(Thing)
        if thing.name == "taken":
            raise Conflict("It exists.", hint="Choose another name.")
        if thing.name == "broken":
            raise RuntimeError("secret detail 42")
        self.reply(thing, 201)


class CountHandler(ApiHandler):
    @operation("Count", scopes=None, media="text/event-stream")
    async def get(self) -> None:
        start = last_event_id(self)

        async def numbers() -> AsyncGenerator[ServerEvent, None]:
            for n in range(start + 1, 4):
                yield ServerEvent(f"line {n}\nsecond", id=str(n), event="count")

        async with self.event_stream() as stream:
            await stream.pump(numbers())


class EndlessHandler(ApiHandler):
    @operation("Wait for ever", scopes=None, media="text/event-stream")
    async def get(self) -> None:
        settings = self.settings

        async def silence() -> AsyncGenerator[ServerEvent, None]:
            try:
                await asyncio.Event().wait()
                yield ServerEvent("never")
            finally:
                settings["ended"].set()

        async with self.event_stream() as stream:
            await stream.pump(silence())


class FloodHandler(ApiHandler):
    @operation("Say much", scopes=None, media="text/event-stream")
    async def get(self) -> None:
        ended = self.settings["ended"]

        async def flood() -> AsyncGenerator[ServerEvent, None]:
            try:
                while True:
                    yield ServerEvent("x" * (1 << 20))
            finally:
                ended.set()

        async with self.event_stream() as stream:
            await stream.pump(flood())


class FrontPage(PageHandler):
    page_scopes = ("custom:portal:access",)

    async def get(self) -> None:
        self.write("<!doctype html><title>Front</title>")


class ThingsApp(ServiceApp):
    name = "things"
    browser = True

    def make_authenticator(self) -> Authenticator:
        return self.fake

    def api(self) -> Api:
        api = Api("Things", "1")
        api.add("/things/{name}", ThingHandler)
        api.add("/count", CountHandler)
        api.add("/endless", EndlessHandler)
        api.add("/flood", FloodHandler)
        return api

    def pages(self) -> list[URLSpec]:
        return [URLSpec(self.base_url + "front", FrontPage)]

    def settings(self) -> dict[str, object]:
        self.ended = asyncio.Event()
        return {"ended": self.ended}


@pytest.fixture
async def app(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ThingsApp]:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "service-token")
    monkeypatch.setenv("JUPYTERHUB_CLIENT_ID", "service-things")
    monkeypatch.setenv("JUPYTERHUB_HOST", "http://gavip.localhost:8000")
    service = ThingsApp(bind_url="http://127.0.0.1:0", shutdown_seconds=1.0)
    service.fake = FakeHub()
    await service.open()
    yield service
    if not getattr(service, "closed", False):
        await service.close()


@pytest.fixture
async def client(app: ThingsApp) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://127.0.0.1:{app.port}{app.base_url}"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as c:
        yield c
