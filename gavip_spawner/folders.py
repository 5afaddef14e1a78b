"""Folders that must exist, with their owners, before a container sees them.

Invariants: no symbolic link is followed and no name is looked up twice, so that whoever owns a folder
cannot have the platform make, chown or hand over anything elsewhere; what exists with the right owner
is left as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from gavip_api.errors import Conflict, LimitReached, Unavailable

from .containers import ContainerSettings
from .disks import UserDisks
from .placement import Owned
from .specs import LABEL_OWNER, LaunchSpec
from .volumes import LOST_AND_FOUND

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.asynccontextmanager
async def ready(
    spec: LaunchSpec, settings: ContainerSettings, disks: UserDisks
) -> AsyncIterator[None]:
    """Make everything that must exist before the container of `spec` does, and keep it there meanwhile.

    The body creates and starts the container, which keeps its user's disks in use from then on.

    Raises
    ------
    Conflict, LimitReached, Unavailable
        As :func:`ensure_owned` and :meth:`gavip_spawner.disks.UserDisks.held`.
    """
    held = disks.held(spec.labels[LABEL_OWNER])
    await asyncio.to_thread(held.__enter__)
    try:
        await asyncio.to_thread(
            ensure_owned, spec.owned, Path(settings.state), settings.uid, settings.gid
        )
        yield
    finally:
        await asyncio.to_thread(held.__exit__, None, None, None)


def ensure_owned(owned: Iterable[Owned], root: Path, uid: int, gid: int) -> None:
    """Make what is missing of `owned`, from the top down.

    Parameters
    ----------
    owned : iterable of Owned
    root : Path
        The state folder, which belongs to the platform; everything must be below it.
    uid, gid : int
        Account of user code.

    Raises
    ------
    Conflict
        If a symbolic link, a file or somebody else's folder is in the way.
    LimitReached
        If the user's disk is full.
    Unavailable
        If the platform may not do that: it takes root to hand something over to another account.
    """
    for item in owned:
        owner = (uid, gid) if item.user else (os.geteuid(), os.getegid())
        try:
            _ensure(Path(item.path).relative_to(root).parts, item, root, owner)
        except PermissionError:
            raise Unavailable(
                f"The platform may not hand over {item.path} to the account of user code.",
                hint="The Docker back-end runs as root, or in the platform's own container.",
            ) from None
        except OSError as e:
            if e.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise LimitReached(
                    "The user-space is full.",
                    hint="Delete something on the page Files, then try again.",
                ) from None
            raise Conflict(
                f"{item.path} cannot be used: {e.strerror}.",
                hint="A link or file is where a folder of the platform belongs; an operator moves it away.",
            ) from None


def _ensure(parts: tuple[str, ...], item: Owned, root: Path, owner: tuple[int, int]) -> None:
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        if item.file:
            _hand_over_file(parts[-1], folder, item.mode, owner)
            return
        created = _make(parts[-1], folder, item.mode)
        target = os.open(parts[-1], _FOLDER, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        about = os.fstat(target)
        if (about.st_uid, about.st_gid) != owner:
            # left by the process back-end, or just made: everything in it goes along, once
            if item.user and not created:
                _hand_over_tree(target, owner, leave=LOST_AND_FOUND)
            os.fchown(target, *owner)
        if stat.S_IMODE(about.st_mode) != item.mode and (created or not item.user):
            os.fchmod(target, item.mode)
    finally:
        os.close(target)


def _make(name: str, folder: int, mode: int) -> bool:
    try:
        os.mkdir(name, mode & 0o700, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def _hand_over_file(name: str, folder: int, mode: int, owner: tuple[int, int]) -> None:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "is no regular file")
        os.fchown(file, *owner)
        os.fchmod(file, mode)
    finally:
        os.close(file)


def _hand_over_tree(folder: int, owner: tuple[int, int], leave: str = "") -> None:
    for name in os.listdir(folder):
        if name == leave:
            continue  # of the disk that the folder is
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
        os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(about.st_mode):
            inner = os.open(name, _FOLDER, dir_fd=folder)
            try:
                _hand_over_tree(inner, owner)
            finally:
                os.close(inner)
