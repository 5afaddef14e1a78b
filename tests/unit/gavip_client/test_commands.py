"""Commands made from the OpenAPI document: complete, typed, and clear when something is wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gavip_api.errors import GavipError
from gavip_client import cli, document
from gavip_client.commands import command_path, groups
from gavip_portal.app import make_api

DOCUMENT = make_api().document("/services/portal/api/v1")


def operations() -> list[tuple[str, str]]:
    methods = {"get", "post", "put", "patch", "delete"}
    return [(m, p) for p, item in DOCUMENT["paths"].items() for m in item if m in methods]


def test_every_operation_has_exactly_one_command() -> None:
    made = sum(len(group.commands) for group in groups(DOCUMENT).values())
    assert made == len(operations())


def test_every_command_and_option_has_a_help_text() -> None:
    silent = [
        f"{group} {name}"
        for group, commands in groups(DOCUMENT).items()
        for name, command in commands.commands.items()
        if not command.help
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("get", "/jobs", ("jobs", "list")),
        ("get", "/jobs/{job}", ("jobs", "show")),
        ("post", "/jobs", ("jobs", "create")),
        ("post", "/jobs/{job}/cancel", ("jobs", "cancel")),
        ("get", "/jobs/{job}/log", ("jobs", "log")),
        ("delete", "/instances/{instance}", ("instances", "delete")),
        ("delete", "/instances", ("instances", "delete-all")),
        ("get", "/avis/{owner}/{name}/releases", ("avis", "releases")),
        ("put", "/pools/{owner}/limits", ("pools", "limits-set")),
    ],
)
def test_names(method: str, path: str, expected: tuple[str, str]) -> None:
    assert command_path(method, path) == expected


class Platform(BaseHTTPRequestHandler):
    """Answers with what each test set, and remembers what it was asked."""

    asked: list[dict[str, Any]] = []
    answer: tuple[int, Any] = (200, {})

    def do(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if self.path.endswith("/openapi.json"):
            status, data = 200, DOCUMENT
        else:
            type(self).asked.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "host": self.headers["Host"],
                    "token": self.headers.get("Authorization"),
                    "body": json.loads(body) if body else None,
                }
            )
            status, data = self.answer
        if isinstance(data, bytes):
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(data)
            return
        sent = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_DELETE = do  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Platform.asked = []
    monkeypatch.setattr(document.platformdirs, "user_cache_dir", lambda _: str(tmp_path))
    server = HTTPServer(("127.0.0.1", 0), Platform)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://portal.gavip.localhost:{server.server_port}/services/portal/api/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def gavip(url: str, *argv: str) -> Result:
    return CliRunner().invoke(cli.gavip, ["--url", url, "--token", "t0k", *argv])


def test_a_listing_is_a_table(url: str) -> None:
    Platform.answer = (
        200,
        {"items": [{"id": "j1", "state": "queued", "title": "A\x1b[31mB"}], "next": None},
    )
    result = gavip(url, "jobs", "list", "--limit", "5")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].split() == ["id", "state", "title"]
    assert "\x1b" not in result.output
    asked = Platform.asked[0]
    assert asked["path"] == "/services/portal/api/v1/jobs?limit=5"
    assert asked["token"] == "token t0k"
    assert asked["host"].startswith("portal.gavip.localhost:")


def test_things_within_a_thing_are_named(url: str) -> None:
    holders = [{"id": "job:1", "title": "Job A\x1b[31m"}, {"id": "job:2", "kind": "job"}]
    Platform.answer = (200, {"id": "j1", "waiting": {"holders": holders}, "outputs": []})
    lines = gavip(url, "jobs", "show", "j1").output.splitlines()
    assert lines[1:] == ["waiting:", "  holders: Job A�[31m, job", "outputs  –"]


def test_a_body_is_typed(url: str) -> None:
    Platform.answer = (201, {"id": "j1"})
    result = gavip(url, "jobs", "create", "--avi", "gavip/gavidav", "--pipeline", "hr-diagram",
                   "--parameters", '{"ra": 1.5}', "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"id": "j1"}
    assert Platform.asked[0]["body"] == {
        "avi": "gavip/gavidav",
        "pipeline": "hr-diagram",
        "parameters": {"ra": 1.5},
    }


def test_a_path_parameter_stays_one_segment(url: str) -> None:
    Platform.answer = (200, {})
    gavip(url, "jobs", "show", "../users/me")
    assert Platform.asked[0]["path"] == "/services/portal/api/v1/jobs/..%2Fusers%2Fme"


PIECES = [
    {"attempt": 1, "offset": 0, "text": "one\nt"},
    {"attempt": 1, "offset": 5, "text": "wo\n"},
]
LOG = ": \n\n" + "".join(
    f"id: {n}\nevent: log\ndata: {json.dumps(p)}\n\n" for n, p in enumerate(PIECES)
)


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        pytest.param([], "one\ntwo\n", id="for reading"),
        pytest.param(["--json"], "".join(f"{json.dumps(p)}\n" for p in PIECES), id="JSON"),
    ],
)
def test_a_log_is_followed(url: str, options: list[str], printed: str) -> None:
    Platform.answer = (200, LOG.encode())
    result = gavip(url, "jobs", "log", "j1", "--follow", *options)
    assert (result.exit_code, result.output) == (0, printed)
    assert Platform.asked[0]["path"] == "/services/portal/api/v1/jobs/j1/log?follow=true"


def test_a_missing_option_is_clicks_own_message(url: str) -> None:
    result = gavip(url, "jobs", "create")
    assert result.exit_code == 2
    assert "--pipeline" in result.output
    assert Platform.asked == []


def test_a_refusal_is_cause_and_next_step(url: str) -> None:
    Platform.answer = (404, {"detail": "There is no such job.", "hint": "List yours."})
    result = gavip(url, "jobs", "show", "x")
    assert isinstance(result.exception, GavipError)
    assert (result.exception.message, result.exception.hint) == (
        "There is no such job.",
        "List yours.",
    )


def test_help_works_offline_once_seen(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gavip(url, "jobs", "--help").exit_code == 0

    def down(_: str) -> dict[str, Any]:
        raise GavipError("no network")

    monkeypatch.setattr(document, "fetch", down)
    result = gavip(url, "jobs", "cancel", "--help")
    assert result.exit_code == 0
    assert "JOB" in result.output
    assert "jobs" in gavip(url, "--help").output
