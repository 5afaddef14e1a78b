"""How much of a user-space is used: as its disk says, or else counted within bounds and remembered for a while.

Invariant: counting follows no link and ends within its bounds; what is beyond them makes the figure a
lower limit, and it says so.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from gavip_api.errors import GavipError
from gavip_api.models import UserSpaceUsage
from gavip_portal.safe_paths import open_folder
from gavip_spawner.disks import DiskUsage, disk_usage

REMEMBERED = 60.0
MAX_ENTRIES = 100_000
MAX_SECONDS = 0.5
_MAX_LEVELS = 64
_MAX_REMEMBERED = 1000

WARNING_SHARE = 0.8
_FULL_BYTES = 64 * 1024
"""A disk with less left than this is full to whoever wants to save a notebook."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UsageMeter:
    """Answers how much is used.

    Parameters
    ----------
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Path, tuple[float, UserSpaceUsage]] = {}

    def of(self, root: Path) -> UserSpaceUsage:
        """Return how much of a user-space is used."""
        disk = disk_usage(root)
        if disk is not None:
            return from_disk(disk)
        at, usage = self._known.get(root, (-REMEMBERED, None))
        if usage is None or self._clock() - at >= REMEMBERED:
            usage = count(root)
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[root] = (self._clock(), usage)
        return usage

    def forget(self, root: Path) -> None:
        """Count again the next time."""
        self._known.pop(root, None)


def from_disk(disk: DiskUsage) -> UserSpaceUsage:
    """Return what a disk says, with what it means."""
    return UserSpaceUsage(
        used=disk.used,
        limit=disk.limit,
        entries=disk.inodes_used,
        entries_limit=disk.inodes_limit,
        level=_level(disk),
    )


def _level(disk: DiskUsage) -> Literal["normal", "warning", "full"]:
    if disk.limit - disk.used < _FULL_BYTES or disk.inodes_used >= disk.inodes_limit:
        return "full"
    most = max(disk.used / disk.limit, disk.inodes_used / disk.inodes_limit)
    return "warning" if most >= WARNING_SHARE else "normal"


class _Count:
    def __init__(self, entries: int, seconds: float) -> None:
        self.size = 0
        self.entries = 0
        self.complete = True
        self._most = entries
        self._deadline = time.monotonic() + seconds

    def add(self, folder: int, level: int = 0) -> None:
        with os.scandir(folder) as scan:
            for entry in scan:
                if self.entries >= self._most or time.monotonic() > self._deadline:
                    self.complete = False
                    return
                try:
                    self._add_entry(entry.name, folder, level)
                except FileNotFoundError:
                    continue  # removed meanwhile
                except OSError:
                    self.complete = False

    def _add_entry(self, name: str, folder: int, level: int) -> None:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
        self.entries += 1
        self.size += about.st_blocks * 512
        if not stat.S_ISDIR(about.st_mode):
            return
        if level >= _MAX_LEVELS:
            self.complete = False
            return
        inner = os.open(name, _FOLDER, dir_fd=folder)
        try:
            self.add(inner, level + 1)
        finally:
            os.close(inner)


def count(
    root: Path, *, entries: int = MAX_ENTRIES, seconds: float = MAX_SECONDS
) -> UserSpaceUsage:
    """Count what a folder holds; nothing when it is missing."""
    found = _Count(entries, seconds)
    try:
        with open_folder(root, "") as fd:
            found.add(fd)
    except GavipError:
        pass  # nothing has ever been written for this user
    return UserSpaceUsage(used=found.size, entries=found.entries, complete=found.complete)
