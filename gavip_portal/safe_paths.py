"""Opens files beneath a root that its user controls, without ever leaving it.

Invariant: every component is opened relative to its already opened parent with ``O_NOFOLLOW``;
nothing is checked by name and used by name afterwards, so that renames and symbolic links made
meanwhile cannot lead outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gavip_api.errors import BadRequest, InvalidInput, NotFound

MAX_DEPTH = 64
MAX_NAME_BYTES = 255  # NAME_MAX of every file system of Linux

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO that somebody left in their files must not hang the service
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def split_path(relative: str) -> tuple[str, ...]:
    """Return the components of a user's relative path.

    Parameters
    ----------
    relative : str
        POSIX separators; empty means the root.

    Raises
    ------
    BadRequest
        If it is absolute, has ``.``, ``..`` or empty components, NUL, or is too long or too deep.
    """
    if not relative:
        return ()
    parts = tuple(relative.rstrip("/").split("/"))
    try:
        too_long = any(len(p.encode()) > MAX_NAME_BYTES for p in parts)
    except UnicodeEncodeError:
        raise BadRequest("The path is not valid text.") from None
    if "\0" in relative or any(p in {"", ".", ".."} for p in parts):
        raise BadRequest(
            "The path may not begin with a slash nor hold empty, '.' or '..' parts.",
            hint="Start again from your files.",
        )
    if too_long or len(parts) > MAX_DEPTH:
        raise BadRequest("The path is too long.")
    return parts


def _translate(error: OSError, relative: str) -> Exception:
    name = relative or "your files"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(f"There is no {name!r}.", hint="It may have been moved or deleted.")
    if error.errno in {errno.ELOOP, errno.EMLINK}:
        return InvalidInput(
            f"{name!r} is or passes through a symbolic link.",
            hint="Links are not followed here: open the real file.",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return NotFound(f"{name!r} cannot be read.", hint="Check its permissions.")
    if error.errno == errno.ENXIO:  # a socket
        return InvalidInput(f"{name!r} is not a regular file.")
    return error


def _open_one(name: str, flags: int, parent: int) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    except NotADirectoryError:
        # O_DIRECTORY turns a symbolic link into ENOTDIR; this look at it only words the message, it opens nothing
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


def _open_at(root: Path, parts: tuple[str, ...], last: int) -> int:
    if not parts:
        return os.open(root, _FOLDER)
    fd = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            child = _open_one(part, _FOLDER, fd)
            os.close(fd)
            fd = child
        return _open_one(parts[-1], last, fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def open_folder(root: Path, relative: str) -> Iterator[int]:
    """Open a folder beneath `root` and give its descriptor.

    Raises
    ------
    NotFound
        If it is missing or no folder.
    InvalidInput
        If a component is a symbolic link.
    """
    parts = split_path(relative)
    try:
        fd = _open_at(root, parts, _FOLDER)
    except OSError as e:
        raise _translate(e, relative) from None
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(root: Path, relative: str) -> int:
    """Open a regular file beneath `root` for reading; the caller closes the descriptor.

    Raises
    ------
    NotFound
        If it is missing.
    InvalidInput
        If a component is a symbolic link or the last one is not a regular file.
    """
    parts = split_path(relative)
    if not parts:
        raise InvalidInput("Name a file.")
    try:
        fd = _open_at(root, parts, _FILE)
    except OSError as e:
        raise _translate(e, relative) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidInput(
            f"{relative!r} is not a regular file.", hint="Folders are listed, not downloaded."
        )
    return fd
