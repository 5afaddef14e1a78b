"""A stand-in for the hub's OAuth and activity API, so that an interface server can be tested without a hub.

Run as ``python fake_hub.py PORT``. It signs in everybody who asks as ``tester``, or as ``stranger`` (who holds no
access scope) when the cookie ``as`` says so. ``GET /seen`` lists the activity reports.
"""

from __future__ import annotations

import asyncio
import json
import sys
from urllib.parse import urlencode

from jupyterhub._version import __version__ as hub_version
from tornado import web

SEEN: list[dict] = []
STRANGERS: set[str] = set()


class Root(web.RequestHandler):
    def get(self) -> None:
        self.set_header("X-JupyterHub-Version", hub_version)
        self.write({"version": hub_version})


class Authorize(web.RequestHandler):
    def get(self) -> None:
        code = "stranger" if self.get_cookie("as") == "stranger" else "tester"
        query = urlencode({"code": code, "state": self.get_argument("state")})
        self.redirect(f"{self.get_argument('redirect_uri')}?{query}")


class Token(web.RequestHandler):
    def post(self) -> None:
        self.write({"access_token": f"token-{self.get_argument('code')}", "token_type": "Bearer"})


class User(web.RequestHandler):
    def get(self) -> None:
        token = self.request.headers.get("Authorization", "").split(" ")[-1]
        if not token.startswith("token-"):
            self.set_status(403)
            return
        name = token.removeprefix("token-")
        scopes = ["access:servers"] if name == "tester" else ["self"]
        self.write({"kind": "user", "name": name, "scopes": scopes, "groups": [], "admin": False})


class Activity(web.RequestHandler):
    def post(self) -> None:
        SEEN.append(
            {"auth": self.request.headers.get("Authorization"), **json.loads(self.request.body)}
        )


class Seen(web.RequestHandler):
    def get(self) -> None:
        self.write({"seen": SEEN})


async def main(port: int) -> None:
    app = web.Application(
        [
            ("/hub/api/?", Root),
            ("/hub/api/oauth2/authorize", Authorize),
            ("/hub/api/oauth2/token", Token),
            ("/hub/api/user", User),
            ("/hub/api/users/.*/activity", Activity),
            ("/seen", Seen),
        ]
    )
    app.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
