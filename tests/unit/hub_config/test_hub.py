"""The hub's own rules: names, hosts, links from elsewhere; a real hub in memory for those that need one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jupyterhub.auth import Authenticator, DummyAuthenticator
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.httpclient import JupyterHubHTTPClient
from oauthenticator.generic import GenericOAuthenticator
from traitlets.config import Application, Config

from gavip_api.scopes import CUSTOM_SCOPES, HUB_TECHNICAL_USERS
from hub_config import hub as hub_module
from hub_config.accounts import Accounts
from hub_config.authenticators import DemoAuthenticator, GavipNames, SignOut, guarded
from hub_config.hub import GavipHub
from hub_config.platform import free_port
from hub_config.subdomains import subdomain_hook

TECHNICAL = "avi-" + "0" * 32
REFUSED = (TECHNICAL, "AVI-x", " avi-x", "Portal", "admin", "jobqueue")


class Everybody(Authenticator):
    """An authenticator of somebody else's that keeps names as they come."""

    async def authenticate(self, handler: Any, data: Any) -> Any:
        return {"name": data["username"]}

    def normalize_username(self, username: str) -> str:
        return username


@pytest.mark.parametrize(
    "cls", [Everybody, DummyAuthenticator, GenericOAuthenticator, DemoAuthenticator]
)
def test_every_authenticator_gets_our_rules_once(cls: type[Authenticator]) -> None:
    made = guarded(cls)
    assert issubclass(made, GavipNames)
    assert issubclass(made, cls)
    assert guarded(made) is made
    handlers = [h for _, h, *_ in made().get_handlers(None) if issubclass(h, LogoutHandler)]
    assert len(handlers) == 1
    assert issubclass(handlers[0], SignOut)
    if cls is GenericOAuthenticator:
        assert issubclass(handlers[0], cls.logout_handler)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("cls", [Everybody, DummyAuthenticator])
async def test_nobody_signs_in_under_a_reserved_name(cls: type[Authenticator], name: str) -> None:
    made = guarded(cls)(config=Config({cls.__name__: {"allow_all": True}}))
    # an operator's own hook must not be in the way
    made.post_auth_hook = lambda authenticator, handler, model: model
    assert await made.get_authenticated_user(None, {"username": name, "password": "x"}) is None
    model = await made.get_authenticated_user(None, {"username": "zoe", "password": "x"})
    assert model["name"] == "zoe"


async def test_the_demo_accounts_too(tmp_path: Path) -> None:
    made = guarded(DemoAuthenticator)(accounts_file=str(tmp_path / "accounts"), allow_all=True)
    password = Accounts(tmp_path / "accounts").create()["alice"]
    model = await made.get_authenticated_user(None, {"username": "alice", "password": password})
    assert model["name"] == "alice"


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GavipHub]:
    """A hub with somebody else's authenticator and nothing of ours but the class and the roles."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    config = Config()
    config.JupyterHub.authenticator_class = DummyAuthenticator
    config.DummyAuthenticator.allow_all = True
    config.JupyterHub.db_url = f"sqlite:///{tmp_path / 'hub.sqlite'}"
    config.JupyterHub.subdomain_host = "http://hub.localhost:8000"
    config.JupyterHub.subdomain_hook = subdomain_hook
    config.JupyterHub.default_url = "http://portal.hub.localhost:8000/services/portal/"
    config.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port}"
    config.JupyterHub.cookie_secret = b"c" * 32
    config.JupyterHub.cookie_host_prefix_enabled = True
    config.JupyterHub.custom_scopes = CUSTOM_SCOPES
    config.JupyterHub.services = [
        {"name": "portal", "api_token": "portal-token"},
        {"name": "spawner", "api_token": "operator-token"},
    ]
    config.JupyterHub.load_roles = [
        {
            "name": "the-portal",
            "scopes": ["admin:users", HUB_TECHNICAL_USERS],
            "services": ["portal"],
        },
        {"name": "the-operator", "scopes": ["admin:users", "admin-ui"], "services": ["spawner"]},
    ]
    # another test may have run another application in this process
    Application.clear_instance()
    GavipHub.clear_instance()
    app = GavipHub.instance(config=config)
    await app.initialize([])
    app.http_server = None
    server = app.tornado_application.listen(port, "127.0.0.1")
    yield app
    server.stop()
    await JupyterHubHTTPClient.loop_instance().close()
    GavipHub.clear_instance()


async def ask(hub: GavipHub, method: str, path: str, **more: Any) -> httpx.Response:
    url = f"http://127.0.0.1:{hub.hub.port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return await client.request(method, path, **more)


@pytest.mark.parametrize("name", [TECHNICAL, "portal", "avi-x"])
async def test_operators_cannot_make_or_rename_into_reserved_names(
    hub: GavipHub, name: str
) -> None:
    operator = {"Authorization": "token operator-token"}
    made = await ask(hub, "POST", "/hub/api/users/zoe", headers=operator)
    assert made.status_code == 201
    for method, path, body in (
        ("POST", f"/hub/api/users/{name}", {}),
        ("POST", "/hub/api/users", {"usernames": ["max", name]}),
        ("PATCH", "/hub/api/users/zoe", {"name": name}),
    ):
        answer = await ask(hub, method, path, headers=operator, json=body)
        assert answer.status_code == 403, (method, path)
        assert "name" in answer.json()["message"].lower()
    known = (await ask(hub, "GET", "/hub/api/users", headers=operator)).json()
    assert [user["name"] for user in known] == ["zoe"]


async def test_the_portal_makes_technical_users_and_nobody_renames_them(hub: GavipHub) -> None:
    portal = {"Authorization": "token portal-token"}
    assert (
        await ask(hub, "POST", f"/hub/api/users/{TECHNICAL}", headers=portal)
    ).status_code == 201
    renamed = await ask(
        hub, "PATCH", f"/hub/api/users/{TECHNICAL}", headers=portal, json={"name": "max"}
    )
    assert renamed.status_code == 403
    assert (await ask(hub, "POST", "/hub/api/users/portal", headers=portal)).status_code == 403


HOSTS = [
    (f"{TECHNICAL}.hub.localhost:8000", "/hub/login", 404, None),
    (f"{TECHNICAL}.hub.localhost:8000", f"/user/{TECHNICAL}/", 404, None),
    (f"{TECHNICAL}.hub.localhost:8000", "/user/zoe/lab", 404, None),
    ("portal.hub.localhost:8000", "/hub/login", 404, None),
    ("portal.hub.localhost:8000", "/", 302, "http://portal.hub.localhost:8000/services/portal/"),
    (
        "zoe.hub.localhost:8000",
        "/user/zoe/lab?x=1",
        302,
        "http://hub.localhost:8000/hub/user/zoe/lab?x=1",
    ),
    ("zoe.hub.localhost:8000", "/user/max/lab", 404, None),
    ("zoe.hub.localhost:8000", "/hub/login", 404, None),
    ("zoe.hub.localhost:8000", "/hub/static/js/jhapi.js", 404, None),
    ("zoe.hub.localhost:8000", "/favicon.ico", 404, None),
    ("evil.test", "/hub/login", 404, None),
    ("127.0.0.1:8000", "/hub/login", 404, None),
    ("hub.localhost.:8000", "/hub/login", 404, None),
    ("hub.localhost:8000", "/hub/login", 200, None),
    ("hub.localhost:8000", f"/hub/user/{TECHNICAL}/x", 404, None),
    ("HUB.localhost:8000", "/hub/login", 200, None),
    ("hub.localhost:8000", "/hub/error/503", 200, None),
]


async def test_the_hub_answers_on_its_own_host_only(hub: GavipHub) -> None:
    for host, path, status, location in HOSTS:
        headers = {"Host": host, "Accept": "text/html"}
        answer = await ask(hub, "GET", path, headers=headers)
        assert (answer.status_code, answer.headers.get("Location")) == (status, location), (
            host,
            path,
        )
        if status == 404:
            assert "Set-Cookie" not in answer.headers
            assert "<form" not in answer.text
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            posted = await ask(hub, "POST", path, headers=headers, data={"username": "x"})
            assert posted.status_code == 404


async def test_the_hub_sets_host_bound_cookies_only(hub: GavipHub) -> None:
    answer = await ask(hub, "GET", "/hub/login", headers={"Host": "hub.localhost:8000"})
    cookies = answer.headers.get_list("Set-Cookie")
    assert cookies
    for cookie in cookies:
        assert cookie.startswith("__Host-")
        assert "Domain" not in cookie


FOREIGN = {
    "Sec-Fetch-Site": "same-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/hub/login", 403),
        ("GET", "/hub/api/user", 403),
        ("GET", "/hub/login", 200),
        ("GET", "/hub/api/oauth2/authorize", 302),
    ],
)
async def test_what_siblings_may_send(hub: GavipHub, method: str, path: str, status: int) -> None:
    headers = FOREIGN | {"Host": "hub.localhost:8000"}
    answer = await ask(hub, method, path, headers=headers)
    assert answer.status_code == status
    for name in hub_module.HubApplication.response_headers:
        assert name in answer.headers, name


def test_scopes_are_known() -> None:
    assert HUB_TECHNICAL_USERS in json.dumps(CUSTOM_SCOPES)
