from __future__ import annotations

import json

import httpx
import pytest

from avi import errors
from avi.net import is_localhost, loopback_url
from avi.portal import Portal

JOB = {
    "id": "0190f5a2-0000-7000-8000-000000000001", "owner": "ada", "avi": "o/tiny", "release": "abc",
    "pipeline": "double",
    "title": "Double", "parameters": {"x": 1}, "resources": {"memory": 1, "cpu": 1}, "time_limit": 60,
    "state": "queued", "created": "2026-11-21T20:00:00Z",
}  # fmt: skip


def portal(handler):
    made = Portal("http://portal.gavip.localhost:8000/services/portal/api/v1", "s3cret")
    made._http = httpx.Client(
        base_url=made._http.base_url,
        headers=made._http.headers,
        transport=httpx.MockTransport(handler),
    )
    return made


def test_submit_sends_token_and_body():
    seen = {}

    def handler(request):
        seen.update(
            auth=request.headers["Authorization"],
            path=request.url.path,
            body=json.loads(request.content),
        )
        return httpx.Response(201, json=JOB)

    assert portal(handler).submit("double", {"x": 1}).state == "queued"
    assert seen == {
        "auth": "token s3cret",
        "path": "/services/portal/api/v1/jobs",
        "body": {"pipeline": "double", "parameters": {"x": 1}},
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, errors.Forbidden), (404, errors.NotFound), (409, errors.Conflict), (422, errors.InvalidInput),
     (500, errors.PlatformUnavailable), (503, errors.PlatformUnavailable)],
)  # fmt: skip
def test_problems_become_our_errors(status, kind):
    body = {"detail": "The cause.", "hint": "The next step.", "errors": {"x": "is too large"}}
    with pytest.raises(kind) as caught:
        portal(lambda r: httpx.Response(status, json=body)).job("1")
    assert (caught.value.message, caught.value.hint, caught.value.detail) == (
        "The cause.",
        "The next step.",
        {"x": "is too large"},
    )


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'"x"'])
def test_an_answer_that_is_no_problem_object_is_survived(content):
    with pytest.raises(errors.PlatformUnavailable):
        portal(lambda r: httpx.Response(502, content=content)).job("1")


def test_no_connection_is_explained_without_the_token():
    def handler(request):
        raise httpx.ConnectError("refused token s3cret")

    with pytest.raises(errors.PlatformUnavailable) as caught:
        portal(handler).jobs(5)
    assert "s3cret" not in json.dumps(caught.value.problem())


def test_events_are_resumed_after_the_last_one():
    seen = {}

    def handler(request):
        seen["last"] = request.headers.get("Last-Event-ID")
        event = {
            "seq": 8,
            "job": JOB["id"],
            "time": "2026-11-21T20:00:00Z",
            "kind": "state",
            "state": "running",
        }
        text = f": keep-alive\n\nid: 8\ndata: {json.dumps(event)}\n\n"
        return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})

    assert [e.seq for e in portal(handler).events("1", 7)] == [8]
    assert seen["last"] == "7"


@pytest.mark.parametrize(
    ("url", "to", "host"),
    [
        (
            "http://portal.gavip.localhost:8000/x?y=1",
            "http://127.0.0.1:8000/x?y=1",
            "portal.gavip.localhost:8000",
        ),
        ("http://a.localhost/", "http://127.0.0.1/", "a.localhost"),
        ("http://example.org:80/", "http://example.org:80/", None),
        ("http://evil-localhost/", "http://evil-localhost/", None),
        ("https://a.localhost/", "https://a.localhost/", None),
    ],
)
def test_localhost_names_go_to_loopback(url, to, host):
    assert loopback_url(url) == (to, host)


def test_only_names_below_localhost():
    assert is_localhost("a.LOCALHOST.")
    assert not is_localhost("localhost.evil.org")
    assert not is_localhost(None)
