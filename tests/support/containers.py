"""One-off containers, restricted as those of user code are; through the engine's command line."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from gavip_api import __version__

RESTRICTED = (
    "--rm", "--user", "1000", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--network", "none", "--tmpfs", "/tmp:rw,nosuid,nodev,mode=1777,size=256m",
    "--tmpfs", "/home/avi:rw,exec,nosuid,nodev,size=256m,mode=700,uid=1000,gid=1000",
)  # fmt: skip


def reference(name: str) -> str:
    """Return what the image `name` of this version is called."""
    return f"gavip/{name}:{__version__}"


def need_image(name: str) -> str:
    """Return the image's reference; skip the test where there is no engine or no such image."""
    if not shutil.which("docker"):
        pytest.skip("Docker is not installed")
    asked = subprocess.run(
        ["docker", "image", "inspect", reference(name)], capture_output=True, text=True, check=False
    )
    if asked.returncode and "no such image" in asked.stderr.lower():
        pytest.skip(f"{reference(name)} is not built: make images NAMES={name}")
    if asked.returncode:
        pytest.skip(f"no container engine answers: {asked.stderr.strip()[:200]}")
    return reference(name)


def run(
    name: str,
    argv: Sequence[str],
    *,
    options: Sequence[str] = (),
    stdin: str = "",
    limit: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run one command in a restricted container of an image; the caller judges its exit code.

    The container has a name of its own, and is removed even when the command does not end in time.
    """
    container = f"gavip-test-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        return subprocess.run(
            ["docker", "run", "--interactive", "--name", container, *RESTRICTED, *options,
             need_image(name), *argv],
            input=stdin, capture_output=True, text=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)
        raise
