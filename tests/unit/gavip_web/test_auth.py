"""The real hub authentication classes against a fake hub on a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.routing import URLSpec
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, create_signed_value

from gavip_web.application import ServiceApp
from gavip_web.handlers import ApiHandler, PageHandler
from gavip_web.openapi import Api, operation

SECRET = b"s" * 32


class HubUser(RequestHandler):
    asked = 0
    down = False

    async def get(self) -> None:
        type(self).asked += 1
        await asyncio.sleep(0.05)  # long enough for concurrent questions to meet
        if type(self).down:
            self.set_status(503)
            return
        if self.request.headers["Authorization"] != "token good":
            self.set_status(403)
            return
        self.write(
            json.dumps({"kind": "user", "name": "alice", "groups": ["g"], "scopes": ["custom:x"]})
        )


class HubToken(RequestHandler):
    """Swaps a code for a token when the PKCE verifier comes with it."""

    async def post(self) -> None:
        known = self.get_body_argument("code") == "c0de" and self.get_body_argument("code_verifier")
        self.set_status(200 if known else 400)
        self.write({"access_token": "good", "token_type": "Bearer"} if known else {})


class Front(PageHandler):
    page_scopes = ("custom:x",)

    async def get(self) -> None:
        self.write(f"hello {self.signed_in.name} {self.xsrf_token.decode()}")

    async def post(self) -> None:
        self.write("posted")


class Me(ApiHandler):
    @operation("Who am I")
    async def get(self) -> None:
        me = self.signed_in
        self.reply({"name": me.name, "via": me.via, "x": self.xsrf_token.decode()})

    @operation("Change")
    async def post(self) -> None:
        self.reply({"changed": self.signed_in.name})


class MeApp(ServiceApp):
    name = "me"
    browser = True

    def api(self) -> Api:
        api = Api("Me", "1")
        api.add("/me", Me)
        return api

    def pages(self) -> list[URLSpec]:
        return [URLSpec(self.base_url + "front", Front)]


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(HubUser, "asked", 0)
    monkeypatch.setattr(HubUser, "down", False)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "service-token")
    monkeypatch.setenv("JUPYTERHUB_CLIENT_ID", "service-me")
    hub = HTTPServer(Application([("/hub/api/user", HubUser), ("/hub/api/oauth2/token", HubToken)]))
    sock, hub_port = bind_unused_port()
    hub.add_socket(sock)
    app = MeApp(
        bind_url="http://127.0.0.1:0",
        hub_api_url=f"http://127.0.0.1:{hub_port}/hub/api",
        cookie_secret=SECRET,
    )
    await app.open()
    base = f"http://127.0.0.1:{app.port}{app.base_url}api/v1/"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as c:
        yield c
    await app.close()
    hub.stop()
    await hub.close_all_connections()


def cookie() -> dict[str, str]:
    return {"Cookie": "service-me=" + create_signed_value(SECRET, "service-me", "good").decode()}


FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
CROSS = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-site"}


async def test_concurrent_requests_with_one_token_ask_the_hub_once(client):
    answers = await asyncio.gather(
        *(client.get("me", headers={"Authorization": "token good"}) for _ in range(10))
    )
    assert {a.json()["name"] for a in answers} == {"alice"}
    assert HubUser.asked == 1


@pytest.mark.parametrize("header", ["token bad", "Bearer bad", "Basic Z29vZA==", "good"])
async def test_bad_authorization_is_refused_even_with_a_good_cookie(client, header):
    r = await client.get("me", headers=cookie() | FETCH | {"Authorization": header})
    assert r.status_code == 401


async def test_cookie_reads_from_the_same_origin(client):
    r = await client.get("me", headers=cookie() | FETCH)
    assert r.json()["via"] == "cookie"


async def test_cookie_of_a_sibling_origin_does_not_count(client):
    r = await client.get("me", headers=cookie() | CROSS)
    assert (r.status_code, r.json()["code"]) == (403, "forbidden")


async def test_cookie_needs_an_xsrf_token_to_change_anything(client):
    r = await client.post("me", headers=cookie() | FETCH)
    assert (r.status_code, r.json()["code"]) == (403, "forbidden")
    token = (await client.get("me", headers=cookie() | FETCH)).json()["x"]
    again = cookie()
    again["Cookie"] += f"; _xsrf={token}"
    page = await client.get("me", headers=again | FETCH)
    r = await client.post("me", headers=again | FETCH | {"X-XSRFToken": page.json()["x"]})
    assert r.json() == {"changed": "alice"}


async def test_token_needs_no_xsrf_token(client):
    r = await client.post("me", headers={"Authorization": "Bearer good"} | CROSS)
    assert r.json() == {"changed": "alice"}


async def test_unreachable_hub_is_said_plainly(client):
    HubUser.down = True
    r = await client.get("me", headers={"Authorization": "token good"})
    assert (r.status_code, r.json()["code"]) == (503, "unavailable")


NAVIGATE = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Dest": "document",
}


async def test_a_browser_signs_in_and_posts_a_form(client):
    front = "../../front"
    to_hub = await client.get(front, headers=NAVIGATE)
    state = httpx.URL(to_hub.headers["Location"]).params["state"]
    back = await client.get(
        f"../../oauth_callback?code=c0de&state={state}",
        headers=NAVIGATE | {"Sec-Fetch-Site": "same-site"},
    )
    assert (back.status_code, back.headers["Location"]) == (302, "/services/me/front")
    page = await client.get(front, headers=NAVIGATE)
    assert page.text.startswith("hello alice ")
    assert (await client.post(front, headers=NAVIGATE)).status_code == 403
    form = {"_xsrf": page.text.split()[-1]}
    assert (await client.post(front, headers=NAVIGATE, data=form)).text == "posted"


async def test_a_foreign_state_signs_nobody_in(client):
    await client.get("../../front", headers=NAVIGATE)
    r = await client.get("../../oauth_callback?code=c0de&state=forged", headers=NAVIGATE)
    assert r.status_code == 403
    assert "service-me=" not in r.headers.get("Set-Cookie", "")
