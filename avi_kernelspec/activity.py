"""Telling the hub when this server was last used, so that idle instances can be stopped.

Activity is a request, a message to or from a kernel, a page that is open, or a kernel that works. A failed report is
logged and the next one tries again: the hub going away must not stop an AVI.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from datetime import datetime, timezone

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest

log = logging.getLogger("avi.activity")

INTERVAL = 60.0
"""Seconds between two reports, give or take a tenth: reports of many servers should not meet."""


def body(server_name: str, last: datetime) -> bytes:
    """Return the report, as the hub's REST API takes it (``POST /users/{name}/activity``)."""
    when = last.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    return json.dumps(
        {"servers": {server_name: {"last_activity": when}}, "last_activity": when}
    ).encode()


async def report_forever(
    url: str, token: str, server_name: str, last_activity: Callable[[], datetime]
) -> None:
    """Report until cancelled; only what is newer than the last report is sent."""
    client = AsyncHTTPClient()
    sent: datetime | None = None
    while True:
        last = last_activity()
        if sent is None or last > sent:
            request = HTTPRequest(
                url,
                method="POST",
                body=body(server_name, last),
                headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
                request_timeout=10,
            )
            try:
                await client.fetch(request)
                sent = last
            except (HTTPError, OSError) as e:
                log.warning("the hub did not take the activity report: %s", e)
        await asyncio.sleep(INTERVAL * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, no secret
