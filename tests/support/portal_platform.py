"""The portal between a fake hub and a fake job queue, for tests and for looking at its pages while they are made.

``python -m tests.support.portal_platform PORT STATE`` serves the portal on 127.0.0.1:PORT with an example AVI and jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from traitlets.config import Config

from gavip_portal.app import PortalApp

from .portal_hub import PORTAL_TOKEN, FakeHub
from .portal_queue import FakeQueue, now

MANIFEST = """\
avi: 1
name: demo
title: Demonstration of the portal
description: Density map and Hertzsprung-Russell diagram of a cone of real Gaia stars, to look at the pages.
authors: [Ada Lovelace, Grace Hopper]
keywords: [gaia, hr diagram, clusters]
license: BSD-3-Clause
interface: app.ipynb
pipelines:
  hr-diagram:
    title: HR diagram of a cone
    description: Queries the archive for a cone, cleans the rows, and writes FITS, PNG and a report.
    notebook: pipelines/hr.ipynb
    parameters:
      ra: {type: number, title: Right ascension, minimum: 0, maximum: 360, unit: deg, default: 56.75}
      dec: {type: number, title: Declination, minimum: -90, maximum: 90, unit: deg, default: 24.12}
      radius: {type: number, exclusiveMinimum: 0, maximum: 10, unit: deg, default: 1.0, description: Of the cone.}
      rows: {type: integer, minimum: 1, maximum: 100000, description: Most rows to read.}
      colour: {type: string, enum: [viridis, plasma, magma], default: viridis, title: Colour map}
      clean: {type: boolean, default: true, title: Remove bad astrometry}
  count:
    title: Count the stars of a cone
    notebook: pipelines/hr.ipynb
"""


def notebook(heading: str) -> str:
    """Return a notebook with one heading."""
    cell = {"cell_type": "markdown", "metadata": {}, "source": [f"# {heading}\n", "Text."]}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def write_example(folder: Path, manifest: str = MANIFEST) -> Path:
    """Write an example AVI below `folder` and return its own folder."""
    avi = folder / "demo"
    (avi / "pipelines").mkdir(parents=True, exist_ok=True)
    (avi / "avi.yaml").write_text(manifest)
    (avi / "app.ipynb").write_text(notebook("Explore a cone"))
    (avi / "dashboard_density.ipynb").write_text(notebook("Density **map**"))
    (avi / "pipelines" / "hr.ipynb").write_text(notebook("HR"))
    (avi / "README.md").write_text(
        "# Demo\n\nReads *real* rows.\n\n| column | unit |\n|---|---|\n| ra | deg |\n\n"
        "<script>alert(1)</script>\n\n[bad](javascript:alert(1)) [good](https://www.cosmos.esa.int/gaia)\n"
    )
    (avi / "__pycache__").mkdir(exist_ok=True)
    (avi / "__pycache__" / "x.pyc").write_bytes(b"junk")
    return avi


def png(width: int = 240, height: int = 180) -> bytes:
    """Return a small picture with a gradient."""
    rows = b"".join(
        b"\0" + bytes(c for x in range(width) for c in (11, 29 + y // 2, 58 + x // 2))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@dataclass
class Platform:
    """What runs."""

    app: PortalApp
    hub: FakeHub
    queue: FakeQueue
    url: str
    state: Path

    def userspace(self, user: str) -> Path:
        """Return a user's files."""
        folder = self.state / "userspace" / user
        folder.mkdir(parents=True, exist_ok=True)
        return folder


async def allow(client: httpx.AsyncClient, avi: str = "gavip/demo") -> None:
    """Allow an AVI what it asks, as its user does before opening it for the first time."""
    asked = (await client.get(f"avis/{avi}/permissions")).json()["asked"]
    answer = await client.put(f"avis/{avi}/permissions", json={"permissions": asked})
    assert answer.status_code == 200, answer.text


@contextlib.asynccontextmanager
async def running_portal(
    state: Path, *, port: int = 0, host: str = "127.0.0.1", **traits: Any
) -> AsyncIterator[Platform]:
    """Run the portal with its two stand-ins; further keywords are traits of the portal."""
    hub, queue = FakeHub(), FakeQueue()
    hub.listen(host=host)
    queue.listen()
    environment = {
        "JUPYTERHUB_API_TOKEN": PORTAL_TOKEN,
        "JUPYTERHUB_CLIENT_ID": "service-portal",
        "JUPYTERHUB_HOST": hub.url,
        "JUPYTERHUB_BASE_URL": "/",
    }
    settings = Config()
    settings.PortalApp.update(
        {
            "state_dir": str(state),
            "hub_api_url": f"{hub.url}/hub/api",
            "hub_public_url": f"{hub.url}/hub/",
            "user_url_template": hub.url + "/user/{user}/",
            "jobqueue_url": queue.url,
            "bind_url": f"http://{host}:{port}",
            "cookie_secret": b"s" * 32,
            "example_folders": [str(state / "examples" / "*")],
            "reconcile_seconds": 600.0,
            **traits,
        }
    )
    with mock.patch.dict(os.environ, environment):
        app = PortalApp(config=settings)
        await app.open()
        hub.portal_url = f"http://{host}:{app.port}/services/portal/"
        try:
            yield Platform(app, hub, queue, hub.portal_url, state)
        finally:
            await app.close()
            await queue.close()
            await hub.close()


def fill(platform: Platform) -> dict[str, str]:
    """Put jobs and files of ``ada`` in, and return the ids of the jobs by state."""
    product = "avis/gavip.demo/hr-diagram-20261121T201500Z-0a1b2c3d"
    folder = platform.userspace("ada") / product
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hr.png").write_bytes(png())
    (folder / "density.png").write_bytes(png(320, 200))
    (folder / "stars.fits").write_bytes(b"SIMPLE  =" + b" " * 200_000)
    (folder / "report <b>1.html").write_text("<script>alert(1)</script>")
    queue = platform.queue
    done = queue.add(
        "ada",
        state="succeeded",
        created=now(4000),
        started=now(3990),
        ended=now(3900),
        product=product,
        outputs=["hr.png", "density.png", "stars.fits", "report <b>1.html"],
    )
    failed = queue.add(
        "ada",
        state="failed",
        created=now(700),
        started=now(690),
        ended=now(650),
        progress={"done": 2, "total": 5, "task": "Query"},
        error={
            "code": "adql-syntax",
            "message": "The archive refused the query: column parallaxx does not exist.",
            "hint": "Correct the column name; did you mean parallax?",
            "cell": 3,
            "task": "Query the archive",
        },
    )
    waiting = queue.add(
        "ada",
        created=now(30),
        position=2,
        waiting_for="Your pool has 0.5 GiB free; the job needs 1 GiB.",
    )
    runs = queue.add(
        "ada",
        state="running",
        created=now(50),
        started=now(40),
        progress={"done": 3, "total": 7, "task": "Compute absolute magnitudes"},
    )
    for job in (done, failed, runs):
        queue.logs[job["id"]] = "".join(f"20:15:{n:02} cell {n} finished\n" for n in range(12))
    return {
        "succeeded": done["id"],
        "failed": failed["id"],
        "queued": waiting["id"],
        "running": runs["id"],
    }


async def _main(port: int, state: Path) -> None:
    write_example(state / "examples")
    async with running_portal(state, port=port) as platform:
        platform.hub.step_seconds = 2
        print(json.dumps({"url": platform.url, "jobs": fill(platform)}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2]).absolute()))
