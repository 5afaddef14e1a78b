"""A real Docker engine for tests: images built once, everything of a test's platform removed afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from gavip_spawner.containers import LABEL_PLATFORM
from gavip_spawner.engine import connect
from tests.support.running import ROOT


def engine() -> APIClient:
    """Return a client, or skip with the reason."""
    if os.geteuid() or not shutil.which("iptables", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("the Docker back-end needs root and iptables")
    try:
        return connect()
    except DockerException as e:
        pytest.skip(f"no Docker engine answers ({str(e)[:120]})")


def need_images(*names: str) -> None:
    """Build GAVIP's images unless they are up to date."""
    subprocess.run(
        [sys.executable, "-m", "images.build", *names],
        check=True,
        timeout=1500,
        cwd=ROOT,
    )


def sweep(client: APIClient, platform: str) -> list[str]:
    """Remove every container of a platform; return their names."""
    found = client.containers(all=True, filters={"label": [f"{LABEL_PLATFORM}={platform}"]})
    for entry in found:
        with contextlib.suppress(NotFound, APIError):
            client.remove_container(entry["Id"], force=True, v=True)
    return [entry["Names"][0] for entry in found]


@contextlib.contextmanager
def swept(client: APIClient, platform: str) -> Iterator[None]:
    """Leave nothing of a platform on the engine, before and after."""
    sweep(client, platform)
    try:
        yield
    finally:
        sweep(client, platform)
