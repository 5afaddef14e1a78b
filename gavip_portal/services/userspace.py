"""People's files as the portal shows them: listing, reading and deleting, never writing.

Invariants: every access goes through :mod:`gavip_portal.safe_paths`; names are data and may be anything;
where users have disks, a user's is mounted before anything is looked at.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from gavip_api.errors import InvalidInput, LimitReached, NotFound
from gavip_api.models import Deletion, FileEntry, FolderListing, UserSpaceUsage
from gavip_portal.safe_paths import open_file, open_folder, split_path
from gavip_spawner.disks import LOST_AND_FOUND, UserDisks, disk_usage

from .deleting import delete, is_protected
from .usage import UsageMeter

log = logging.getLogger("gavip.portal.files")

MAX_ENTRIES = 10_000
CHUNK = 256 * 1024

RASTER_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
"""What may be shown in a page: formats that cannot hold active content."""

_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


@dataclass(frozen=True)
class OpenFile:
    """An opened regular file.

    Attributes
    ----------
    name : str
        Its last path component.
    size : int
        Bytes at the time of opening; what is sent never exceeds it.
    modified : datetime
        UTC.
    """

    fd: int
    name: str
    size: int
    modified: datetime

    @property
    def etag(self) -> str:
        """A strong validator made from identity, size and time of the file (RFC 9110, section 8.8.3)."""
        status = os.fstat(self.fd)
        return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Give the bytes from `start` up to `stop` in chunks, read off the loop."""
        at = start
        while at < stop:
            chunk = await asyncio.to_thread(os.pread, self.fd, min(CHUNK, stop - at), at)
            if not chunk:
                return  # truncated meanwhile
            at += len(chunk)
            yield chunk

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


class UserSpaces:
    """The user-spaces of all users.

    Parameters
    ----------
    root_of : callable
        Gives the folder of a user's user-space (``StateLayout.userspace``).
    disks : UserDisks, optional
        Mounts it, where users have disks.
    """

    def __init__(self, root_of: Callable[[str], Path], disks: UserDisks | None = None) -> None:
        self._root_of = root_of
        self._disks = disks
        self._meter = UsageMeter()

    def _root(self, user: str) -> Path:
        root = self._root_of(user)
        if self._disks is not None and self._disks.enabled and disk_usage(root) is None:
            try:
                self._disks.ensure(user)
            except LimitReached as e:
                # more than the disk can hold: the plain folder stays, and here is where it is cleaned up
                log.warning("%s", e.message)
        return root

    async def usage(self, user: str) -> UserSpaceUsage:
        """Return how much of the user-space is used."""
        return await asyncio.to_thread(lambda: self._meter.of(self._root(user)))

    async def delete(self, user: str, path: str) -> Deletion:
        """Delete a file or folder for good; safe to repeat.

        Raises
        ------
        Forbidden, Conflict, BadRequest, InvalidInput
            As :func:`gavip_portal.services.deleting.delete`.
        """
        return await asyncio.to_thread(self._delete, user, path)

    def _delete(self, user: str, path: str) -> Deletion:
        root = self._root(user)
        try:
            return delete(root, path)
        finally:
            self._meter.forget(root)

    async def list(self, user: str, path: str) -> FolderListing:
        """List a folder: folders first, then by name.

        Raises
        ------
        NotFound
            If the folder is missing; the root always exists.
        """
        return await asyncio.to_thread(self._list, user, path)

    def _list(self, user: str, path: str) -> FolderListing:
        normal = "/".join(split_path(path))
        try:
            with open_folder(self._root(user), normal) as fd:
                entries = _entries(fd, normal)
        except NotFound:
            if normal:
                raise
            entries = []  # nothing has ever been written for this user
        entries.sort(key=lambda e: (e.kind != "folder", e.name.casefold()))
        return FolderListing(path=normal, entries=tuple(entries))

    async def open(self, user: str, path: str) -> OpenFile:
        """Open a file; the caller closes it.

        Raises
        ------
        NotFound, InvalidInput
            As :func:`gavip_portal.safe_paths.open_file`.
        """
        return await asyncio.to_thread(self._open, user, path)

    def _open(self, user: str, path: str) -> OpenFile:
        fd = open_file(self._root(user), path)
        status = os.fstat(fd)
        return OpenFile(
            fd,
            split_path(path)[-1],
            status.st_size,
            datetime.fromtimestamp(int(status.st_mtime), timezone.utc),
        )


def _entries(fd: int, path: str) -> list[FileEntry]:
    entries = []
    with os.scandir(fd) as scan:
        for count, entry in enumerate(scan):
            if count >= MAX_ENTRIES:
                raise InvalidInput(
                    f"The folder has more than {MAX_ENTRIES} entries.",
                    hint="Open it in JupyterLab or split it into folders.",
                )
            try:
                status = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted while the folder was read
            name, kind = _describe(entry.name, status.st_mode)
            if not path and name == LOST_AND_FOUND:
                continue  # of the disk, and empty
            full = f"{path}/{name}" if path else name
            entries.append(
                FileEntry(
                    name=name,
                    path=full,
                    kind=kind,
                    size=status.st_size if kind == "file" else 0,
                    modified=datetime.fromtimestamp(status.st_mtime, timezone.utc),
                    # an escaped name names nothing that could be deleted
                    deletable=name == entry.name
                    and not is_protected(full, folder=kind == "folder"),
                )
            )
    return entries


def _describe(name: str, mode: int) -> tuple[str, Literal["file", "folder", "other"]]:
    try:
        name.encode()
    except UnicodeEncodeError:
        # bytes that are not UTF-8 cannot be named in a URL or in JSON: show them escaped, offer nothing
        return os.fsencode(name).decode("utf-8", "backslashreplace"), "other"
    if stat.S_ISDIR(mode):
        return name, "folder"
    return name, "file" if stat.S_ISREG(mode) else "other"


def may_be_raster(name: str) -> bool:
    """Whether a file's name is that of an image that may be shown in a page."""
    return Path(name).suffix.lower() in RASTER_TYPES


def raster_type(file: OpenFile) -> str:
    """Return the media type of an image that may be shown in a page.

    Raises
    ------
    InvalidInput
        If name or first bytes are not those of PNG or JPEG.
    """
    media = RASTER_TYPES.get(Path(file.name).suffix.lower())
    if media is None or not os.pread(file.fd, 8, 0).startswith(_SIGNATURES[media]):
        raise InvalidInput(
            "Only PNG and JPEG images are shown in the page.", hint="Download the file instead."
        )
    return media
