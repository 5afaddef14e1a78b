"""The real proxy before a server that an AVI's code has taken over: what the browser gets to see of its headers."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gavip_api.isolation import ISOLATION_HEADERS
from hub_config import programs
from hub_config.platform import Platform
from tests.support.running import wait_for

pytestmark = pytest.mark.integration

HOSTILE = {
    "Content-Security-Policy": "default-src * 'unsafe-inline'",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Credentials": "true",
    "Clear-Site-Data": '"cookies"',
    "Cross-Origin-Opener-Policy": "unsafe-none",
    "Connection-Allowlist": '("*://*:*/*")',
    "Link": "<https://evil.test/>; rel=preconnect",
    "Report-To": "{}",
    "Reporting-Endpoints": 'x="https://evil.test/"',
    "Service-Worker-Allowed": "/",
}


class TakenOver(http.server.BaseHTTPRequestHandler):
    """Sends whatever it likes; tells the cookies it got."""

    def do_GET(self) -> None:
        body = self.headers.get("Cookie", "").encode()
        self.send_response(200)
        for name, value in HOSTILE.items():
            self.send_header(name, value)
        self.send_header("Set-Cookie", "own=1; Path=/")
        self.send_header("Set-Cookie", "tossed=1; DOMAIN = x.test; Path=/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    state: Path = tmp_path_factory.mktemp("proxy")
    platform = Platform.load(state).with_ports()
    free = Platform.load(state).with_ports()
    platform = Platform.load(state, port=free.archive_port).with_ports()
    platform.save()
    program = programs.proxy(platform)
    with program.log.open("wb") as log:
        process = subprocess.Popen(program.argv, env=program.environment, stdout=log, stderr=log)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TakenOver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = f"http://127.0.0.1:{platform.proxy_api_port}/api/routes"
    wait_for(api)
    for host in ("avi-00.gavip.localhost", "portal.gavip.localhost"):
        httpx.post(
            f"{api}/{host}",
            json={"target": f"http://127.0.0.1:{server.server_port}"},
            headers={"Authorization": f"token {platform.proxy_token}"},
            trust_env=False,
        ).raise_for_status()
    yield platform
    process.terminate()
    process.wait(10)
    server.shutdown()
    server.server_close()


def ask(proxy: Platform, host: str, cookies: str = "") -> httpx.Response:
    headers = {"Host": host, "Cookie": cookies}
    return httpx.get(f"http://127.0.0.1:{proxy.port}/x", headers=headers, trust_env=False)


def test_an_avi_cannot_shed_its_policies(proxy: Platform) -> None:
    answer = ask(proxy, "avi-00.gavip.localhost")
    assert answer.status_code == 200
    policies = answer.headers.get_list("Content-Security-Policy")
    assert policies[0] == HOSTILE["Content-Security-Policy"]
    assert "connect-src 'self'" in policies[1]
    assert f"frame-ancestors {proxy.portal_origin} http://*.{proxy.host}" in policies[1]
    for name, value in ISOLATION_HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    allowed = answer.headers["Connection-Allowlist"]
    assert allowed == f'(response-origin "{proxy.public_url}/*" "{proxy.portal_origin}/*")'
    for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Clear-Site-Data",
                 "Link", "Report-To", "Reporting-Endpoints", "Service-Worker-Allowed"):  # fmt: skip
        assert name not in answer.headers
    assert answer.headers.get_list("Set-Cookie") == ["own=1; Path=/"]


def test_other_hosts_are_left_as_they_are(proxy: Platform) -> None:
    answer = ask(proxy, "portal.gavip.localhost")
    assert answer.headers["Content-Security-Policy"] == HOSTILE["Content-Security-Policy"]
    assert len(answer.headers.get_list("Set-Cookie")) == 2


def test_a_session_that_a_sibling_set_reaches_nobody(proxy: Platform) -> None:
    sent = "a=1; jupyterhub-session-id=evil; __Host-b=2;jupyterhub-session-id=x"
    assert ask(proxy, "portal.gavip.localhost", sent).text == "a=1; __Host-b=2"


@pytest.mark.parametrize("host", ["avi-01.gavip.localhost", "AVI-00.gavip.localhost"])
def test_the_proxys_own_error_pages_too(proxy: Platform, host: str) -> None:
    answer = ask(proxy, host)
    assert answer.status_code in {404, 503}
    assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
