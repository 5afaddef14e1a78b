"""Requests against a real tornado server."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gavip_web.openapi import Api, undocumented
from gavip_web.sse import read_events

ALICE = {"Authorization": "token alice"}


async def test_answers_json_with_security_headers(client):
    r = await client.get("api/v1/things/star?limit=5&kind=a&kind=b", headers=ALICE)
    assert r.json() == {"name": "star", "size": 5, "kind": ["a", "b"]}
    assert r.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in r.headers["Content-Security-Policy"]
    assert r.headers["Cache-Control"] == "no-store"
    assert "Server" not in r.headers


async def test_a_single_value_of_a_repeated_parameter_is_a_list_too(client):
    r = await client.get("api/v1/things/star?kind=a", headers=ALICE)
    assert r.json()["kind"] == ["a"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param({}, 401, "not-signed-in", id="no credentials"),
        pytest.param({"Authorization": "token nobody"}, 401, "not-signed-in", id="bad token"),
        pytest.param({"Authorization": "Bearer avi"}, 403, "forbidden", id="missing scope"),
    ],
)
async def test_refuses_callers(client, headers, status, code):
    r = await client.get("api/v1/things/star", headers=headers)
    assert r.status_code == status
    assert r.headers["Content-Type"] == "application/problem+json"
    problem = r.json()
    assert problem["code"] == code
    assert problem["request"] == r.headers["X-Request-ID"]


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("content", "headers", "status", "text"),
    [
        pytest.param("{", JSON, 400, "not valid JSON", id="not json"),
        pytest.param('{"name": "ab", "size": 1}', {}, 415, "must be JSON", id="undeclared type"),
        pytest.param(
            "name=ab", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "", id="form"
        ),
        pytest.param('{"name": "a", "size": -1}', JSON, 422, "name", id="breaks the model"),
        pytest.param('{"name": "ab", "size": 1, "x": 1}', JSON, 422, "x", id="unknown member"),
        pytest.param('{"name": "taken", "size": 1}', JSON, 409, "It exists.", id="conflict"),
        pytest.param('{"name": "broken", "size": 1}', JSON, 500, "unexpected", id="our fault"),
    ],
)
async def test_refuses_bodies(client, content, headers, status, text):
    r = await client.post("api/v1/things/x", content=content, headers=ALICE | headers)
    assert r.status_code == status
    assert text in r.json()["detail"]
    assert "secret detail" not in r.text
    assert "Traceback" not in r.text


async def test_validation_names_each_field(client):
    r = await client.post("api/v1/things/x", json={"name": "a", "size": -1}, headers=ALICE)
    assert set(r.json()["errors"]) == {"name", "size"}


async def test_query_is_validated(client):
    r = await client.get("api/v1/things/x?limit=1000", headers=ALICE)
    assert (r.status_code, list(r.json()["errors"])) == (422, ["limit"])


@pytest.mark.parametrize(
    ("offered", "kept"),
    [pytest.param("abc-1", True, id="harmless"), pytest.param("a b;c", False, id="harmful")],
)
async def test_request_id_is_passed_on_when_harmless(client, offered, kept):
    r = await client.get("health", headers={"X-Request-ID": offered})
    assert (r.headers["X-Request-ID"] == offered) is kept


async def test_unknown_address_and_method(client):
    assert (await client.get("nothing")).json()["code"] == "not-found"
    assert (await client.put("api/v1/count")).json()["code"] == "method-not-allowed"


async def test_metrics_need_their_scope_and_count_requests(client):
    assert (await client.get("metrics")).status_code == 401
    await client.get("health")
    r = await client.get("metrics", headers={"Authorization": "token metrics"})
    assert (
        'gavip_http_requests_total{handler="HealthHandler",method="GET",status="200"} 1' in r.text
    )


async def test_body_larger_than_allowed_is_cut_off(client, app):
    try:
        r = await client.post("api/v1/things/x", content=b"x" * (2 << 20), headers=ALICE | JSON)
    except httpx.TransportError:
        return  # the connection is closed while the client still sends
    assert r.status_code in (400, 413)


async def test_pages_send_people_to_sign_in_with_state_and_pkce(client):
    r = await client.get("front", headers={"Sec-Fetch-Mode": "navigate"})
    assert r.status_code == 302
    url = httpx.URL(r.headers["Location"])
    assert url.host == "gavip.localhost"
    assert {"state", "code_challenge", "client_id"} <= set(url.params)
    assert "service-things-oauth-state" in r.headers["Set-Cookie"]


async def test_pages_show_errors_as_html(client):
    r = await client.get("front", headers={"Authorization": "token avi"})
    assert (r.status_code, r.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert 'role="alert"' in r.text


async def test_oauth_callback_without_state_is_refused(client):
    r = await client.get("oauth_callback?code=x")
    assert r.status_code == 400


async def test_stream_resumes_after_last_event_id(app):
    url = f"http://127.0.0.1:{app.port}{app.base_url}api/v1/count"
    async with httpx.AsyncClient(trust_env=False) as c:
        events = [e async for e in read_events(c, url, last_id="1")]
    assert [(e.id, e.event, e.data) for e in events] == [
        ("2", "count", "line 2\nsecond"),
        ("3", "count", "line 3\nsecond"),
    ]


async def test_stream_refuses_a_foreign_event_id(client):
    r = await client.get("api/v1/count", headers={"Last-Event-ID": "x'; drop"})
    assert r.status_code == 400


async def test_stream_source_is_closed_when_the_reader_goes(client, app):
    async with client.stream("GET", "api/v1/endless") as r:
        assert r.headers["X-Accel-Buffering"] == "no"
        assert app.streams.streams
    await asyncio.wait_for(app.ended.wait(), 5)
    await asyncio.wait_for(app.streams.wait_empty(), 5)


async def test_stopping_the_service_ends_streams(client, app):
    async with client.stream("GET", "api/v1/endless") as r:
        closing = asyncio.ensure_future(app.close())
        app.closed = True
        chunks = [c async for c in r.aiter_bytes()]
    await closing
    assert b"never" not in b"".join(chunks)
    assert app.ended.is_set()


async def test_a_reader_that_takes_nothing_is_dropped(app, monkeypatch):
    monkeypatch.setattr("gavip_web.sse.STALL_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port, limit=1024)
    writer.write(f"GET {app.base_url}api/v1/flood HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert b"200" in await reader.readline()
    await asyncio.wait_for(app.ended.wait(), 10)
    await asyncio.wait_for(app.streams.wait_empty(), 5)
    writer.close()


async def test_openapi_document_is_valid_and_complete(client, app):
    document = (await client.get("api/v1/openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    assert undocumented(app.api()) == []
    post = document["paths"]["/things/{name}"]["post"]
    assert {"201", "401", "403", "409", "415", "422"} <= set(post["responses"])


def test_undocumented_methods_are_found():
    from gavip_web.handlers import ApiHandler

    class Quiet(ApiHandler):
        async def get(self) -> None: ...

    api = Api("x", "1")
    api.add("/quiet", Quiet)
    assert undocumented(api) == ["Quiet.get"]
