"""A signed-in person without a browser: the hub's form, then the public API with a token of the person's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from tests.support.running import RunningPlatform

T = TypeVar("T")


class Loopback(httpx.HTTPTransport):
    """Sends what is for a sub-domain of localhost to 127.0.0.1, as browsers do (RFC 6761, section 6.3)."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # another object: cookies belong to the host that was asked for
        moved = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return super().handle_request(moved)


@dataclass
class Person:
    """One person of a platform's demo accounts."""

    platform: RunningPlatform
    name: str = "alice"
    token: str = ""
    browser: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            transport=Loopback(retries=2), follow_redirects=True, timeout=60, trust_env=False
        )
    )

    def sign_in(self) -> Person:
        hub = self.platform.url
        self.browser.get(f"{hub}/hub/login")
        answer = self.browser.post(
            f"{hub}/hub/login",
            params={"_xsrf": self._xsrf},
            data={"username": self.name, "password": self.platform.passwords[self.name]},
        )
        assert answer.status_code == 200, answer.text[:500]
        made = self.browser.post(
            f"{hub}/hub/api/users/{self.name}/tokens",
            headers={"X-XSRFToken": self._xsrf, "Referer": f"{hub}/hub/token"},
            json={"note": "test"},
        )
        assert made.status_code == 201, made.text
        self.token = made.json()["token"]
        return self

    @property
    def _xsrf(self) -> str:
        return next(
            c.value or "" for c in self.browser.cookies.jar if c.name == "_xsrf" and "hub" in c.path
        )

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Call the public API."""
        return httpx.request(
            method,
            f"{self.platform.facts.portal_internal}/services/portal/api/v1/{path}",
            headers={"Authorization": f"token {self.token}"},
            json=body,
            timeout=60,
            trust_env=False,
            **options,
        )

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def allow(self, avi: str) -> Person:
        """Grant an AVI what it asks for."""
        asked = self.get(f"avis/{avi}/permissions")["asked"]
        answer = self.call("PUT", f"avis/{avi}/permissions", {"permissions": asked})
        assert answer.status_code == 200, answer.text
        return self

    def open(self, avi: str, view: str = "interface", seconds: float = 90) -> dict[str, Any]:
        """Open an AVI and return the instance once it is ready."""
        asked = self.call("POST", "instances", {"avi": avi, "view": view})
        assert asked.status_code == 202, asked.text
        return self.instance(asked.json()["id"], seconds, "ready")

    def instance(self, instance: str, seconds: float, *states: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            shown = self.get(f"instances/{instance}")
            assert shown["state"] in states or shown["state"] != "failed", shown
            return shown if shown["state"] in states else None

        return until(look, seconds)

    def run(self, avi: str, pipeline: str, **parameters: Any) -> str:
        """Submit a job and return its id."""
        body = {"avi": avi, "pipeline": pipeline, "parameters": parameters}
        answer = self.call("POST", "jobs", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job: str, seconds: float = 120) -> dict[str, Any]:
        """Return a job once it is over."""

        def look() -> dict[str, Any] | None:
            shown = self.get(f"jobs/{job}")
            return None if shown["state"] in {"queued", "starting", "running"} else shown

        return until(look, seconds)

    def page(self, url: str) -> httpx.Response:
        """Fetch a page as this person's browser does, sign-in redirects included."""
        return self.browser.get(url)


def until(look: Callable[[], T | None], seconds: float) -> T:
    """Poll until `look` returns something."""
    deadline = time.monotonic() + seconds
    while True:
        if (found := look()) is not None:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
