"""Operators through the portal: the real queue behind it, and who may ask."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tornado.web import RequestHandler

from avi.connectors.turns import turn
from avi.surroundings import Context
from gavip_api import environment as env
from gavip_api.enums import Mode
from gavip_web.auth import Authenticator, Caller
from jobqueue.app import JobQueueApp
from tests.support.portal_hub import PORTAL_TOKEN
from tests.support.portal_platform import Platform, running_portal, write_example

pytestmark = pytest.mark.integration

GIB = 1 << 30


class OnlyThePortal:
    """A hub that knows the portal's token."""

    async def authenticate(self, handler: RequestHandler) -> Caller | None:
        assert handler.request.headers["Authorization"] == f"token {PORTAL_TOKEN}"
        scopes = frozenset({"custom:jobqueue:act-for", "custom:jobqueue:operate"})
        return Caller("portal", "service", scopes)


class Queue(JobQueueApp):
    """The real queue, asked by the portal only."""

    def make_authenticator(self) -> Authenticator:
        return OnlyThePortal()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    write_example(tmp_path / "examples")
    queue = Queue(
        bind_url="http://127.0.0.1:0",
        state_dir=str(tmp_path / "queue"),
        capacity_memory="8G",
        capacity_cpu=4.0,
        user_memory="4G",
        user_cpu=2.0,
        hub_seconds=0.0,
        warm_modules=[],
    )
    await queue.open()
    url = f"http://127.0.0.1:{queue.port}/services/jobqueue/api/v1"
    try:
        async with running_portal(tmp_path / "portal", jobqueue_url=url) as platform:
            platform.hub.people += ("olga",)
            platform.hub.operators.add("olga")
            yield platform
    finally:
        await queue.close()


def client(platform: Platform, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"token {token}"}
    return httpx.AsyncClient(base_url=platform.url + "api/v1/", headers=headers, timeout=20)


async def test_an_operator_changes_pools_and_scheduler_and_the_audit_says_who(platform) -> None:
    async with client(platform, "person-olga") as olga, client(platform, "person-ada") as ada:
        r = await olga.put("admin/pools/ada", json={"memory": GIB, "archive": 3})
        assert r.status_code == 200, r.text
        assert (await olga.get("admin/pools/ada")).json()["memory"] == GIB
        limit = (await ada.get("pools/me")).json()["limit"]
        assert (limit["memory"], limit["cpu"], limit["archive"]) == (GIB, 2, 3)
        await olga.put("admin/role-pools/scientist", json={"cpu": 1})
        assert (await olga.get("admin/role-pools")).json()["items"]["scientist"]["cpu"] == 1
        assert (await olga.delete("admin/pools/ada")).status_code == 204
        assert (await olga.get("admin/pools/ada")).json()["memory"] is None
        assert (await olga.put("admin/scheduler", json={"name": "backfill"})).status_code == 200
        assert (await olga.get("admin/scheduler")).json()["name"] == "backfill"
        ledger = (await olga.get("admin/ledger")).json()
        assert (ledger["capacity"]["cpu"], ledger["items"]) == (4, [])
        audit = (await olga.get("admin/audit?limit=2")).json()
        assert [(e["by"], e["action"]) for e in audit["items"]] == [
            ("olga", "scheduler"),
            ("olga", "user-pool"),
        ]
        rest = (await olga.get(f"admin/audit?cursor={audit['next']}")).json()["items"]
        assert [e["subject"] for e in rest] == ["scientist", "ada"]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        pytest.param("admin/scheduler", {"name": "magic"}, "no scheduler", id="no such scheduler"),
        pytest.param("admin/role-pools/king", {}, "no role", id="no such role"),
        pytest.param("admin/pools/ada", {"cpu": -1}, "cpu", id="negative"),
        pytest.param("admin/pools/ada", {"by": "ada"}, "by", id="somebody else's name"),
    ],
)
async def test_bad_changes_are_refused(platform, path, body, text) -> None:
    async with client(platform, "person-olga") as olga:
        r = await olga.put(path, json=body)
        assert r.status_code == 422
        assert text in r.text


@pytest.mark.parametrize("token", ["person-ada", "operator"], ids=["a scientist", "a service"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", "admin/ledger", None, id="ledger"),
        pytest.param("GET", "admin/audit", None, id="audit"),
        pytest.param("GET", "admin/role-pools", None, id="roles"),
        pytest.param("PUT", "admin/role-pools/scientist", {"cpu": 9}, id="role"),
        pytest.param("PUT", "admin/pools/ada", {"cpu": 9}, id="pool"),
        pytest.param("DELETE", "admin/pools/ada", None, id="removal"),
        pytest.param("PUT", "admin/scheduler", {"name": "fifo"}, id="scheduler"),
    ],
)
async def test_nobody_else_may(platform, token, method, path, body) -> None:
    async with client(platform, token) as other:
        assert (await other.request(method, path, json=body)).status_code == 403


async def test_operators_work_from_the_command_line(platform, tmp_path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GAVIP")} | {
        "GAVIP_URL": platform.url + "api/v1",
        "GAVIP_TOKEN": "person-olga",
        "XDG_CACHE_HOME": str(tmp_path),
    }

    async def gavip(*args: str) -> str:
        program = str(Path(sys.executable).with_name("gavip"))
        process = await asyncio.create_subprocess_exec(
            program, *args, env=environ, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, out
        return out.decode()

    await gavip("admin", "pools-set", "ada", "--memory", str(GIB), "--cpu", "1.5")
    await gavip("admin", "scheduler-set", "--name", "fifo")
    found = json.loads(await gavip("admin", "pools-show", "ada", "--json"))
    assert (found["memory"], found["cpu"]) == (GIB, 1.5)
    assert '"fifo"' in await gavip("admin", "audit", "--json")


TURN = "archive-queries/01936f3c-0000-7000-8000-00000000000"


async def test_turns_at_the_archive_belong_to_who_takes_them(platform) -> None:
    async with client(platform, "person-olga") as olga, client(platform, "person-ada") as ada:
        await olga.put("admin/pools/ada", json={"archive": 1})
        assert (await ada.put(TURN + "1", json={"title": "Pleiades"})).json()["state"] == "granted"
        refused = (await ada.put(TURN + "2", json={})).json()
        assert (refused["state"], "Pleiades" in refused["reason"]) == ("refused", True)
        assert (await olga.put(TURN + "1", json={})).status_code == 409
        assert (await olga.delete(TURN + "1")).status_code == 204
        (line,) = (await olga.get("admin/ledger")).json()["items"]
        assert (line["owner"], line["kind"], line["title"]) == ("ada", "archive-query", "Pleiades")
        assert (await ada.put("archive-queries/x", json={})).status_code == 422
        assert (await ada.delete(TURN + "1")).status_code == 204
        assert (await ada.put(TURN + "2", json={})).json()["state"] == "granted"


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(Mode.INTERFACE, id="application"),
        pytest.param(Mode.STANDALONE, id="JupyterLab"),
    ],
)
async def test_queries_wait_for_their_turn(platform, mode: Mode) -> None:
    environ = {
        env.ARCHIVE_URL: "http://archive/tap/",
        env.API_URL: platform.url + "api/v1",
        env.API_TOKEN: "person-ada",
    }
    ctx = Context(mode, None, environ)
    told: list[str] = []
    first, waits = threading.Event(), threading.Event()

    def say(words: str, seconds: float) -> None:
        told.append(words)
        waits.set()

    def hold() -> None:
        with turn(ctx, "http://archive/tap", say) as mine:
            assert mine
            first.set()
            assert waits.wait(20)

    def follow() -> bool:
        assert first.wait(20)
        with turn(ctx, "http://archive/tap", say, lambda: False) as mine:
            return mine

    async with client(platform, "person-olga") as olga, client(platform, "person-ada") as ada:
        await olga.put("admin/pools/ada", json={"archive": 1})
        _, came = await asyncio.gather(asyncio.to_thread(hold), asyncio.to_thread(follow))
        assert came
        assert set(told) == {"Waiting for a turn at the archive"}
        deadline = time.monotonic() + 10
        while (await ada.get("pools/me")).json()["used"]["archive"]:
            assert time.monotonic() < deadline, "the turn was not let go"
            await asyncio.sleep(0.05)
        # another archive than the platform's is not counted
        with turn(ctx, "http://elsewhere/tap", say) as mine:
            assert mine
        assert (await ada.get("pools/me")).json()["used"]["archive"] == 0
