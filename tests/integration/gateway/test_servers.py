"""What the servers in containers really ask of the hub, through the gateway: no more is allowed, and no less."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import nbformat
import pytest

from gavip_spawner.gateway.exchange import Part
from gavip_spawner.gateway.policy import Caller, Route
from hub_config.platform import free_port
from tests.support.gateway import running_gateway

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
INTERFACE = Caller("c", "interface", "alice", "gaia/demo", server="tester/")


@asynccontextmanager
async def program(log, *argv, **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GAVIP_", "JUPYTERHUB_"))}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, stdout=output, stderr=output,
            env=kept | {"PYTHONPATH": str(ROOT)} | env,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def answers(url, process, log):
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(600):
            try:
                return await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            if process.returncode is not None:
                break
    raise AssertionError(log.read_text()[-4000:])


async def asked(folder, caller, argv, **env):
    """Start a server behind the gateway, sign in, and return what it asked of the hub."""
    hub_port, port = free_port(), free_port()
    hub, url = f"http://127.0.0.1:{hub_port}", f"http://127.0.0.1:{port}/user/tester/"
    scopes = json.dumps(["access:servers"])
    hub_log, log = folder / "hub.log", folder / "server.log"
    parts = {Route.HUB: Part("127.0.0.1", hub_port)}
    async with (
        program(hub_log, str(ROOT / "tests/support/fake_hub.py"), str(hub_port)) as stub,
        running_gateway(folder, {"127.0.0.1": caller}, parts=parts) as gateway,
    ):
        await answers(f"{hub}/seen", stub, hub_log)
        env |= {
            "HOME": str(folder),
            "JUPYTERHUB_SERVICE_URL": url,
            "JUPYTERHUB_SERVICE_PREFIX": "/user/tester/",
            "JUPYTERHUB_API_TOKEN": "token-tester",
            "JUPYTERHUB_API_URL": f"{gateway.url}/hub/api",
            "JUPYTERHUB_ACTIVITY_URL": f"{gateway.url}/hub/api/users/tester/activity",
            "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-tester",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{url}oauth_callback",
            "JUPYTERHUB_HOST": hub,
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_USER": "tester",
            "JUPYTERHUB_SERVER_NAME": "",
            "JUPYTERHUB_OAUTH_SCOPES": scopes,
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": scopes,
        }
        async with program(log, *argv, **env) as server:
            await answers(f"{url}api", server, log)
            async with httpx.AsyncClient(
                follow_redirects=True, timeout=60, trust_env=False
            ) as browser:
                page = await browser.get(url)
                assert page.status_code == 200, log.read_text()[-4000:]
                assert urlsplit(str(page.url)).port == port
                for _ in range(300):
                    if (await browser.get(f"{hub}/seen")).json()["seen"]:
                        break
                    await asyncio.sleep(0.1)
    return {(e["method"], e["target"], e["decision"]) for e in gateway.entries()}


NEEDED = {
    ("POST", "/hub/api/oauth2/token", "allowed"),
    ("GET", "/hub/api/user", "allowed"),
    ("POST", "/hub/api/users/tester/activity", "allowed"),
}


async def test_an_interface_asks_for_exactly_what_it_may(tmp_path):
    release = tmp_path / "release"
    release.mkdir()
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "x"}},
        cells=[nbformat.v4.new_code_cell("print('here')")],
    )
    nbformat.write(notebook, release / "app.ipynb")
    (release / "avi.yaml").write_text("avi: 1\nname: tiny\ntitle: Tiny\ninterface: app.ipynb\n")
    found = await asked(
        tmp_path, INTERFACE, ("-m", "avi_kernelspec.server"),
        JUPYTER_PATH=str(ROOT / "voila_templates" / "share" / "jupyter"),
        GAVIP_MODE="interface", GAVIP_RELEASE_DIR=str(release), GAVIP_VIEW="app.ipynb",
        GAVIP_USER_SPACE=str(tmp_path), GAVIP_USER=json.dumps({"name": "tester", "roles": ["scientist"]}),
        GAVIP_ARCHIVE_URL="http://127.0.0.1:1/tap",
    )  # fmt: skip
    assert found == NEEDED


async def test_a_lab_asks_for_exactly_what_it_may(tmp_path):
    found = await asked(
        tmp_path, replace(INTERFACE, kind="notebook"),
        ("-m", "jupyterhub.singleuser", f"--ServerApp.root_dir={tmp_path}", "--allow-root"),
    )  # fmt: skip
    assert found == NEEDED | {("GET", "/hub/api", "allowed")}
