"""The token that code of an AVI finds in its environment, used against every route of hub, portal and job queue.

Routes are those of the running programs: the hub's handlers, the services' OpenAPI documents. What may answer stands in
docs/explanation/security.md, and the test holds the two against each other in both directions.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gavip_portal.app import make_api as portal_api
from hub_config.authenticators import DemoAuthenticator
from hub_config.hub import GavipHub
from jobqueue.handlers.routes import make_api as queue_api
from tests.support import hostile_avi
from tests.support.contained import isolating_platform
from tests.support.person import Person
from tests.support.running import ROOT, RunningPlatform

pytestmark = pytest.mark.integration

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CLOSED = {401, 403, 404, 405, 424}
"""424 is the hub's answer for a server that does not run, whatever was asked."""
BODY = {
    "avi": "gavip/third", "pipeline": "run", "note": "mallory", "name": "mallory", "usernames": ["mallory"],
    "users": ["mallory"], "user": "bob", "scopes": [], "parameters": {}, "owner": "bob", "cron": "* * * * *",
}  # fmt: skip
"""What might pass for the body of some route or other."""

BODIES = {
    ("POST", "/jobs"): {"pipeline": "run"},
    ("POST", "/jobs/{job}/clone"): {"parameters": {}},
    ("POST", "/runs/{job}/progress"): {"attempt": 1, "done": 1, "total": 2},
}
"""What does, where that counts."""


@dataclass
class Theft:
    """A stolen token, and whose things there are."""

    token: str
    user: str
    instance: str
    other_instance: str
    other_user: str
    own_job: str
    foreign_jobs: tuple[str, ...]
    platform: RunningPlatform
    steps: list[tuple[str, str, int]]

    def ask(
        self, method: str, url: str, *, token: bool = True, body: Any = None
    ) -> tuple[int, str]:
        """Return status and (of finite answers) text."""
        headers = {"Authorization": f"token {self.token}"} if token else {}
        with (
            httpx.Client(trust_env=False, timeout=20) as client,
            client.stream(
                method, url, headers=headers, json=BODY if body is None else body
            ) as answer,
        ):
            endless = answer.headers.get("Content-Type", "").startswith("text/event-stream")
            return answer.status_code, "" if endless else answer.read().decode(errors="replace")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("theft")
    avis = hostile_avi.make(folder / "made")
    with isolating_platform(
        folder, avis, name="ttheft", subnet="10.221.0.0/24", archive="http://127.0.0.1:9/tap"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def theft(platform: RunningPlatform) -> Theft:
    alice, bob = Person(platform, "alice"), Person(platform, "bob")
    alice.sign_in()
    bob.sign_in()
    own, other = alice.open("gavip/hostile"), bob.open("gavip/other")
    alice.steps.clear()
    page = alice.get(own["url"])
    assert page.status_code == 200, alice.steps
    steps = list(alice.steps)
    # as the notebook's output stands in the page, quoted once more
    stolen = re.search(r'JUPYTERHUB_API_TOKEN[\\"]+: [\\"]+([\w.-]+)', page.text)
    assert stolen is not None
    return Theft(
        stolen[1],
        urlsplit(own["url"]).path.split("/")[2],
        own["id"],
        other["id"],
        urlsplit(other["url"]).path.split("/")[2],
        alice.run("gavip/hostile"),
        (alice.run("gavip/third"), bob.run("gavip/hostile")),
        platform,
        steps,
    )


def documented(service: str) -> set[str]:
    """Return the rows of the table in security.md for one service."""
    text = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    section = text.split("### What the token of an instance can do")[1].split("\n#")[0]
    rows = re.findall(r"^\| (\w+) \| `([A-Z]+ [^`]+)` \|", section, re.MULTILINE)
    return {route for of, route in rows if of == service}


def test_opening_an_avi_asks_for_no_consent(theft: Theft) -> None:
    passed = [status for _, url, status in theft.steps if "/hub/api/oauth2/authorize" in url]
    assert passed == [302]
    assert theft.steps[-1][2] == 200


# -- portal and job queue, by their OpenAPI documents --


def answered(theft: Theft, document: dict[str, Any], base: str, values: dict[str, str]) -> set[str]:
    """Return the routes that do not refuse the token."""
    found = set()
    for template in document["paths"]:
        path = re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], "x"), template)
        for method in METHODS:
            status, _ = theft.ask(method, base + path, body=BODIES.get((method, template)))
            if status not in CLOSED:
                found.add(f"{method} {template}")
    return found


def test_portal(theft: Theft) -> None:
    facts = theft.platform.facts
    values = {"job": theft.own_job, "instance": theft.instance, "owner": "gavip", "name": "hostile"}
    found = answered(theft, portal_api().document(""), facts.portal_api, values)
    assert found == documented("portal")


@pytest.mark.parametrize("whose", ["of-another-avi", "of-another-user"])
def test_portal_keeps_other_jobs(theft: Theft, whose: str) -> None:
    job = theft.foreign_jobs[whose == "of-another-user"]
    values = {"job": job, "instance": theft.other_instance, "owner": "bob", "name": "none"}
    document = portal_api().document("")
    # the id of a turn at the archive is its asker's choice, and counts for its asker only
    document["paths"] = {
        p: m for p, m in document["paths"].items() if "{" in p and "{query}" not in p
    }
    assert answered(theft, document, theft.platform.facts.portal_api, values) == set()


def test_portal_takes_user_and_avi_from_the_token(theft: Theft) -> None:
    base = theft.platform.facts.portal_api
    assert json.loads(theft.ask("GET", f"{base}/users/me")[1])["name"] == "alice"
    status, text = theft.ask("POST", f"{base}/jobs", body={"avi": "gavip/third", "pipeline": "run"})
    assert status in CLOSED or json.loads(text)["avi"] == "gavip/hostile"
    jobs = json.loads(theft.ask("GET", f"{base}/jobs?avi=gavip/third&owner=bob&limit=100")[1])
    assert not {job["id"] for job in jobs.get("items", [])} & set(theft.foreign_jobs)
    everything = json.loads(theft.ask("GET", f"{base}/jobs?limit=100")[1])["items"]
    assert {(job["owner"], job["avi"]) for job in everything} == {("alice", "gavip/hostile")}


@pytest.mark.parametrize("page", ["", "avis", "jobs", "files", "instances", "schedules", "metrics"])
def test_portal_pages_stay_closed(theft: Theft, page: str) -> None:
    status, text = theft.ask(
        "GET", f"{theft.platform.facts.portal_internal}/services/portal/{page}"
    )
    assert status in CLOSED
    assert "data-xsrf" not in text or "alice" not in text


def test_job_queue(theft: Theft) -> None:
    values = {
        "job": theft.own_job,
        "owner": "alice",
        "name": "alice",
        "reservation": f"{theft.user}/",
    }
    found = answered(theft, queue_api().document(""), theft.platform.facts.jobqueue_api, values)
    assert found == documented("jobqueue") == set()


# -- the hub, by its handlers --


def hub_routes() -> Iterator[tuple[str, type[Any]]]:
    """Yield address pattern and handler of everything that the hub serves."""
    hub = GavipHub(authenticator=DemoAuthenticator())
    hub.init_handlers()
    for pattern, handler, *_ in hub.handlers:
        if "(?!" not in pattern:
            yield pattern, handler


GROUP = re.compile(r"\((?:\?P<\w+>)?(?:[^()]|\([^()]*\))*\)")


def test_hub(theft: Theft) -> None:
    base = f"http://127.0.0.1:{theft.platform.facts.hub_port}"
    names = {"self": theft.user, "other": theft.other_user, "person": "alice"}
    found: set[str] = set()
    count = 0
    for pattern, handler in hub_routes():
        groups = GROUP.findall(pattern)
        for label, name in names.items() if groups else [("", "")]:
            path = (
                GROUP.sub("{}", pattern).rstrip("?$").format(*([name] + ["x"] * 9)[: len(groups)])
            )
            for method in METHODS:
                if method.lower() not in _implemented(handler):
                    continue
                count += 1
                with_token, _ = theft.ask(method, base + path)
                if (
                    # a handler of the hub that cannot do with what it got has given nothing away
                    with_token in CLOSED | {500}
                    or with_token == theft.ask(method, base + path, token=False)[0]
                ):
                    continue
                shown = GROUP.sub("{}", pattern).rstrip("?$").replace("{}", f"{{{label}}}", 1)
                found.add(f"{method} {shown}")
    assert count > 150
    assert found == documented("hub")


def _implemented(handler: type[Any]) -> set[str]:
    from tornado.web import RequestHandler

    return {
        m.lower()
        for m in METHODS
        if getattr(handler, m.lower()) is not getattr(RequestHandler, m.lower())
    }


def test_the_token_ends_with_the_instance(theft: Theft) -> None:
    alice = Person(theft.platform, "alice")
    alice.sign_in()
    assert alice.api("DELETE", f"instances/{theft.instance}").status_code == 204
    hub = f"http://127.0.0.1:{theft.platform.facts.hub_port}/hub/api/user"

    def gone() -> bool:
        return theft.ask("GET", hub)[0] == 403

    deadline = time.monotonic() + 30
    while not gone():
        assert time.monotonic() < deadline
        time.sleep(0.2)
