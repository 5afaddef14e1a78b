"""Platforms whose user code runs in containers; without an engine, the same platform on the process back-end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gavip_api import __version__
from tests.conftest import NO_SKIP
from tests.support.engine import engine, need_images, swept
from tests.support.running import RunningPlatform, running_platform

LIGHT = "avi-light"
"""The smallest image that runs AVIs and jobs."""


@contextlib.contextmanager
def contained_platform(
    folder: Path,
    examples: Sequence[Path],
    *,
    name: str,
    subnet: str,
    images: Mapping[str, str] | None = None,
    config: Sequence[str] = (),
    options: Sequence[str] = (),
    **more: Any,
) -> Iterator[RunningPlatform]:
    """Start one called `name` on `subnet`; `images` names what templates run in, by default what operators get."""
    chosen = dict(images or {"python": "avi-python", "lab": "avi-lab"})
    client = engine()
    need_images(*sorted(set(chosen.values())))
    tagged = {template: f"gavip/{image}:{__version__}" for template, image in chosen.items()}
    file = folder / "docker_config.py"
    lines = (f"c.Containers.platform = {name!r}", f"c.Containers.images = {tagged!r}", *config)
    file.write_text("\n".join(lines) + "\n")
    docker = ("--backend", "docker", "--subnet", subnet, "--config", str(file))
    with (
        contextlib.closing(client),
        swept(client, name),
        running_platform(folder, examples, options=(*docker, *options), **more) as running,
    ):
        yield running


@contextlib.contextmanager
def isolating_platform(
    folder: Path, examples: Sequence[Path], *, name: str, subnet: str, **more: Any
) -> Iterator[RunningPlatform]:
    """Start one in containers of the light image where there is an engine, else one of processes."""
    try:
        engine().close()
    except pytest.skip.Exception:
        if NO_SKIP:
            raise
        with running_platform(folder, examples, **more) as running:
            yield running
        return
    images = {"python": LIGHT, "lab": "avi-lab"}
    with contained_platform(
        folder, examples, name=name, subnet=subnet, images=images, **more
    ) as running:
        yield running
