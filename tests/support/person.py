"""A person without a browser: signs in and follows redirects across the platform's hosts, and remembers every step."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from tests.support.running import RunningPlatform

T = TypeVar("T")


@dataclass
class Person:
    """Somebody with an account.

    Attributes
    ----------
    cookies : dict
        By host; host-bound ones, for the platform sets no others.
    steps : list
        Method, URL and status of every request.
    """

    platform: RunningPlatform
    name: str = "alice"
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    steps: list[tuple[str, str, int]] = field(default_factory=list)
    xsrf: str = ""

    def ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send one request to a host of the platform, whose names only browsers resolve (RFC 6761)."""
        parts = urlsplit(url)
        jar = self.cookies.setdefault(parts.hostname or "", {})
        headers = {"Host": parts.netloc, "Cookie": "; ".join(f"{k}={v}" for k, v in jar.items())}
        answer = httpx.request(
            method,
            parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl(),
            headers=headers | more.pop("headers", {}),
            trust_env=False,
            timeout=60,
            **more,
        )
        for cookie in answer.headers.get_list("Set-Cookie"):
            assert "domain=" not in cookie.lower(), f"{url} sets a cookie for the whole domain"
            name, _, value = cookie.partition(";")[0].partition("=")
            jar[name] = value
        self.steps.append((method, url, answer.status_code))
        return answer

    def get(self, url: str) -> httpx.Response:
        """GET and follow redirects; the answer's ``extensions["url"]`` is where that ended."""
        for _ in range(20):
            answer = self.ask("GET", url)
            if "Location" not in answer.headers:
                answer.extensions["url"] = url
                return answer
            url = urljoin(url, answer.headers["Location"])
        raise AssertionError(f"too many redirects: {self.steps[-20:]}")

    def sign_in(self) -> Person:
        """Sign in at the hub's form, and end at the portal."""
        page = self.get(self.platform.url)
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        assert token is not None
        password = self.platform.passwords[self.name]
        form = {"username": self.name, "password": password, "_xsrf": unescape(token[1])}
        answer = self.ask("POST", f"{self.platform.url}/hub/login", data=form)
        assert answer.status_code == 302, answer.text
        home = self.get(urljoin(self.platform.url, answer.headers["Location"]))
        found = re.search(r'data-xsrf="([^"]+)"', home.text)
        assert found is not None, self.steps
        self.xsrf = found[1]
        return self

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Call the portal's API as its pages do."""
        headers = {
            "X-XSRFToken": self.xsrf,
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "cors",
        }
        return self.ask(
            method, f"{self.platform.portal}api/v1/{path}", headers=headers, json=body or {}
        )

    def show(self, path: str) -> Any:
        """Return what the API shows at `path`."""
        answer = self.api("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def allow(self, avi: str) -> Person:
        """Grant an AVI what it asks for."""
        asked = self.show(f"avis/{avi}/permissions")["asked"]
        answer = self.api("PUT", f"avis/{avi}/permissions", {"permissions": asked})
        assert answer.status_code == 200, answer.text
        return self

    def open(self, avi: str, seconds: float = 90) -> dict[str, Any]:
        """Open an AVI; return the instance once it is ready."""
        asked = self.api("POST", "instances", {"avi": avi})
        assert asked.status_code == 202, asked.text

        def look() -> dict[str, Any] | None:
            found = self.show(f"instances/{asked.json()['id']}")
            assert found["state"] in {"requested", "starting", "ready"}, found
            return dict(found) if found["state"] == "ready" else None

        return until(look, seconds)

    def run(self, avi: str, pipeline: str = "run", **parameters: Any) -> str:
        """Submit a job; return its id."""
        body = {"avi": avi, "pipeline": pipeline, "parameters": parameters}
        answer = self.api("POST", "jobs", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job: str, seconds: float = 120) -> dict[str, Any]:
        """Return a job once it is over."""

        def look() -> dict[str, Any] | None:
            shown = self.show(f"jobs/{job}")
            return None if shown["state"] in {"queued", "starting", "running"} else dict(shown)

        return until(look, seconds)


def until(look: Callable[[], T | None], seconds: float) -> T:
    """Poll until `look` returns something."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
    return found
