"""The container engine, through its command line: only ``gavip_spawner`` knows the library.

Owns how a program is called and what its failure reads like.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from typing import Any

from .catalogue import Failed

LABEL = "org.gavip.inputs"


def docker(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the engine's command line; its output is ours unless captured.

    Raises
    ------
    Failed
        If it is not installed, or if it fails: with the end of what it said.
    """
    done = _called(*argv, **options)
    if done.returncode:
        said = (done.stderr or done.stdout or "")[-4000:]
        raise Failed(f"`docker {argv[0]}` failed (exit code {done.returncode}).\n{said}")
    return done


def _called(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    # the classic builder takes an image's ID as a parent; BuildKit asks a registry for it
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    try:
        return subprocess.run(["docker", *argv], check=False, text=True, env=environment, **options)
    except FileNotFoundError:
        raise Failed("Docker is not installed. On Debian: apt-get install docker.io") from None


def digests(references: Iterable[str]) -> dict[str, str]:
    """Return the digest of inputs of those images that the engine has; empty for one without."""
    asked = _called("image", "inspect", *references, capture_output=True)
    # it fails when one is missing, and tells of the others all the same
    if asked.returncode and "no such image" not in asked.stderr.lower():
        raise Failed(f"The container engine does not answer.\n{asked.stderr[-1000:]}")
    found: dict[str, str] = {}
    for image in json.loads(asked.stdout or "[]"):
        labels = image["Config"].get("Labels") or {}
        found.update(dict.fromkeys(image["RepoTags"] or [], str(labels.get(LABEL, ""))))
    return found


def image_id(reference: str) -> str:
    """Return the ID of an image that the engine has."""
    asked = docker("image", "inspect", "--format", "{{.Id}}", reference, capture_output=True)
    return asked.stdout.strip()
