"""Where what runs finds its folders and programs: on the host itself, or inside a container.

Owns the only difference between the back-ends that spec builders see. Invariant: inside a container
nothing reveals a path of the host, and the paths are the same for every user, AVI and job.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RELEASE = "/gavip/release"
PARAMETERS = "/gavip/parameters.json"
USER_SPACE = "/userspace"
SCRATCH = "/tmp"  # noqa: S108 - a tmpfs inside the container, of nobody else
HOME = "/home/avi"
"""Scratch in AVIs and jobs (a tmpfs); the persistent HOME in a person's Lab."""


@dataclass(frozen=True)
class Mount:
    """A folder or file that is visible to what runs.

    Parameters
    ----------
    source : str
        On the host. No part of it may be replaceable by a user (see :class:`Owned`).
    target : str
        As seen by what runs; the process back-end has no mounts, so both are the same there.
    read_only : bool
    """

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class Owned:
    """A path that must exist, with its owner, before anything is mounted.

    Invariant of all of them together: every folder above a mounted one belongs to the platform and lets
    nobody else rename or replace what it holds, so that a mount by path cannot be led elsewhere by a
    planted symbolic link. A user-space itself is writable with the sticky bit: what the platform
    made in it stays where it is.

    Parameters
    ----------
    path : str
        On the host.
    user : bool
        Whether it belongs to the account of user code instead of the platform.
    mode : int
        Permission bits.
    file : bool
        A file that exists already, which is only handed over.
    """

    path: str
    user: bool
    mode: int
    file: bool = False


class Placement(ABC):
    """Maps what a builder wants to show to where it is seen.

    Attributes
    ----------
    python : str
        Interpreter.
    contained : bool
        Whether the host is out of sight.
    """

    python: str
    contained: bool

    @abstractmethod
    def of(self, source: Path, target: str) -> str:
        """Return where `source`, which a container shows as `target`, is seen."""

    def environment(self, platform: Mapping[str, str]) -> dict[str, str]:
        """Return what user code may inherit of the platform's environment."""
        return {k: platform[k] for k in self._passed_on if k in platform}

    _passed_on: tuple[str, ...] = ()


class OnHost(Placement):
    """The process back-end: everything is where it is.

    Parameters
    ----------
    python : str
        Interpreter; default: the platform's own.
    """

    contained = False
    _passed_on = (
        "PATH",
        "LANG",
        "LC_ALL",
        "TZ",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "JUPYTER_PATH",
        "JUPYTER_CONFIG_PATH",
    )

    def __init__(self, python: str = sys.executable) -> None:
        self.python = python

    def of(self, source: Path, target: str) -> str:
        """Return the source."""
        return str(source)


class InContainer(Placement):
    """The container back-ends: fixed paths; PATH, certificates and the rest are the image's."""

    contained = True
    python = "/opt/gavip/bin/python"

    def of(self, source: Path, target: str) -> str:
        """Return the target."""
        return target
