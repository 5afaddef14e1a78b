"""The interface server from outside: who gets in, what the browser can and cannot do, what pages show."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid

import httpx
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from tests.integration.avi.conftest import notebook

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    release = tmp_path_factory.mktemp("release")
    (release / "avi.yaml").write_text(
        "avi: 1\nname: tiny\ntitle: Tiny <b> & co\ninterface: app.ipynb\n"
    )
    (release / "helper.py").write_text("ANSWER = 'from the release'\n")
    (release / "secret.txt").write_text("secret of the release")
    notebook(
        release / "app.ipynb",
        "import os, helper\nprint('cwd', os.getcwd(), helper.ANSWER)",
        "import sys, warnings\nprint('a warning', file=sys.stderr)",
        "import avi\nraise avi.errors.EmptyResult('No <stars> here.', hint='Widen the cone.')",
        "print('never')",
    )
    made = serve(release, "app.ipynb", GAVIP_FRAME_ANCESTORS="http://portal.gavip.localhost:8000")
    (made.work / "helper.py").write_text("ANSWER = 'shadowed by the user'\n")
    return made


@pytest.fixture(scope="module")
def signed_in(server):
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        page = client.get(server.url)
        assert page.status_code == 200
        yield client, page


KERNEL = uuid.uuid4()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "voila/render/app.ipynb"),
        ("GET", f"api/kernels/{KERNEL}"),
        ("DELETE", f"api/kernels/{KERNEL}"),
        ("GET", f"api/kernels/{KERNEL}/channels"),
        ("POST", f"voila/api/shutdown/{KERNEL}"),
        ("GET", "voila/labextensions/x/package.json"),
        ("GET", "voila/api/themes/x/index.css"),
    ],
)
def test_nothing_without_sign_in(server, method, path):
    answer = httpx.request(method, server.url + path, timeout=30)
    assert answer.status_code in {302, 403, 404}
    if answer.status_code == 302:
        assert answer.headers["Location"].startswith(f"{server.hub}/hub/api/oauth2/authorize")
    assert "secret" not in answer.text


def test_a_signed_in_stranger_is_refused(server):
    with httpx.Client(follow_redirects=True, cookies={"as": "stranger"}, timeout=30) as client:
        answer = client.get(server.url)
    assert answer.status_code == 403
    assert "You may not open this AVI" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "secret.txt",
        "voila/files/secret.txt",
        "voila/files/../secret.txt",
        "voila/tree/",
        "voila/render/app.ipynb",
        "voila/api/contents/",
        "api/contents/",
        "api/kernels",
        "api/sessions",
        "terminals/1",
        "voila/execution/" + str(KERNEL),
        "voila/query/" + str(KERNEL),
        "voila/templates/gavip/static/../../../../../../etc/passwd",
        "voila/static/..%2f..%2f..%2fetc/passwd",
    ],
)
def test_only_the_view_is_served(server, signed_in, path):
    answer = signed_in[0].get(server.url + path)
    assert answer.status_code in {403, 404}
    assert "secret of the release" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("path", ["", "api", "nothing/here", "voila/static/voila.js"])
def test_every_response_carries_the_security_headers(server, signed_in, path):
    headers = signed_in[0].get(server.url + path).headers
    policy = headers["Content-Security-Policy"]
    assert "connect-src 'self'" in policy
    assert policy.endswith("frame-ancestors http://portal.gavip.localhost:8000")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers


def test_the_page_shows_the_error_as_cause_and_next_step(server, signed_in):
    page = signed_in[1].text
    assert "No &lt;stars&gt; here." in page
    assert "Widen the cone." in page
    assert 'role="alert"' in page
    assert "Traceback" not in page
    assert "a warning" not in page
    assert "never" not in page
    assert "EmptyResult" in server.log.read_text()


def test_the_kernel_works_in_the_users_folder_and_imports_from_the_release(server, signed_in):
    assert f"cwd {server.work} from the release" in signed_in[1].text


def test_the_page_is_ours_and_loads_nothing_from_elsewhere(server, signed_in):
    page = signed_in[1].text
    assert "<title>Tiny &lt;b&gt; &amp; co</title>" in page
    assert "<h1>Tiny &lt;b&gt; &amp; co</h1>" in page
    loaded = re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["'](?!data:)([^"']+)""", page)
    assert loaded
    assert all(url.startswith("/user/tester/") for url in loaded)


def test_the_url_cannot_choose_another_template(server, signed_in):
    page = signed_in[0].get(server.url, params={"template": "lab", "theme": "dark"}).text
    assert "gavip-header" in page


def _kernel_id(page: str) -> str:
    return str(re.search(r'"kernelId": "([0-9a-f-]{36})"', page)[1])


async def _ask(server, client, kernel_id, *messages, seconds=6.0):
    """Send messages on the kernel's socket; return every message type and text that comes back."""
    cookies = "; ".join(f"{c.name}={c.value}" for c in client.cookies.jar)
    url = server.url.replace("http", "ws") + f"api/kernels/{kernel_id}/channels?session_id=x"
    request = HTTPRequest(
        url, headers={"Cookie": cookies, "Origin": server.url.rsplit("/user", 1)[0]}
    )
    socket = await websocket_connect(request)
    for kind, channel, content in messages:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": "x",
            "username": "",
            "version": "5.3",
            "date": "",
        }
        await socket.write_message(
            json.dumps(
                {
                    "channel": channel,
                    "header": header,
                    "parent_header": {},
                    "metadata": {},
                    "content": content,
                }
            )
        )
    got, limit = [], time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            raw = await asyncio.wait_for(socket.read_message(), 0.5)
        except asyncio.TimeoutError:
            continue
        if isinstance(raw, str):
            got.append(json.loads(raw)["msg_type"])
    socket.close()
    # until the end of the stream: a transport left open would be reported against a later test
    while await socket.read_message() is not None:
        pass
    return got


def test_the_browser_cannot_send_code_to_a_kernel(server, signed_in):
    client = signed_in[0]
    kernel_id = _kernel_id(client.get(server.url).text)
    target = server.work / "owned"
    code = {
        "code": f"open({str(target)!r}, 'w')",
        "silent": False,
        "store_history": False,
        "user_expressions": {},
    }
    forbidden = (
        "execute_request",
        "debug_request",
        "inspect_request",
        "complete_request",
        "input_reply",
    )
    messages = [
        (kind, channel, code) for kind in forbidden for channel in ("shell", "control", "stdin")
    ]
    got = asyncio.run(
        _ask(server, client, kernel_id, *messages, ("kernel_info_request", "shell", {}))
    )
    assert "kernel_info_reply" in got, "the socket itself works"
    assert not {g for g in got if g.startswith(("execute", "debug", "inspect", "complete"))}
    assert not target.exists()


def test_another_origin_cannot_open_the_socket(server, signed_in):
    client = signed_in[0]
    kernel_id = _kernel_id(client.get(server.url).text)
    cookies = "; ".join(f"{c.name}={c.value}" for c in client.cookies.jar)
    url = server.url.replace("http", "ws") + f"api/kernels/{kernel_id}/channels"

    async def connect() -> None:
        await websocket_connect(
            HTTPRequest(url, headers={"Cookie": cookies, "Origin": "http://evil.example"})
        )

    with pytest.raises(HTTPClientError) as caught:
        asyncio.run(connect())
    assert caught.value.code in {403, 404}


def test_the_page_loads_only_extensions_that_draw(signed_in):
    config = re.search(
        r'id="jupyter-config-data"[^>]*>(.*?)</script>', signed_in[1].text, re.DOTALL
    )
    loaded = {e["name"] for e in json.loads(config[1])["federated_extensions"]}
    assert {"@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8"} <= loaded
    assert not {n for n in loaded if "jupytext" in n or "pygments" in n or "preview" in n}


def test_a_dead_kernel_is_not_started_anew(serve, server):
    import psutil

    other = serve(server.release, "app.ipynb")
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        url = other.url + "api/kernels/" + _kernel_id(client.get(other.url).text)
        assert client.get(url).status_code == 200
        (kernel,) = psutil.Process(other.process.pid).children(recursive=True)
        kernel.kill()
        limit = time.monotonic() + 5
        while client.get(url).status_code != 404:
            assert time.monotonic() < limit
            time.sleep(0.1)
        assert client.get(other.url + "api").json() == {"status": "ok"}
        assert not psutil.Process(other.process.pid).children(recursive=True)


def test_activity_is_reported_with_the_instances_token(server):
    limit = time.monotonic() + 10
    while not (seen := httpx.get(f"{server.hub}/seen").json()["seen"]):
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert seen[0]["auth"] == "token instance-token"
    assert seen[0]["last_activity"].endswith("Z")


def test_a_missing_view_is_one_clear_line(start, tmp_path):
    import subprocess
    import sys

    from .conftest import clean_environ

    done = subprocess.run(
        [sys.executable, "-m", "avi_kernelspec.server"],
        env=clean_environ(
            JUPYTERHUB_SERVICE_URL="http://127.0.0.1:1/", GAVIP_RELEASE_DIR=str(tmp_path), GAVIP_VIEW="x.ipynb"
        ),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "The release has no view 'x.ipynb'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_stops_its_kernels_when_it_is_stopped(serve, server):
    other = serve(server.release, "app.ipynb")
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        client.get(other.url)
    import psutil

    children = psutil.Process(other.process.pid).children(recursive=True)
    assert children
    other.process.terminate()
    assert other.process.wait(15) == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
