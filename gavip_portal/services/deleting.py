"""Deletes people's files for good, from beneath a root that its user controls, without ever leaving it.

Invariants: as in :mod:`gavip_portal.safe_paths`, everything is opened relative to its opened parent and no
link is followed; other file systems are not entered; what the platform made stays; one call ends within
its bounds, whatever somebody else creates or renames meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from gavip_api.errors import Conflict, Forbidden, NotFound
from gavip_api.models import Deletion
from gavip_portal.safe_paths import open_folder, split_path

MAX_ENTRIES = 50_000
MAX_SECONDS = 10.0
_MAX_LEVELS = 64
"""Folders opened at a time; what is nested deeper is lifted before it is emptied."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST, errno.ENOSPC}
"""Somebody else changes the same folder, or there is no room to lift one yet: the next round sees to it."""


@dataclass
class _Bounds:
    entries: int
    deadline: float
    removed: int = field(default=0)

    @property
    def left(self) -> int:
        return 0 if time.monotonic() > self.deadline else self.entries - self.removed


def is_protected(path: str, *, folder: bool) -> bool:
    """Whether the platform made what is at this path of a user-space: its root, ``avis``, and an AVI's own folder."""
    parts = split_path(path)
    return (
        not parts
        or parts in {("avis",), ("lost+found",)}
        or (parts[0] == "avis" and len(parts) == 2 and folder)
    )


def delete(
    root: Path, path: str, *, entries: int = MAX_ENTRIES, seconds: float = MAX_SECONDS
) -> Deletion:
    """Delete a file, a link or a folder with everything in it.

    Parameters
    ----------
    root : Path
        The user-space.
    path : str
        Relative to it.
    entries : int
        Most entries that one call removes.
    seconds : float
        How long it may take.

    Returns
    -------
    Deletion
        Not ``done`` when a bound was reached: the next call goes on. What is gone is done.

    Raises
    ------
    Forbidden
        If the platform made it, or may not remove it.
    Conflict
        If something is mounted there, or it is filled faster than it is emptied.
    BadRequest, InvalidInput
        If the path is malformed or passes through a link.
    """
    parts = split_path(path)
    if is_protected(path, folder=False):
        raise _protected(path)
    bounds = _Bounds(entries, time.monotonic() + seconds)
    try:
        with open_folder(root, "/".join(parts[:-1])) as parent:
            done = _delete(parts[-1], parent, path, bounds)
    except NotFound:
        done = True
    except PermissionError:
        raise Forbidden(
            f"The platform may not delete {path!r}.", hint="Delete it in JupyterLab."
        ) from None
    if not done and not bounds.removed:
        raise Conflict(
            f"{path!r} cannot be emptied: something keeps writing there.",
            hint="Stop your jobs and AVIs that write there, then delete it again.",
        )
    return Deletion(removed=bounds.removed, done=done)


def _protected(path: str) -> Forbidden:
    return Forbidden(
        f"{path or 'The user-space'!r} belongs to the platform and stays.",
        hint="Open the folder and delete what is in it.",
    )


def _delete(name: str, parent: int, path: str, bounds: _Bounds) -> bool:
    try:
        about = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return True
    if not stat.S_ISDIR(about.st_mode):
        # a folder that took its place meanwhile is not removed by this
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
            bounds.removed += 1
        return True
    if is_protected(path, folder=True):
        raise _protected(path)
    device = os.fstat(parent).st_dev
    while bounds.left > 0:
        try:
            top = os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            return True
        try:
            _clear(top, top, device, 0, bounds)
        finally:
            os.close(top)
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as e:
            if e.errno not in _CHANGED:
                raise
        else:
            bounds.removed += 1
            return True
    return False


def _clear(folder: int, top: int, device: int, level: int, bounds: _Bounds) -> None:
    """Remove what is in an opened folder, as far as the bounds allow."""
    if os.fstat(folder).st_dev != device:
        raise Conflict(
            "Something is mounted in this folder.", hint="End what uses it, then delete it again."
        )
    with os.scandir(folder) as scan:
        names = [entry.name for entry in itertools.islice(scan, bounds.left)]
    for name in names:
        if bounds.left <= 0:
            return
        try:
            if not _unlinked(name, folder):
                _remove_folder(name, folder, top, device, level, bounds)
        except OSError as e:
            if e.errno not in _CHANGED:
                raise
        else:
            bounds.removed += 1


def _unlinked(name: str, folder: int) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def _remove_folder(
    name: str, folder: int, top: int, device: int, level: int, bounds: _Bounds
) -> None:
    if level >= _MAX_LEVELS:
        os.rename(name, f".deleting-{uuid.uuid4().hex}", src_dir_fd=folder, dst_dir_fd=top)
        return
    inner = os.open(name, _FOLDER, dir_fd=folder)
    try:
        _clear(inner, top, device, level + 1, bounds)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)
