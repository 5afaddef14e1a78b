"""The person whom AVIs attack: signed in with a real browser, and what is theirs, observed where it is kept."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import BrowserContext, Page

from tests.support.running import RunningPlatform

JSON = dict[str, Any]


@dataclass
class Victim:
    """A person with their browser.

    Parameters
    ----------
    platform : RunningPlatform
        Where they work.
    context : BrowserContext
        Their browser's profile.
    name : str
        Who they are.
    page : Page
        A page of the portal, from which they do things themselves.
    """

    platform: RunningPlatform
    context: BrowserContext
    name: str
    page: Page
    opened: dict[str, JSON] = field(default_factory=dict)

    @property
    def lab(self) -> str:
        """Address of their JupyterLab."""
        return self.platform.facts.user_url.format(user=self.name)

    def sign_in(self) -> None:
        """Sign in from the address that `gavip up` prints."""
        self.page.goto(self.platform.url)
        self.page.get_by_label("Username").fill(self.name)
        self.page.get_by_label("Password").fill(self.platform.passwords[self.name])
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.platform.portal}**")

    def api(self, method: str, path: str, body: Any = None) -> JSON:
        """Call the portal's API from the portal's own page, as its scripts do; return status and body."""
        answer: JSON = self.page.evaluate(
            """async ([method, url, body]) => {
              const token = document.querySelector('[data-xsrf]').dataset.xsrf
              const answer = await fetch(url, {method, headers: {'Content-Type': 'application/json',
                'X-XSRFToken': token}, body: body === null ? undefined : JSON.stringify(body)})
              return {status: answer.status, body: await answer.json().catch(() => null)}
            }""",
            [method, f"{self.platform.portal}api/v1/{path}", body],
        )
        return answer

    def open_avi(self, name: str) -> JSON:
        """Open an AVI; return the instance once it is ready."""
        asked = self.api("POST", "instances", {"avi": f"gavip/{name}"})
        assert asked["status"] == 202, asked
        deadline = time.monotonic() + 90
        while (found := self.api("GET", f"instances/{asked['body']['id']}")["body"])[
            "state"
        ] != "ready":
            assert found["state"] in {"requested", "starting"}, found
            assert time.monotonic() < deadline, found
            self.page.wait_for_timeout(200)
        self.opened[name] = found
        return dict(found)

    def ask(self, url: str) -> httpx.Response:
        """GET `url` with the cookies that their browser would send, past its protections."""
        parts = urlsplit(url)
        cookies = "; ".join(f"{c['name']}={c['value']}" for c in self.context.cookies(url))
        return httpx.get(
            f"http://127.0.0.1:{parts.port}{parts.path}{'?' + parts.query if parts.query else ''}",
            headers={"Host": parts.netloc, "Cookie": cookies},
            trust_env=False,
            timeout=20,
        )

    def _rows(self, database: str, query: str, *values: Any) -> list[Any]:
        file = self.platform.state / "run" / database
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10) as connection:
            return connection.execute(query, values).fetchall()

    def sessions(self) -> set[str]:
        """Return the ids of the browser sessions for which the hub issued tokens."""
        rows = self._rows("hub.sqlite", "SELECT DISTINCT session_id FROM api_tokens")
        return {str(row[0]) for row in rows}

    def belongings(self) -> JSON:
        """Return everything of theirs that an attack could change, as the platform's own records have it."""
        return {
            # tokens of OAuth clients and servers come and go with pages that the browser opens
            "tokens": self._rows(
                "hub.sqlite",
                "SELECT count(*) FROM api_tokens"
                " WHERE client_id = 'jupyterhub' AND coalesce(note, '') NOT LIKE 'Server at%'",
            ),
            "users": self._rows("hub.sqlite", "SELECT name, admin FROM users ORDER BY name"),
            "servers": self._rows(
                "hub.sqlite",
                "SELECT u.name FROM users u JOIN spawners s ON s.user_id = u.id"
                " WHERE s.server_id IS NOT NULL ORDER BY u.name",
            ),
            "shares": self._rows("hub.sqlite", "SELECT count(*) FROM shares"),
            "instances": self._rows("portal.sqlite", "SELECT id, state FROM instances ORDER BY id"),
            "jobs": self._rows("jobqueue.db", "SELECT id, state FROM jobs ORDER BY id"),
            "schedules": self._rows("jobqueue.db", "SELECT count(*) FROM schedules"),
            "files": sorted(self._files()),
        }

    def _files(self) -> Iterator[str]:
        root = self.platform.userspace(self.name)
        for path in root.rglob("*"):
            relative = path.relative_to(root).as_posix()
            if not re.search(r"(^|/)\.", relative):
                yield relative

    def who_am_i(self) -> tuple[str, str]:
        """Return who the browser is signed in as, at the hub and at the portal, with the cookies it has now."""
        page = self.context.new_page()
        try:
            page.goto(f"{self.platform.url}/hub/home")
            hub = page.evaluate("window.jhdata ? window.jhdata.user : ''")
            page.goto(self.platform.portal)
            portal = page.evaluate(
                f"fetch('{self.platform.portal}api/v1/users/me').then(a => a.json()).then(m => m.name)"
            )
        finally:
            page.close()
        return hub, portal
