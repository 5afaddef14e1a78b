"""The public API: who may what, jobs, files, documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from gavip_portal.app import make_api
from gavip_web.openapi import undocumented
from gavip_web.sse import ServerEvent, read_events
from tests.support.portal_platform import Platform, fill, png

pytestmark = pytest.mark.integration

Client = Callable[[str], httpx.AsyncClient]
ROWS = {"rows": 100}


async def instance_client(
    platform: Platform, client: Client, ada: httpx.AsyncClient
) -> httpx.AsyncClient:
    """Return a client with the token of an instance that ada opened."""
    await ada.post("instances", json={"avi": "gavip/demo"})
    while not platform.hub.users:
        await ada.get("instances")
    (name,) = platform.hub.users
    return client(f"instance-{name}")


def test_every_route_is_documented() -> None:
    assert undocumented(make_api()) == []


async def test_openapi_document_is_valid(ada: httpx.AsyncClient) -> None:
    validate((await ada.get("openapi.json")).json())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (
            method.upper(),
            path.replace("{owner}", "gavip")
            .replace("{name}", "demo")
            .replace("{job}", "x")
            .replace("{schedule}", "x")
            .replace("{instance}", "x"),
        )
        for path, item in make_api().document("/")["paths"].items()
        for method in item
        if method in ("get", "post", "put", "delete")
    ],
)
async def test_nothing_without_credentials(client: Client, method: str, path: str) -> None:
    for token, status in (("", 401), ("wrong", 401)):
        answer = await client(token).request(method, path.lstrip("/"), json={})
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_profile_of_person_and_instance(
    platform: Platform, client: Client, ada: httpx.AsyncClient
) -> None:
    me = {"name": "ada", "roles": ["scientist"]}
    assert (await ada.get("users/me")).json() == me
    avi = await instance_client(platform, client, ada)
    assert (await avi.get("users/me")).json() == me


async def test_instance_reaches_jobs_of_its_avi_only(
    platform: Platform, client: Client, ada: httpx.AsyncClient
) -> None:
    avi = await instance_client(platform, client, ada)
    own = (await avi.post("jobs", json={"pipeline": "hr-diagram", "parameters": ROWS})).json()
    assert (own["owner"], own["avi"]) == ("ada", "gavip/demo")
    other = platform.queue.add("ada", avi="gavip/other")
    assert [j["id"] for j in (await avi.get("jobs")).json()["items"]] == [own["id"]]
    assert (await avi.get(f"jobs/{other['id']}")).status_code == 404
    assert (await avi.post(f"jobs/{other['id']}/cancel")).status_code == 404
    assert (await avi.post("jobs", json={"avi": "gavip/other", "pipeline": "x"})).status_code == 403
    assert (await avi.get("jobs", params={"avi": "gavip/other"})).status_code == 403
    for method, path in (
        ("GET", "files"),
        ("GET", "files/content?path=x"),
        ("GET", "files/usage"),
        ("DELETE", "files?path=x"),
        ("GET", "instances"),
        ("POST", "instances"),
        ("DELETE", "instances?owner=ada"),
        ("GET", "events"),
        ("GET", "instances/events"),
        ("GET", "permissions"),
        ("GET", "permissions/history"),
        ("GET", "avis/gavip/demo/permissions"),
        ("PUT", "avis/gavip/demo/permissions"),
        ("DELETE", "avis/gavip/demo/permissions"),
    ):
        answer = await avi.request(
            method, path, json={"avi": "gavip/demo"} if method == "POST" else None
        )
        assert answer.status_code == 403, path


async def test_instance_that_ended_loses_its_rights(
    platform: Platform, client: Client, ada: httpx.AsyncClient, until: Any
) -> None:
    avi = await instance_client(platform, client, ada)
    (name,) = platform.hub.users
    await platform.app.instances.stop_all("ada")
    await until(lambda: _all_stopped(ada))
    platform.hub.users.setdefault(name, None)
    assert (await avi.get("users/me")).status_code in (401, 403)


async def _all_stopped(ada: httpx.AsyncClient) -> bool:
    return {i["state"] for i in (await ada.get("instances")).json()} == {"stopped"}


async def test_submit_resolves_and_checks(platform: Platform, ada: httpx.AsyncClient) -> None:
    answer = await ada.post(
        "jobs", json={"avi": "gavip/demo", "pipeline": "hr-diagram", "parameters": ROWS}
    )
    assert answer.status_code == 201
    (sent,) = platform.queue.submissions
    assert sent["owner"] == {"name": "ada", "roles": ["scientist"]}
    assert sent["parameters"] == {
        "ra": 56.75, "dec": 24.12, "radius": 1.0, "rows": 100, "colour": "viridis", "clean": True,
    }  # fmt: skip
    assert sent["spec"]["notebook"] == "pipelines/hr.ipynb"
    assert sent["permissions"] == {"userspace": "none", "archive": True, "network": []}
    assert len(sent["release"]) == 40


@pytest.mark.parametrize(
    ("request_body", "status", "fields"),
    [
        pytest.param({"parameters": {"rows": "x"}}, 422, {"rows"}, id="wrong type"),
        pytest.param(
            {"parameters": {"ra": 400, "rows": 0}}, 422, {"ra", "rows"}, id="out of range"
        ),
        pytest.param({"parameters": {}}, 422, {"rows"}, id="missing"),
        pytest.param({"parameters": {**ROWS, "evil": 1}}, 422, {"evil"}, id="unknown"),
        pytest.param(
            {"parameters": ROWS, "owner": "grace"}, 422, {"owner"}, id="owner in the request"
        ),
        pytest.param({"pipeline": "none", "parameters": ROWS}, 404, set(), id="no such pipeline"),
        pytest.param({"avi": "gavip/none", "parameters": ROWS}, 404, set(), id="no such avi"),
    ],
)
async def test_bad_submissions(
    platform: Platform,
    ada: httpx.AsyncClient,
    request_body: dict[str, Any],
    status: int,
    fields: set[str],
) -> None:
    answer = await ada.post(
        "jobs", json={"avi": "gavip/demo", "pipeline": "hr-diagram", **request_body}
    )
    assert answer.status_code == status
    assert set(answer.json().get("errors", {})) == fields
    assert answer.json()["hint"]
    assert platform.queue.submissions == []


async def test_jobs_of_others_do_not_exist(platform: Platform, grace: httpx.AsyncClient) -> None:
    ids = fill(platform)
    unknown = (await grace.get("jobs/01a1ffde-2afc-77f1-a138-9e9dabee10e3")).json()
    for path in ("", "/events", "/log", "/log?follow=true"):
        answer = await grace.get(f"jobs/{ids['running']}{path}")
        assert answer.status_code == 404
        assert {k: v for k, v in answer.json().items() if k != "request"} == {
            k: v for k, v in unknown.items() if k != "request"
        }
    assert (await grace.post(f"jobs/{ids['running']}/cancel")).status_code == 404
    assert platform.queue.jobs[ids["running"]]["state"] == "running"


async def test_log_and_events_are_forwarded(platform: Platform, ada: httpx.AsyncClient) -> None:
    ids = fill(platform)
    log = await ada.get(f"jobs/{ids['succeeded']}/log", params={"offset": 9})
    assert log.text.startswith("cell 0 finished")
    assert int(log.headers["X-Log-Size"]) == len(log.content) + 9
    events = await ada.get(f"jobs/{ids['succeeded']}/events")
    assert "id: 1\n" in events.text
    assert '"state": "succeeded"' in events.text


async def test_a_log_is_followed_and_resumed(platform: Platform, ada: httpx.AsyncClient) -> None:
    job = fill(platform)["succeeded"]

    async def follow(last_id: str | None = None) -> list[ServerEvent]:
        url = str(ada.base_url.join(f"jobs/{job}/log"))
        return [e async for e in read_events(ada, url, params={"follow": "true"}, last_id=last_id)]

    events = await follow()
    assert {event.event for event in events} == {"log"}
    assert "".join(json.loads(e.data)["text"] for e in events) == platform.queue.logs[job]
    assert await follow(events[0].id) == events[1:]
    bad = await ada.get(
        f"jobs/{job}/log", params={"follow": "true"}, headers={"Last-Event-ID": "x"}
    )
    assert bad.status_code == 400


async def test_queue_that_is_down_is_said(platform: Platform, ada: httpx.AsyncClient) -> None:
    platform.queue.down = True
    answer = await ada.get("jobs")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The queue is being repaired."
    await platform.queue.close()
    answer = await ada.get("pools/me")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    platform.queue.listen()


async def test_download(
    platform: Platform, ada: httpx.AsyncClient, grace: httpx.AsyncClient
) -> None:
    content = bytes(range(256)) * 4000
    (platform.userspace("ada") / 'ü "b";c.bin').write_bytes(content)
    query = {"path": 'ü "b";c.bin'}
    answer = await ada.get("files/content", params=query)
    assert answer.content == content
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    part = await ada.get("files/content", params=query, headers={"Range": "bytes=255-256"})
    assert (part.status_code, part.content) == (206, b"\xff\x00")
    assert part.headers["Content-Range"] == f"bytes 255-256/{len(content)}"
    etag = answer.headers["ETag"]
    fresh = await ada.get("files/content", params=query, headers={"If-None-Match": etag})
    assert (fresh.status_code, fresh.content) == (304, b"")
    stale = await ada.get(
        "files/content", params=query, headers={"Range": "bytes=0-1", "If-Range": '"x"'}
    )
    assert (stale.status_code, len(stale.content)) == (200, len(content))
    none = await ada.get("files/content", params=query, headers={"Range": "bytes=99999999-"})
    assert none.status_code == 416
    assert (await grace.get("files/content", params=query)).status_code == 404


async def test_delete_and_usage(
    platform: Platform, ada: httpx.AsyncClient, grace: httpx.AsyncClient
) -> None:
    folder = platform.userspace("ada") / "ü"
    folder.mkdir()
    (folder / "f").write_bytes(b"x" * 10_000)
    used = (await ada.get("files/usage")).json()
    assert (used["entries"], used["limit"], used["level"]) == (2, None, "normal")
    assert used["used"] >= 10_000
    # one's own files only
    assert (await grace.delete("files", params={"path": "ü"})).json() == {
        "removed": 0,
        "done": True,
    }
    assert folder.is_dir()
    for removed in (2, 0):
        answer = await ada.delete("files", params={"path": "ü"})
        assert (answer.status_code, answer.json()) == (200, {"removed": removed, "done": True})
    assert (await ada.get("files/usage")).json()["entries"] == 0
    for path, status in (("avis", 403), ("../grace", 400), ("", 422)):
        assert (await ada.delete("files", params={"path": path})).status_code == status
    assert (await ada.delete("files")).status_code == 422


async def test_only_pictures_are_shown_inline(platform: Platform, ada: httpx.AsyncClient) -> None:
    space = platform.userspace("ada")
    (space / "p.png").write_bytes(png())
    (space / "x.html").write_text("<script>alert(1)</script>")
    shown = await ada.get("files/content", params={"path": "p.png", "inline": "1"})
    assert (shown.headers["Content-Type"], shown.headers["Content-Disposition"][:6]) == (
        "image/png",
        "inline",
    )
    refused = await ada.get("files/content", params={"path": "x.html", "inline": "1"})
    assert refused.status_code == 422


async def test_pages_lead_to_sign_in_and_carry_no_inline_script(platform: Platform) -> None:
    async with httpx.AsyncClient(base_url=platform.url) as browser:
        answer = await browser.get("avis")
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith(f"{platform.hub.url}/hub/api/oauth2/authorize")
    async with httpx.AsyncClient(base_url=platform.url, follow_redirects=True) as browser:
        for path, status in (
            ("", 200),
            ("avis", 200),
            ("avis/gavip/demo", 200),
            ("files", 200),
            ("nope", 404),
            ("jobs/x", 404),
        ):
            page = await browser.get(path)
            assert page.status_code == status
            assert page.text.count("<script") == page.text.count("<script src=")
            assert " style=" not in page.text
            assert "script-src 'self';" in page.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        page = await browser.get("avis/gavip/demo")
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text


async def test_cookie_alone_changes_nothing(platform: Platform) -> None:
    async with httpx.AsyncClient(base_url=platform.url, follow_redirects=True) as browser:
        assert (await browser.get("")).status_code == 200
        answer = await browser.post(
            "api/v1/instances", json={"avi": "gavip/demo"}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert answer.status_code == 403
    assert platform.hub.users == {}


async def test_assets_are_compressed_and_stay_in_their_folder(platform: Platform) -> None:
    async with httpx.AsyncClient(base_url=platform.url) as browser:
        path = "hub-static/css/style.min.css"
        packed = await browser.get(path)
        plain = await browser.get(path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert int(packed.headers["Content-Length"]) < len(plain.content) / 4
        assert packed.content == plain.content
        assert packed.headers["Content-Type"] == plain.headers["Content-Type"] == "text/css"
        assert "immutable" in packed.headers["Cache-Control"]
        for outside in (
            "hub-static/%2e%2e/templates/page.html",
            "hub-static/..%2f..%2fx.css",
            "hub-static/none.css",
        ):
            assert (await browser.get(outside)).status_code in (403, 404)
