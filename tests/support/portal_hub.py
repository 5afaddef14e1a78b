"""A stand-in for the hub as the portal sees it: OAuth sign-in, users, servers, progress, shares. In memory.

Servers start by a script: each step is sent as a progress event, then the server is ready or has failed. People are
``PEOPLE``; a browser signs in as the one named by its ``person`` cookie on the hub's origin, or the first.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urljoin

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets

PERSON_SCOPES = ["access:services!service=portal", "custom:portal:access", "custom:portal:instance"]
PORTAL_TOKEN = "portal-service-token"


@dataclass
class Server:
    """One server of a technical user."""

    options: dict[str, Any]
    ready: bool = False
    pending: str | None = "spawn"
    failure: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    steps: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class FakeHub:
    """State and switches of the stand-in."""

    people: tuple[str, ...] = ("ada", "grace")
    step_seconds: float = 0.01
    fail_with: str | None = None
    fail_at_once: bool = False
    hold: asyncio.Event | None = None
    users: dict[str, Server | None] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    shares: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    url: str = ""
    portal_url: str = ""
    _server: HTTPServer | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def model(self, token: str) -> dict[str, Any] | None:
        """Return the hub's model of a token's owner: ``person-NAME`` or ``instance-TECHNICALUSER``."""
        kind, _, name = token.partition("-")
        if kind == "person" and name in self.people:
            operates = name in self.operators
            scopes = [*PERSON_SCOPES, "custom:portal:operate"] if operates else PERSON_SCOPES
            return _user(name, scopes, ["operator" if operates else "scientist"])
        if kind == "instance" and name in self.users:
            return _user(name, ["custom:portal:instance"], [])
        if token == "operator":
            return {
                "kind": "service",
                "name": "spawner",
                "scopes": ["custom:portal:operate"],
                "admin": False,
            }
        return None

    def listen(self, port: int = 0, host: str = "127.0.0.1") -> None:
        app = web.Application(
            [
                (r"/hub/api/oauth2/authorize", Authorize),
                (r"/hub/api/oauth2/token", Token),
                (r"/hub/api/user", Self),
                (r"/hub/api/users", Users),
                (r"/hub/api/users/([^/]+)", User),
                (r"/hub/api/users/([^/]+)/server", ServerHandler),
                (r"/hub/api/users/([^/]+)/server/progress", Progress),
                (r"/hub/api/shares/([^/]+)/", Shares),
                (r"/hub/(logout|login|spawn|token)", Plain),
                (r"/user/([^/]+)/", Avi),
            ],
            hub=self,
            log_function=lambda handler: self.calls.append(
                f"{handler.request.method} {handler.request.path}"
            ),
        )
        sockets = bind_sockets(port, host)
        self._server = HTTPServer(app)
        self._server.add_sockets(sockets)
        self.url = f"http://{host}:{sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        assert self._server is not None
        self._server.stop()
        await self._server.close_all_connections()

    def begin(self, name: str, options: dict[str, Any]) -> None:
        server = Server(options)
        self.users[name] = server
        task = asyncio.ensure_future(self._run(server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, server: Server) -> None:
        for percent, message in (
            (20, "Reserved."),
            (50, "Starting the kernel."),
            (80, "Rendering the view."),
        ):
            await asyncio.sleep(self.step_seconds)
            if self.hold is not None:
                await self.hold.wait()
            server.steps.append((percent, message))
            _tell(server)
        await asyncio.sleep(self.step_seconds)
        server.failure, server.pending = self.fail_with, None
        server.ready = self.fail_with is None
        _tell(server)


def _tell(server: Server) -> None:
    server.changed.set()
    server.changed = asyncio.Event()


def _user(name: str, scopes: list[str], groups: list[str]) -> dict[str, Any]:
    return {
        "kind": "user",
        "name": name,
        "scopes": scopes,
        "groups": groups,
        "roles": [],
        "admin": False,
    }


class Base(web.RequestHandler):
    @property
    def hub(self) -> FakeHub:
        return self.settings["hub"]

    @property
    def token(self) -> str:
        return self.request.headers.get("Authorization", "").split(" ")[-1]

    def refuse(self, status: int, message: str) -> None:
        self.set_status(status)
        self.finish({"status": status, "message": message})


class Authorize(Base):
    def get(self) -> None:
        person = self.get_cookie("person") or self.hub.people[0]
        query = urlencode({"code": person, "state": self.get_argument("state")})
        callback = urljoin(self.hub.portal_url, self.get_argument("redirect_uri"))
        self.redirect(f"{callback}?{query}")


class Token(Base):
    def post(self) -> None:
        self.write({"access_token": f"person-{self.get_argument('code')}", "token_type": "Bearer"})


class Self(Base):
    def get(self) -> None:
        model = self.hub.model(self.token)
        if model is None:
            self.refuse(403, "no such token")
        else:
            self.write(model)


class Users(Base):
    def get(self) -> None:
        wanted = self.get_argument("name_filter", "")
        offset, limit = (
            int(self.get_argument("offset", "0")),
            int(self.get_argument("limit", "200")),
        )
        names = [n for n in (*self.hub.people, *self.hub.users) if wanted in n]
        self.finish(
            json.dumps(
                [_with_server(n, self.hub.users.get(n)) for n in names[offset : offset + limit]]
            )
        )


def _with_server(name: str, server: Server | None) -> dict[str, Any]:
    running = server is not None and (server.ready or server.pending)
    servers = (
        {"": {"name": "", "ready": server.ready, "pending": server.pending}}
        if running and server
        else {}
    )
    return {"kind": "user", "name": name, "servers": servers}


class User(Base):
    def get(self, name: str) -> None:
        if name not in self.hub.users:
            return self.refuse(404, "no such user")
        return self.finish(_with_server(name, self.hub.users[name])) and None

    def post(self, name: str) -> None:
        if self.token != PORTAL_TOKEN:
            return self.refuse(403, "not the portal")
        if name in self.hub.users:
            return self.refuse(409, "exists")
        self.hub.users[name] = None
        return self.set_status(201)

    def delete(self, name: str) -> None:
        if self.hub.users.pop(name, self) is self:
            return self.refuse(404, "no such user")
        return self.set_status(204)


class ServerHandler(Base):
    def post(self, name: str) -> None:
        if name not in self.hub.users:
            return self.refuse(404, "no such user")
        if self.hub.fail_at_once:
            self.hub.users[name] = Server({}, pending=None, failure=self.hub.fail_with)
            return self.refuse(500, "Unhandled error starting server")
        self.hub.begin(name, json.loads(self.request.body))
        return self.set_status(202)

    def delete(self, name: str) -> None:
        server = self.hub.users.get(name)
        if server is None:
            return self.refuse(404, "no such server")
        server.ready, server.pending = False, None
        _tell(server)
        return self.set_status(204)


class Progress(Base):
    async def get(self, name: str) -> None:
        server = self.hub.users.get(name)
        if server is None:
            return self.refuse(404, "no such server")
        if not (server.ready or server.pending or server.failure):
            return self.refuse(400, "not starting")
        self.set_header("Content-Type", "text/event-stream")
        sent = 0
        while True:
            changed = server.changed
            for percent, message in server.steps[sent:]:
                await self._send({"progress": percent, "message": message})
            sent = len(server.steps)
            if server.ready:
                return await self._send({"progress": 100, "ready": True, "message": "Server ready"})
            if server.pending is None:
                reason = server.failure or "cancelled"
                return await self._send(
                    {"progress": 100, "failed": True, "message": f"Spawn failed: {reason}"}
                )
            await changed.wait()

    async def _send(self, event: dict[str, Any]) -> None:
        try:
            self.write(f"data: {json.dumps(event)}\n\n")
            await self.flush()
        except StreamClosedError:
            raise web.Finish() from None


class Shares(Base):
    def post(self, owner: str) -> None:
        if self.hub.users.get(owner) is None:
            return self.refuse(404, "no such server")
        self.hub.shares.append((owner, json.loads(self.request.body)["user"]))
        return self.finish({}) and None


class Plain(Base):
    def get(self, name: str) -> None:
        self.finish(f"<!doctype html><title>hub {name}</title><h1>The hub's {name} page</h1>")


class Avi(Base):
    def get(self, name: str) -> None:
        self.finish(f"<!doctype html><title>AVI</title><h1>The AVI of {name}</h1>")
