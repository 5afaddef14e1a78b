"""What passes the edge of an application: cookies of this host alone, and requests that our own pages sent."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import RequestHandler

from gavip_web import edge


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        pytest.param("__Host-a=1", "__Host-a=1; a=1", id="both-names"),
        pytest.param("a=evil; __Host-a=1", "__Host-a=1; a=1", id="tossed-before"),
        pytest.param("__Host-a=1; a=evil", "__Host-a=1; a=1", id="tossed-after"),
        pytest.param("__host-a=evil; __HOST-a=evil", "", id="prefix-in-other-case"),
        pytest.param("__Host-a=1; __Host-a=2", "__Host-a=1; a=1", id="twice"),
        pytest.param(' ; =; __Host-b="x=y"', '__Host-b="x=y"; b="x=y"', id="odd"),
    ],
)
def test_received_cookies(sent: str, seen: str) -> None:
    assert edge.received_cookies(sent) == seen


@given(st.text())
def test_no_cookie_without_the_prefix_is_ever_seen(header: str) -> None:
    bound = {
        p.strip().partition("=")[0] for p in header.split(";") if p.strip().startswith("__Host-")
    }
    seen = {p.partition("=")[0] for p in filter(None, edge.received_cookies(header).split("; "))}
    assert {f"__Host-{name.removeprefix('__Host-')}" for name in seen} <= bound | {"__Host-"}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("_xsrf=1; Max-Age=9; Path=/hub/", "__Host-_xsrf=1; Max-Age=9; Path=/; Secure"),
        (
            "jupyterhub-session-id=1; Domain=x.test; HttpOnly; Path=/; SameSite=Lax",
            "__Host-jupyterhub-session-id=1; HttpOnly; SameSite=Lax; Path=/; Secure",
        ),
        ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
    ],
)
def test_sent_cookie(given: str, sent: str) -> None:
    assert edge.sent_cookie(given) == sent


def fetched(site: str, mode: str = "cors", dest: str = "empty") -> dict[str, str]:
    return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}


@pytest.mark.parametrize(
    ("method", "headers", "nobody", "visitors", "frames"),
    [
        pytest.param("POST", {}, True, True, True, id="no-browser"),
        pytest.param("POST", fetched("same-origin"), True, True, True, id="own-page"),
        pytest.param("GET", fetched("none", "navigate", "document"), True, True, True, id="typed"),
        pytest.param("POST", fetched("same-site"), False, False, False, id="sibling-changes"),
        pytest.param("POST", fetched("cross-site", "navigate", "document"), False, False, False, id="form"),
        pytest.param("GET", fetched("same-site", "navigate", "document"), False, True, True, id="link"),
        pytest.param("GET", fetched("same-site", "navigate", "iframe"), False, False, True, id="frame"),
        pytest.param("GET", fetched("same-site", "no-cors", "image"), False, False, False, id="image"),
        pytest.param("GET", fetched("cross-site"), False, False, False, id="fetch"),
    ],
)  # fmt: skip
def test_admits(
    method: str, headers: dict[str, str], nobody: bool, visitors: bool, frames: bool
) -> None:
    found = [edge.admits(method, headers, g) for g in ("nobody", "visitors", "frames")]
    assert found == [nobody, visitors, frames]


class Echo(RequestHandler):
    def get(self) -> None:
        self.set_cookie("mine", "1", domain="x.test", path="/deep")
        self.set_header("X-Own", "kept")
        self.write(self.request.headers.get("Cookie", ""))


@pytest.mark.parametrize("bound", [True, False])
async def test_an_application_behind_its_edge(bound: bool) -> None:
    class Application(edge.EdgeApplication):
        host_cookies = bound
        response_headers = {"X-Own": "lost", "X-Added": "added"}

    sock, port = bind_unused_port()
    server = HTTPServer(Application([("/", Echo)]))
    server.add_sockets([sock])
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            f"http://127.0.0.1:{port}/", headers={"Cookie": "mine=evil; __Host-mine=1"}
        )
    server.stop()
    assert (answer.headers["X-Own"], answer.headers["X-Added"]) == ("kept", "added")
    assert answer.text == ("__Host-mine=1; mine=1" if bound else "mine=evil; __Host-mine=1")
    assert ("Domain" in answer.headers["Set-Cookie"]) is not bound
