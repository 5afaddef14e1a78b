"""Killing the queue at random instants while its jobs run in containers: none is lost, none runs twice.

``GAVIP_SOAK=1`` (``make soak``) makes it 20 kills and 120 jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator

import pytest
from docker import APIClient

from gavip_api import __version__
from gavip_spawner.containers import Containers
from gavip_spawner.network import ensure_network, remove_network
from tests.integration.jobqueue.conftest import RUNNER, Queue, queue
from tests.support.engine import engine, need_images, swept
from tests.support.soak import soak

__all__ = ["queue"]

PLATFORM = "tqueue"
SUBNET = "10.223.0.0/24"
IMAGE = "gavip/test-runner:1"
LONG = bool(os.environ.get("GAVIP_SOAK"))
KILLS, JOBS = (20, 120) if LONG else (4, 24)
pytestmark = pytest.mark.timeout(1800 if LONG else 420)


@pytest.fixture(scope="module")
def client() -> Iterator[APIClient]:
    need_images("base")
    settings = Containers(platform=PLATFORM, subnet=SUBNET).network_settings
    with contextlib.closing(engine()) as client, swept(client, PLATFORM):
        _make_image(client)
        asyncio.run(ensure_network(client, settings))
        yield client
    with contextlib.closing(engine()) as client:
        asyncio.run(remove_network(client, settings))
        client.remove_image(IMAGE, force=True)


def _make_image(client: APIClient) -> None:
    """Put the stand-in for the runner where a container looks for ``avi.runner``."""
    made = client.create_container(f"gavip/base:{__version__}", ["true"], user="0")
    packages = "/opt/gavip/lib/python3.11/site-packages"
    try:
        client.put_archive(made["Id"], packages, _package(RUNNER.read_text()))
        client.commit(made["Id"], *IMAGE.split(":"))
    finally:
        client.remove_container(made["Id"], force=True)


def _package(runner: str) -> bytes:
    import io
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in (("avi/__init__.py", ""), ("avi/runner.py", runner)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


async def test_kills_lose_and_double_nothing(
    client: APIClient, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    (queue.state / "releases" / ("a" * 40)).mkdir(parents=True)
    options = {
        "plane_class": "gavip_spawner.docker_plane.DockerPlane",
        "Containers.platform": PLATFORM,
        "Containers.subnet": SUBNET,
        "Containers.images": f"python={IMAGE}",
    }
    figures = await soak(queue, KILLS, JOBS, options, 900 if LONG else 240)
    with capsys.disabled():
        print("\nsoak on Docker:", json.dumps(figures))
    wanted = {"label": [f"gavip.platform={PLATFORM}"]}
    assert client.containers(all=True, filters=wanted) == []
